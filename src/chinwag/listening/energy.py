"""Where in a frame speech still sounds, from its loudness.

A VAD's probability falls some 100 ms after the last sound of a word; its level falls at once. Minimum statistics
(Martin 2001) give the room's noise, the loudest blocks give the voice, and what lies between them is divided.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio

BLOCK = LISTEN_RATE // 100
"""Samples of one look: 10 ms, about a period of the deepest voice."""

QUIETEST_DB = -75.0
"""Below it a room is silent; digital silence has no level at all."""

SHARE = 0.4
"""Of the way from the noise up to the voice, in decibels: a last consonant is above it, the room's echo soon below."""

CLEAR_DB = 18.0
"""A voice less than this above the noise is not told from it by its level."""

FORGETS_DB = 0.02
"""How much the voice's level falls in a block: 2 dB a second, so that one shout is soon forgotten."""

FLOOR_BLOCKS, FLOORS = 50, 5
"""The noise is the quietest block of the last 2.5 s, kept as minima of half a second."""


class EnergyTracker:
    """Follows noise and voice, block by block."""

    def __init__(self) -> None:
        self._minima: deque[float] = deque(maxlen=FLOORS)
        self._minimum, self._blocks = 0.0, 0
        self._voice = -200.0

    def push(self, frame: Audio, *, voiced: bool) -> int | None:
        """The next frame at 16 kHz. Returns the sample after its last sounding block, None where there is none.

        voiced: the VAD takes it for speech. Where voice and noise are too near to be told apart, all of it sounds.
        """
        count = len(frame.pcm) // BLOCK
        blocks = frame.pcm[: count * BLOCK].reshape(count, BLOCK)
        levels = np.maximum(10 * np.log10(np.mean(np.square(blocks), axis=1) + 1e-12), QUIETEST_DB)
        for level in levels:
            self._learn(float(level), voiced)
        if not self.clear:
            return frame.end
        sounding = np.flatnonzero(levels > self.noise + SHARE * (self._voice - self.noise))
        if not len(sounding):
            return None
        last = int(sounding[-1])
        return frame.end if last == count - 1 else frame.start + (last + 1) * BLOCK

    @property
    def noise(self) -> float:
        """Decibels below full scale of the room."""
        return min([*self._minima, self._minimum])

    @property
    def clear(self) -> bool:
        """Voice and noise are far enough apart."""
        return self._voice - self.noise >= CLEAR_DB

    def _learn(self, level: float, voiced: bool) -> None:
        self._minimum = min(self._minimum, level) if self._blocks else level
        self._blocks += 1
        if self._blocks == FLOOR_BLOCKS:
            self._minima.append(self._minimum)
            self._blocks = 0
        if voiced:
            self._voice = max(level, self._voice - FORGETS_DB)
