"""16-bit sound as it comes in pieces: bare, or a WAV file that a server sends where bare sound was asked for."""

from __future__ import annotations

import struct

import numpy as np

from chinwag.audio import Samples
from chinwag.errors import EngineError

_PCM, _EXTENSIBLE = 1, 0xFFFE
"""Of a WAV file's format tags, those for integers."""


class WavReader:
    """Reads mono or stereo, 16 bits, little-endian. rate: of bare sound, then as the file says."""

    def __init__(self, rate: int) -> None:
        self.rate, self._channels = rate, 1
        self._waiting, self._head = b"", True

    def push(self, data: bytes) -> Samples:
        """What is complete, float32 from -1 to 1, mixed to mono. Raises EngineError for another kind of sound."""
        self._waiting += data
        if self._head and not self._begin():
            return np.zeros(0, np.float32)
        whole = len(self._waiting) - len(self._waiting) % (2 * self._channels)
        samples = np.frombuffer(self._waiting[:whole], "<i2").astype(np.float32) / 32768
        self._waiting = self._waiting[whole:]
        mono: Samples = samples.reshape(-1, self._channels).mean(axis=1)
        return mono

    def _begin(self) -> bool:
        """Whether the head is read."""
        data = self._waiting
        if data[:4] != b"RIFF"[: len(data)]:
            if data.startswith((b"ID3", b"OggS", b"fLaC", b"\xff\xf3", b"\xff\xfb")):
                raise _unfit("compressed sound")
            self._head = False
            return True
        place = 12
        while place + 8 <= len(data):
            name, size = data[place : place + 4], struct.unpack("<I", data[place + 4 : place + 8])[0]
            place += 8
            if name == b"data":
                self._waiting, self._head = data[place:], False
                return True
            if place + size > len(data):
                return False
            if name == b"fmt ":
                kind, self._channels, self.rate, _, _, bits = struct.unpack("<HHIIHH", data[place : place + 16])
                if kind not in {_PCM, _EXTENSIBLE} or bits != 16 or not self._channels or not self.rate:
                    raise _unfit(f"{bits}-bit sound of kind {kind}")
            place += size + size % 2
        return False


def _unfit(what: str) -> EngineError:
    return EngineError(
        f"The speech server sent {what}, but 16-bit PCM was asked for.", "Use a server that can send pcm or wav.", ""
    )
