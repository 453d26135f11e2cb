"""Sound as everything in Chinwag passes it around: mono float32 with a rate and a place in time."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]

LISTEN_RATE = 16_000
"""Samples a second that VAD, turn judge and transcribers hear."""

WIRE_RATE = 24_000
"""Samples a second of PCM16 on the OpenAI Realtime wire."""

PHONE_RATE = 8_000
"""Samples a second of G.711, the telephone's sound."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A stretch of mono sound.

    pcm: float32 of shape (n,), full scale at -1.0 and 1.0.
    rate: samples a second.
    start: index of the first sample, counted in samples since the stream began, never in wall-clock time.
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
        """Read little-endian signed 16-bit samples.

        Raises ValueError where the number of bytes is odd: a sample has two.
        """
        if len(data) % 2:
            raise ValueError(f"PCM16 has two bytes a sample, but {len(data)} bytes came: an odd number")
        return cls(np.frombuffer(data, "<i2").astype(np.float32) / 32768.0, rate, start)

    def to_pcm16(self) -> bytes:
        """Little-endian signed 16-bit samples, the inverse of `from_pcm16`; what is beyond full scale is clipped."""
        data: bytes = np.clip(np.rint(self.pcm * 32768.0), -32768, 32767).astype("<i2").tobytes()
        return data

    def to_wav(self) -> bytes:
        """A WAV file of it: mono PCM16 at its rate."""
        made = io.BytesIO()
        with wave.open(made, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(self.to_pcm16())
        return made.getvalue()

    def between(self, start: int, end: int) -> Audio:
        """The part from sample `start` up to, not including, `end`; what lies outside is left out."""
        first = max(start, self.start)
        return Audio(self.pcm[first - self.start : max(end - self.start, 0)], self.rate, first)

    def resampled(self, rate: int) -> Audio:
        """The same sound at another rate (soxr, high quality). For one whole piece; streams use `Resampler`."""
        if rate == self.rate:
            return self
        pcm = soxr.resample(self.pcm, self.rate, rate).astype(np.float32)
        return Audio(pcm, rate, round(self.start * rate / self.rate))


def silence(seconds: float, rate: int, start: int = 0) -> Audio:
    """That many seconds of nothing."""
    return Audio(np.zeros(round(seconds * rate), np.float32), rate, start)


def join(pieces: list[Audio]) -> Audio:
    """Put pieces of one rate end to end; the first one's start counts.

    Raises ValueError for an empty list, or for pieces of several rates.
    """
    rates = {piece.rate for piece in pieces}
    if len(rates) != 1:
        raise ValueError(f"pieces of one rate can be joined, not of {sorted(rates) or 'none'}")
    return Audio(np.concatenate([piece.pcm for piece in pieces]), pieces[0].rate, pieces[0].start)


class Resampler:
    """Change the rate of a stream that comes in pieces, with no click where they meet (soxr)."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._from, self._to, self._made = from_rate, to_rate, 0
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="MQ")

    def push(self, audio: Audio, *, last: bool = False) -> Audio:
        """Give the next piece; back comes what is ready, at the new rate, its start counted from the stream's."""
        if audio.rate != self._from:
            raise ValueError(f"this stream has {self._from} samples a second, the piece has {audio.rate}")
        start = self._made
        pcm = audio.pcm if self._from == self._to else self._stream.resample_chunk(audio.pcm, last=last)
        self._made += len(pcm)
        return Audio(np.asarray(pcm, np.float32), self._to, start)

    def flush(self) -> Audio:
        """What a filter still holds back of the sound so far; what is pushed next begins anew behind it."""
        tail = self._stream.resample_chunk(np.zeros(0, np.float32), last=True) if self._from != self._to else _NONE
        self._stream.clear()
        start, self._made = self._made, self._made + len(tail)
        return Audio(np.asarray(tail, np.float32), self._to, start)


class ToListenRate:
    """24 kHz to 16 kHz in a stream, with 1 ms of delay where soxr's shortest good filter holds back 21.

    A windowed sinc at 48 kHz (Kaiser, beta 6: 0 dB at 6 kHz, -3 at 7, -69 at 9) of which only the outputs that are
    wanted are worked out: two phases of a polyphase filter (Crochiere and Rabiner 1983).
    """

    _REACH = 48
    """Taps to either side, at 48 kHz."""

    def __init__(self) -> None:
        reach = self._REACH
        sinc = np.sinc(np.arange(-reach, reach + 1) * 0.3) * np.kaiser(2 * reach + 1, 6.0)
        taps = np.append(sinc * 2 / sinc.sum(), 0.0).astype(np.float32)
        self._phases = taps[0::2][::-1], taps[1::2][::-1]
        self._span = len(self._phases[0])
        self._held, self._phase, self._made = np.zeros(self._span - 1, np.float32), 0, 0

    def push(self, audio: Audio) -> Audio:
        """Give the next piece; back comes what is ready."""
        if audio.rate != WIRE_RATE:
            raise ValueError(f"this stream has {WIRE_RATE} samples a second, the piece has {audio.rate}")
        pcm = np.concatenate([self._held, audio.pcm])
        ready = max(0, len(pcm) - self._span + 1)
        # output n lies at 1.5 n of the input: every third sample of 48 kHz, by turns on and between two of 24 kHz
        count = len(range(self._phase, 2 * ready, 3))
        out = np.empty(count, np.float32)
        for turn in (0, 1):
            place, rows = self._phase + 3 * turn, (count - turn + 1) // 2
            if rows:  # a view: numpy's own sliding window takes longer to make than to use
                windows = np.ndarray((rows, self._span), np.float32, pcm, place // 2 * 4, (12, 4))
                out[turn::2] = windows @ self._phases[place % 2]
        self._phase += 3 * count - 2 * ready
        self._held = pcm[ready:].copy()
        start, self._made = self._made, self._made + len(out)
        return Audio(out, LISTEN_RATE, start)

    def flush(self) -> Audio:
        """What the filter still holds back of the sound so far; what is pushed next begins anew behind it."""
        tail = self.push(Audio(np.zeros(self._REACH // 2, np.float32), WIRE_RATE))
        self._held, self._phase = np.zeros(self._span - 1, np.float32), 0
        return tail


class G711:
    """One byte a sample, by the companding laws of ITU-T G.711 (tables worked out as in ITU-T G.191's g711.c).

    decoded: int16 of shape (256,), the level each code stands for. encoded: uint8 of shape (65536,), the code of each
    level from -32768 on.
    """

    def __init__(self, law: Literal["mu", "a"]) -> None:
        codes, levels = np.arange(256), np.arange(-32768, 32768)
        # a negative level is coded as its complement: -1 as 0
        expand, compress = (_mu_expanded, _mu_compressed) if law == "mu" else (_a_expanded, _a_compressed)
        self.decoded = expand(codes).astype(np.int16)
        self.encoded = compress(np.where(levels < 0, ~levels, levels), levels < 0).astype(np.uint8)

    def decode(self, data: bytes) -> Audio:
        """Read one code a byte; 8 kHz."""
        return Audio(self.decoded[np.frombuffer(data, np.uint8)].astype(np.float32) / 32768.0, PHONE_RATE)

    def encode(self, audio: Audio) -> bytes:
        """One code a sample; what is beyond full scale is clipped."""
        levels = np.clip(np.rint(audio.pcm * 32768.0), -32768, 32767).astype(np.int32)
        data: bytes = self.encoded[levels + 32768].tobytes()
        return data


_Integers: TypeAlias = NDArray[Any]


def _mu_expanded(codes: _Integers) -> Any:
    exponent, mantissa = (~codes >> 4) & 7, ~codes & 15
    step = 8 << exponent
    level = (0x80 << exponent) + step * mantissa + step // 2 - 4 * 33
    return np.where(codes < 0x80, -level, level)


def _mu_compressed(magnitude: _Integers, negative: NDArray[np.bool_]) -> Any:
    biased = np.minimum((magnitude >> 2) + 33, 0x1FFF)
    segment = np.floor(np.log2(biased)).astype(int) - 4
    code = ((8 - segment) << 4) | (15 - ((biased >> segment) & 15))
    return np.where(negative, code, code | 0x80)


def _a_expanded(codes: _Integers) -> Any:
    exponent, mantissa = ((codes ^ 0x55) >> 4) & 7, (codes ^ 0x55) & 15
    level = ((mantissa + np.where(exponent > 0, 16, 0)) * 16 + 8) << np.maximum(exponent - 1, 0)
    return np.where(codes > 0x7F, level, -level)


def _a_compressed(magnitude: _Integers, negative: NDArray[np.bool_]) -> Any:
    level = magnitude >> 4
    exponent = np.maximum(np.floor(np.log2(np.maximum(level, 1))).astype(int) - 3, 0)
    code = (exponent << 4) | ((level >> np.maximum(exponent - 1, 0)) & 15)
    return np.where(negative, code, code | 0x80) ^ 0x55


_NONE: Samples = np.zeros(0, np.float32)
