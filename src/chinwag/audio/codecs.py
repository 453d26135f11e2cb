"""Audio files: encoding as a stream or as a whole, and decoding of any file, with FFmpeg (PyAV). All of it blocks."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.error import FFmpegError

from chinwag.audio.frames import LISTEN_RATE, WIRE_RATE, Audio, to_int16, wav_header
from chinwag.errors import ChinwagError

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_CODECS = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac", "flac")}
"""FFmpeg's names of the container and the codec."""

CONTAINERS = (
    "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,amr,asf,avi,mpegts,mpeg,"
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
)  # fmt: skip
"""FFmpeg's names of the containers that are decoded. Playlists are excluded: they make the server read other files."""

PIECE = LISTEN_RATE
"""Samples of a decoded piece, so that a long file is never in memory as a whole."""


class DecodeError(ChinwagError):
    """The file has no audio, or is damaged."""


class StreamEncoder:
    """Encode mono audio at 24 kHz as a stream: call `push` with each piece, then `finish`, and always `close`.

    `push` and `finish` are called on a thread; `close` waits until they have returned. file_format: a key of
    `MEDIA_TYPES`.
    """

    def __init__(self, file_format: str) -> None:
        self._lock = threading.Lock()
        self._output = _Output()
        self._container: Any = None
        self._samples = 0
        if file_format == "wav":
            self._output.write(wav_header(WIRE_RATE))
        elif file_format != "pcm":
            container, codec = _CODECS[file_format]
            # the header of a stream cannot be rewritten with its length
            options = {"flush_packets": "1", **({"write_xing": "0"} if file_format == "mp3" else {})}
            self._container = av.open(self._output, "w", format=container, options=options, buffer_size=1024)
            self._stream = self._container.add_stream(codec, rate=WIRE_RATE, layout="mono")

    def push(self, audio: Audio) -> bytes:
        """Encode a piece and return the bytes that are ready."""
        with self._lock:
            if self._container is None:
                self._output.write(audio.to_pcm16())
            else:
                self._container.mux(self._stream.encode(_frame(audio, self._samples)))
                self._samples += len(audio.pcm)
            return self._output.take()

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        with self._lock:
            if self._container is not None:
                self._container.mux(self._stream.encode(None))
                self._close_container()
            return self._output.take()

    def close(self) -> None:
        """Free the encoder, whether it is finished or not."""
        with self._lock:
            self._close_container()

    def _close_container(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()


class _Output:
    """A file that PyAV can only append to."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


def encode_flac(audio: Audio) -> bytes:
    """Encode a whole recording as a FLAC file."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=audio.rate, layout="mono")
        container.mux(stream.encode(_frame(audio, 0)))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode_flac(path: Path) -> Audio:
    """Decode a FLAC file at its own rate. Raises OSError if it cannot be read."""
    try:
        with av.open(str(path)) as container:
            (stream,) = container.streams.audio
            pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
            rate = int(stream.rate)
    except (FFmpegError, ValueError) as error:
        raise OSError(f"{path.name} cannot be read: {error}") from error
    pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    return Audio(pcm.astype(np.float32) / 32768.0, rate)


def decode_file(file: BinaryIO) -> Iterator[Audio]:
    """Decode an audio or video file to mono at 16 kHz, in pieces of about a second. Raises DecodeError."""
    position = 0
    pending: list[np.ndarray] = []
    try:
        with av.open(file, "r", options={"format_whitelist": CONTAINERS}, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise DecodeError("The file has no sound in it.", "Send one with an audio track.")
            for frame in _listen_frames(container):
                pending.append(frame.to_ndarray().reshape(-1))
                if sum(map(len, pending)) >= PIECE:
                    pcm = np.concatenate(pending)
                    pending = []
                    yield Audio(pcm, LISTEN_RATE, position)
                    position += len(pcm)
    except (FFmpegError, ValueError, IndexError) as error:
        raise DecodeError(
            f"The file cannot be read as sound: {getattr(error, 'strerror', None) or error}.",
            "Send wav, mp3, m4a, ogg, webm or flac.",
        ) from error
    if pending:
        yield Audio(np.concatenate(pending), LISTEN_RATE, position)


def _listen_frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=LISTEN_RATE)
    for frame in container.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _frame(audio: Audio, position: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(to_int16(audio.pcm)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = audio.rate, position
    return frame
