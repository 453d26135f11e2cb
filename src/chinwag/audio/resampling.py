"""Sample rate conversion of audio streams, with no click where the pieces of a stream meet."""

from __future__ import annotations

import numpy as np
import soxr

from chinwag.audio.frames import LISTEN_RATE, WIRE_RATE, Audio, Samples

FILTER_RATE = 48_000
"""Sample rate in Hz at which the filter of `LowDelayResampler` is defined."""

_REACH = 48
"""Filter taps on each side of the centre: 1 ms at 48 kHz."""


class Resampler:
    """Convert a stream between any two rates (soxr). The filter delays the stream by about 20 ms."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._from_rate, self._to_rate, self._position = from_rate, to_rate, 0
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="MQ")

    def push(self, audio: Audio, *, last: bool = False) -> Audio:
        """Convert the next piece and return the samples that are ready. last: also return what the filter holds.

        Raises ValueError if the piece has another rate than the stream.
        """
        _check_rate(audio, self._from_rate)
        if self._from_rate == self._to_rate:
            return self._placed(audio.pcm)
        return self._placed(self._stream.resample_chunk(audio.pcm, last=last))

    def flush(self) -> Audio:
        """Return the samples that the filter holds; the next piece starts with an empty filter."""
        nothing = np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(nothing, last=True) if self._from_rate != self._to_rate else nothing
        self._stream.clear()
        return self._placed(rest)

    def _placed(self, pcm: Samples) -> Audio:
        start, self._position = self._position, self._position + len(pcm)
        return Audio(np.asarray(pcm, np.float32), self._to_rate, start)


class LowDelayResampler:
    """Convert a stream between divisors of 48 kHz with a delay of 1 ms; soxr's shortest good filter has 21 ms.

    A polyphase filter (Crochiere and Rabiner 1983): a sinc at 48 kHz with a Kaiser window (beta 6), of which only the
    required outputs are computed. cutoff_hz: where the filter has -6 dB.
    """

    def __init__(self, from_rate: int, to_rate: int, cutoff_hz: float) -> None:
        self._from_rate, self._to_rate, self._position = from_rate, to_rate, 0
        self._up, self._down = FILTER_RATE // from_rate, FILTER_RATE // to_rate
        sinc = np.sinc(np.arange(-_REACH, _REACH + 1) * 2 * cutoff_hz / FILTER_RATE) * np.kaiser(2 * _REACH + 1, 6.0)
        taps = np.asarray(sinc * self._up / sinc.sum(), np.float32)
        taps = np.pad(taps, (0, -len(taps) % self._up))
        self._phases = [np.ascontiguousarray(taps[phase :: self._up][::-1]) for phase in range(self._up)]
        self._span = len(self._phases[0])
        self._history, self._offset = np.zeros(self._span - 1, np.float32), 0

    def push(self, audio: Audio) -> Audio:
        """Convert the next piece and return the samples that are ready.

        Raises ValueError if the piece has another rate than the stream.
        """
        _check_rate(audio, self._from_rate)
        pcm = np.concatenate([self._history, audio.pcm])
        ready = len(audio.pcm)
        count = len(range(self._offset, self._up * ready, self._down))
        out = np.empty(count, np.float32)
        for turn in range(self._up):  # every `up`-th output has the same phase
            place, rows = self._offset + self._down * turn, len(range(turn, count, self._up))
            if rows:  # a strided view: numpy's sliding_window_view takes longer to make than to use
                start, strides = place // self._up * 4, (4 * self._down, 4)
                windows = np.ndarray((rows, self._span), np.float32, pcm, start, strides)
                out[turn :: self._up] = windows @ self._phases[place % self._up]
        self._offset += self._down * count - self._up * ready
        self._history = pcm[ready:].copy()
        start, self._position = self._position, self._position + count
        return Audio(out, self._to_rate, start)

    def flush(self) -> Audio:
        """Return the samples that the filter holds; the next piece starts with an empty filter."""
        rest = self.push(Audio(np.zeros(_REACH // self._up, np.float32), self._from_rate))
        self._history, self._offset = np.zeros(self._span - 1, np.float32), 0
        return rest


def to_listen_rate() -> LowDelayResampler:
    """Make a stream from 24 kHz to 16 kHz for the listener: 0 dB at 6 kHz, -3 dB at 7 kHz, -69 dB at 9 kHz."""
    return LowDelayResampler(WIRE_RATE, LISTEN_RATE, 7_200)


def _check_rate(audio: Audio, rate: int) -> None:
    if audio.rate != rate:
        raise ValueError(f"this stream has {rate} samples a second, the piece has {audio.rate}")
