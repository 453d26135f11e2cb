"""Mono float32 audio with a sample rate and a position in its stream."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]

LISTEN_RATE = 16_000
"""Sample rate in Hz of the input of the VAD, turn detection and STT engines."""

WIRE_RATE = 24_000
"""Sample rate in Hz of PCM16 in the OpenAI Realtime API."""

PHONE_RATE = 8_000
"""Sample rate in Hz of G.711."""

UNKNOWN_LENGTH = 0xFFFFFFFF
"""The length in the header of a WAV stream that has not ended yet, as OpenAI sends it."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A stretch of mono audio.

    pcm: float32 of shape (n,), full scale at -1.0 and 1.0.
    rate: sample rate in Hz.
    start: index of the first sample, counted from the beginning of the stream.
    """

    pcm: Samples
    rate: int
    start: int = 0

    @property
    def end(self) -> int:
        """Index of the sample after the last one."""
        return self.start + len(self.pcm)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / self.rate

    @classmethod
    def from_pcm16(cls, data: bytes, rate: int = WIRE_RATE, start: int = 0) -> Audio:
        """Read little-endian signed 16-bit samples. Raises ValueError if the number of bytes is odd."""
        if len(data) % 2:
            raise ValueError(f"PCM16 has two bytes per sample, but {len(data)} bytes is an odd number")
        return cls(np.frombuffer(data, "<i2").astype(np.float32) / 32768.0, rate, start)

    def to_pcm16(self) -> bytes:
        """Write little-endian signed 16-bit samples; samples beyond full scale are clipped."""
        return to_int16(self.pcm).tobytes()

    def to_wav(self) -> bytes:
        """Write a WAV file: mono PCM16 at this rate."""
        data = self.to_pcm16()
        return wav_header(self.rate, len(data)) + data

    def between(self, start: int, end: int) -> Audio:
        """Cut out the samples from index `start` up to, not including, `end`, as far as they are here."""
        first = max(start, self.start)
        return Audio(self.pcm[first - self.start : max(end - self.start, 0)], self.rate, first)

    def resampled(self, rate: int) -> Audio:
        """Convert a whole recording to another rate (soxr, high quality). Streams use `Resampler`."""
        if rate == self.rate:
            return self
        pcm = soxr.resample(self.pcm, self.rate, rate).astype(np.float32)
        return Audio(pcm, rate, round(self.start * rate / self.rate))


def silence(seconds: float, rate: int, start: int = 0) -> Audio:
    """Make silence of that length."""
    return Audio(np.zeros(round(seconds * rate), np.float32), rate, start)


def join(pieces: list[Audio]) -> Audio:
    """Concatenate pieces of one rate; the result starts where the first piece starts.

    Raises ValueError if the list is empty or the rates differ.
    """
    rates = {piece.rate for piece in pieces}
    if len(rates) != 1:
        raise ValueError(f"only pieces of one rate can be joined, not of {sorted(rates) or 'none'}")
    return Audio(np.concatenate([piece.pcm for piece in pieces]), pieces[0].rate, pieces[0].start)


def to_int16(pcm: Samples) -> NDArray[np.int16]:
    """Scale float32 samples of any shape to little-endian signed 16 bits, clipped at full scale."""
    samples: NDArray[np.int16] = np.clip(np.rint(pcm * 32768.0), -32768, 32767).astype("<i2")
    return samples


def wav_header(rate: int, size: int = UNKNOWN_LENGTH, channels: int = 1) -> bytes:
    """Write the header of a PCM16 WAV file. size: bytes of samples that follow."""
    whole = size if size == UNKNOWN_LENGTH else min(size + 36, UNKNOWN_LENGTH)
    format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    data_size = min(size, UNKNOWN_LENGTH - 36) if size != UNKNOWN_LENGTH else size
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + format_chunk + struct.pack("<4sI", b"data", data_size)
