"""Streaming reader of 16-bit audio: raw PCM, or a WAV file that a server sends although PCM was requested."""

from __future__ import annotations

import struct

import numpy as np

from chinwag.audio import Samples
from chinwag.errors import EngineError

_PCM, _EXTENSIBLE = 1, 0xFFFE
"""Format tags of WAV files with integer samples."""


class WavReader:
    """Reads 16-bit little-endian mono or stereo. rate: Hz of raw PCM, replaced by the rate of a WAV file."""

    def __init__(self, rate: int) -> None:
        self.rate, self._channels = rate, 1
        self._buffer, self._in_header = b"", True

    def push(self, data: bytes) -> Samples:
        """Return the complete samples as mono float32 from -1 to 1. Raises EngineError for another format."""
        self._buffer += data
        if self._in_header and not self._parse_header():
            return np.zeros(0, np.float32)
        whole = len(self._buffer) - len(self._buffer) % (2 * self._channels)
        samples = np.frombuffer(self._buffer[:whole], "<i2").astype(np.float32) / 32768
        self._buffer = self._buffer[whole:]
        mono: Samples = samples.reshape(-1, self._channels).mean(axis=1)
        return mono

    def _parse_header(self) -> bool:
        """Parse the header; return whether it is complete."""
        data = self._buffer
        if data[:4] != b"RIFF"[: len(data)]:
            if data.startswith((b"ID3", b"OggS", b"fLaC", b"\xff\xf3", b"\xff\xfb")):
                raise _unsupported("compressed audio")
            self._in_header = False
            return True
        offset = 12
        while offset + 8 <= len(data):
            name, size = data[offset : offset + 4], struct.unpack("<I", data[offset + 4 : offset + 8])[0]
            offset += 8
            if name == b"data":
                self._buffer, self._in_header = data[offset:], False
                return True
            if offset + size > len(data):
                return False
            if name == b"fmt ":
                tag, self._channels, self.rate, _, _, bits = struct.unpack("<HHIIHH", data[offset : offset + 16])
                if tag not in {_PCM, _EXTENSIBLE} or bits != 16 or not self._channels or not self.rate:
                    raise _unsupported(f"{bits}-bit audio of format {tag}")
            offset += size + size % 2
        return False


def _unsupported(content: str) -> EngineError:
    return EngineError(
        f"The speech server sent {content}, but 16-bit PCM was asked for.", "Use a server that can send pcm or wav.", ""
    )
