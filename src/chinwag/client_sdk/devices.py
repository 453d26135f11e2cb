"""This machine's microphone and loudspeaker through PortAudio; the sounddevice library is imported on use."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Resampler, Samples
from chinwag.audio.gain import DUCKED
from chinwag.errors import ChinwagError

BLOCK_S = 0.02


class DeviceError(ChinwagError):
    """No microphone or loudspeaker can be used."""


class PortAudioPlayback:
    """Playback through PortAudio. It follows the sound card's clock, so the `now` arguments are not used."""

    def __init__(self, rate: int, latency: float) -> None:
        self._rate, self._latency = rate, latency
        self._resampler = Resampler(WIRE_RATE, rate)
        self._waiting: deque[tuple[str, Samples]] = deque()
        self._played: tuple[str, int] | None = None
        self._volume = self._wanted_volume = 1.0
        self._lock = threading.Lock()

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """See `Playback.receive`."""
        del now
        pcm = self._resampler.push(audio).pcm
        with self._lock:
            self._waiting.append((item_id, pcm))

    def flush(self, now: float) -> None:
        """See `Playback.flush`."""
        del now
        with self._lock:
            self._waiting.clear()
            self._wanted_volume = 1.0

    def duck(self, now: float) -> None:
        """See `Playback.duck`."""
        del now
        self._wanted_volume = DUCKED

    def resume(self, now: float) -> None:
        """See `Playback.resume`."""
        del now
        self._wanted_volume = 1.0

    def last_played(self, now: float) -> tuple[str, int] | None:
        """See `Playback.last_played`. Audio in the sound card's buffer does not count as heard."""
        del now
        with self._lock:
            if self._played is None:
                return None
            item_id, samples = self._played
        return item_id, max(round((samples / self._rate - self._latency) * 1000), 0)

    def idle(self, now: float) -> bool:
        """See `Playback.idle`."""
        del now
        with self._lock:
            return not self._waiting

    def fill(self, block: Samples) -> None:
        """Write the next samples into the sound card's block. Runs on the sound card's thread."""
        block[:] = 0
        place = 0
        with self._lock:
            while self._waiting and place < len(block):
                item_id, pcm = self._waiting.popleft()
                taken = pcm[: len(block) - place]
                block[place : place + len(taken)] = taken
                place += len(taken)
                before = self._played[1] if self._played and self._played[0] == item_id else 0
                self._played = (item_id, before + len(taken))
                if len(taken) < len(pcm):
                    self._waiting.appendleft((item_id, pcm[len(taken) :]))
        # a ramp over the block avoids a click when the volume changes
        block *= np.linspace(self._volume, self._wanted_volume, len(block), dtype=np.float32)
        self._volume = self._wanted_volume


@dataclass(frozen=True)
class SoundDevices:
    """The open sound devices. microphone: captured audio at 24 kHz."""

    microphone: asyncio.Queue[Audio]
    playback: PortAudioPlayback


@contextlib.asynccontextmanager
async def open_devices() -> AsyncGenerator[SoundDevices, None]:
    """Open the system's default microphone and loudspeaker. Raises DeviceError."""
    files = "or talk in files: chinwag talk --input IN.wav --output OUT.wav"
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"The sound library PortAudio cannot be used: {error}.",
            f"Debian, Ubuntu: sudo apt install libportaudio2; {files}",
        ) from None
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[Audio] = asyncio.Queue()
    try:
        rates = [round(sounddevice.query_devices(kind=kind)["default_samplerate"]) for kind in ("input", "output")]
        to_wire = Resampler(rates[0], WIRE_RATE)

        def captured(block: Any, frames: int, when: Any, status: Any) -> None:
            audio = to_wire.push(Audio(np.array(block[:, 0], np.float32), rates[0]))
            if len(audio.pcm):
                loop.call_soon_threadsafe(heard.put_nowait, audio)

        def wanted(block: Any, frames: int, when: Any, status: Any) -> None:
            loudspeaker.fill(block[:, 0])

        options = {"channels": 1, "dtype": "float32", "latency": "low"}
        source = sounddevice.InputStream(
            samplerate=rates[0], blocksize=round(rates[0] * BLOCK_S), callback=captured, **options
        )
        sink = sounddevice.OutputStream(samplerate=rates[1], callback=wanted, **options)
        loudspeaker = PortAudioPlayback(rates[1], sink.latency)
        with source, sink:
            yield SoundDevices(heard, loudspeaker)
    except sounddevice.PortAudioError as error:
        raise DeviceError(
            f"There is no microphone and loudspeaker to use here: {error}.",
            f"Plug them in or allow this terminal to use them; {files}",
        ) from None
