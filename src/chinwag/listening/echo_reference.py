"""The playback signal that the echo gate compares the microphone with, as power spectra on the microphone's clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chinwag.audio import LISTEN_RATE, Audio, Resampler, Samples

Levels = NDArray[np.float32]
"""Power, or dB, of shape (hops, bands)."""

HOP, WINDOW = 128, 512
"""Samples between spectra and in each: 8 ms, and what keeps the harmonics of a voice apart."""

HOPS_PER_S = LISTEN_RATE // HOP

CHANGE = 4
"""Hops between the spectra whose difference is a change: their windows do not overlap."""

REVERB = 10 ** (-6 / (0.4 * HOPS_PER_S))
"""Power that is left of reverberation after a hop, where it falls by 60 dB in 0.4 s: a furnished room."""

FAINT = 10**-6.5
"""-65 dBFS in a band: below it the reply is silence."""

JITTER_S = 0.06
"""A piece of the reply that is said to be heard this near the last one's end follows it without a gap."""


class BandPower:
    """Power spectra of sound at 16 kHz, in bands as narrow as a voice's harmonics need."""

    edges = np.concatenate([np.arange(150, 1500, 62.5), np.geomspace(1500, 7000, 17)])
    count = len(edges) - 1

    def __init__(self) -> None:
        bins = np.fft.rfftfreq(WINDOW, 1 / LISTEN_RATE)
        place = np.searchsorted(self.edges, bins, side="right") - 1
        self._window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
        self._places = np.arange(WINDOW)
        self._sums = (place[:, None] == np.arange(self.count)).astype(np.float32) / (self._window.sum() / 2) ** 2

    def __call__(self, sound: Samples) -> Levels:
        """Power at each hop whose whole window is in `sound`; a sine of full scale has about 1."""
        places = np.arange(0, len(sound) - WINDOW + 1, HOP)[:, None] + self._places
        spectrum = np.fft.rfft(sound[places] * self._window)
        return np.asarray((spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._sums, np.float32)


class PlaybackSpectra:
    """The reply on the clock: what is heard when, and its spectra. Hop h ends at sample (h + 1) * HOP.

    power, change (dB), smeared (power with reverberation): one row a hop, the first one's number being `first`.
    """

    behind, ahead = 6 * HOPS_PER_S, 10 * HOPS_PER_S

    def __init__(self, bands: BandPower, hop: int) -> None:
        self._bands = bands
        rows = self.behind + self.ahead
        self.first = hop - self.behind // 2
        self._sound = np.zeros(rows * HOP, np.float32)
        self._power, self._tail, self.change, self.smeared = (
            np.zeros((rows, bands.count), np.float32) for _ in range(4)
        )
        self._sounds = np.zeros(rows, np.bool_)
        self._known = self.first + CHANGE + WINDOW // HOP
        self._resampler: Resampler | None = None
        self._rate = self._run = self._next = 0
        self._gain = 1.0

    def add(self, audio: Audio, sample: int) -> None:
        """A piece whose first sample is heard at that sample of the clock."""
        apart = abs(sample - self._next) > JITTER_S * LISTEN_RATE
        if self._resampler is None or self._rate != audio.rate or apart:
            self._resampler, self._rate = Resampler(audio.rate, LISTEN_RATE), audio.rate
            self._run = self._next = sample
        piece = self._resampler.push(audio)
        self._next += round(len(audio.pcm) * LISTEN_RATE / audio.rate)
        self._put(piece.pcm * self._gain, self._run + piece.start)

    def silence(self, sample: int) -> None:
        """Nothing from there on was heard; what comes next is as loud as it is made."""
        self._put(np.zeros(max(0, (self.first + len(self.change)) * HOP - sample), np.float32), sample)
        self._resampler, self._gain = None, 1.0

    def scale(self, gain: float, sample: int) -> None:
        """From there on it is heard this much louder than it was made, until the next change."""
        gain, at = max(gain, 1e-3), max(0, sample - self.first * HOP)
        self._put(self._sound[at:] * (gain / self._gain), self.first * HOP + at)
        self._gain = gain

    def _put(self, pcm: Samples, sample: int) -> None:
        at = sample - self.first * HOP
        if at + len(pcm) > len(self._sound) and pcm.any():
            self._forget((at + len(pcm)) // HOP + HOPS_PER_S - len(self.change))
            at = sample - self.first * HOP
        begin, end = max(at, 0), min(at + len(pcm), len(self._sound))
        if begin < end:
            self._sound[begin:end] = pcm[begin - at : end - at]
            self._known = min(self._known, self.first + begin // HOP)

    def follow(self, hop: int) -> None:
        """Know the spectra up to that hop, and let go of what is long past."""
        if hop - self.first > self.behind + self.ahead // 2:
            self._forget(hop - self.behind - self.first)
        least = self.first + CHANGE + WINDOW // HOP
        begin, end = max(self._known, least) - self.first, hop + 1 - self.first
        if begin >= end:
            return
        self._known = hop + 1
        sound = self._sound[(begin + 1) * HOP - WINDOW : end * HOP]
        if not (self._sounds[begin - CHANGE : begin].any() or sound.any()):  # the usual case, and it is free
            for array in (self._power, self._tail, self.change, self.smeared, self._sounds):
                array[begin:end] = 0
            return
        self._power[begin:end] = self._bands(sound)
        level = 10 * np.log10(self._power[begin - CHANGE : end] + FAINT)
        self.change[begin:end] = np.clip(level[CHANGE:] - level[:-CHANGE], -15, 15)
        for row in range(begin, end):
            self._tail[row] = REVERB * self._tail[row - 1] + (1 - REVERB) * self._power[row - 1]
        near = self._power[begin - 2 : end]
        self.smeared[begin:end] = np.maximum(np.maximum(near[2:], near[1:-1]), near[:-2]) + self._tail[begin:end]
        self._sounds[begin:end] = self.smeared[begin:end].max(axis=1) > FAINT

    def _forget(self, rows: int) -> None:
        for array in (self._power, self._tail, self.change, self.smeared, self._sounds):
            array[:-rows] = array[rows:].copy()
            array[-rows:] = 0
        self._sound[: -rows * HOP] = self._sound[rows * HOP :].copy()
        self._sound[-rows * HOP :] = 0
        self.first += rows

    def rows(self, of: Levels, begin: int, end: int) -> Levels:
        """Those hops of one of the arrays; nothing was heard in any that is not kept."""
        at = begin - self.first
        if at >= 0 and end - self.first <= len(of):
            return of[at : end - self.first]
        whole = np.zeros((end - begin, of.shape[1]), np.float32)
        first, last = max(at, 0), min(max(end - self.first, 0), len(of))
        if first < last:
            whole[first - at : last - at] = of[first:last]
        return whole

    def heard_within(self, begin: int, end: int) -> bool:
        """Something of it was heard between those hops."""
        return bool(self._sounds[max(0, begin - self.first) : max(0, end - self.first)].any())
