"""Sound into the forms that /v1/audio/speech answers with, as it comes."""

from __future__ import annotations

import struct
import threading
from typing import Any

import av
import numpy as np

from chinwag.audio import WIRE_RATE, Audio

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_CODECS = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac", "flac")}
"""Container and codec, by FFmpeg's names."""

_UNKNOWN = 0xFFFFFFFF
"""The length in the head of a WAV that is still being made; OpenAI sends the same."""


class Encoder:
    """Mono sound at 24 kHz to bytes: give it piece by piece to `push`, then call `finish`.

    Both may block for a moment, so they are called on a thread; `close` waits for one that is at work there.
    """

    def __init__(self, form: str) -> None:
        self._lock = threading.Lock()
        self._out = _Out()
        self._container: Any = None
        self._samples = 0
        if form == "wav":
            self._out.write(_wav_head())
        elif form != "pcm":
            container, codec = _CODECS[form]
            # a stream cannot be gone back in to write its length
            options = {"flush_packets": "1", **({"write_xing": "0"} if form == "mp3" else {})}
            self._container = av.open(self._out, "w", format=container, options=options, buffer_size=1024)
            self._stream = self._container.add_stream(codec, rate=WIRE_RATE, layout="mono")

    def push(self, audio: Audio) -> bytes:
        """Take a piece; back comes what is ready."""
        with self._lock:
            if self._container is None:
                self._out.write(audio.to_pcm16())
            else:
                pcm = np.frombuffer(audio.to_pcm16(), "<i2")
                frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = WIRE_RATE, self._samples
                self._samples += len(pcm)
                self._container.mux(self._stream.encode(frame))
            return self._out.take()

    def finish(self) -> bytes:
        """The rest."""
        with self._lock:
            if self._container is not None:
                self._container.mux(self._stream.encode(None))
                self._end()
            return self._out.take()

    def close(self) -> None:
        """Let it go, finished or not."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()


class _Out:
    """What PyAV writes to: it can only be written, so nothing goes back to a head."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


def _wav_head() -> bytes:
    shape = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, WIRE_RATE, WIRE_RATE * 2, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + shape + struct.pack("<4sI", b"data", _UNKNOWN)
