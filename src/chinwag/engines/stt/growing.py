"""What a transcriber that hears whole pieces needs for sound that goes on: a buffer, a place to cut, a seam."""

from __future__ import annotations

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples

_WINDOW = LISTEN_RATE // 5
_HOP = LISTEN_RATE // 50


class GrowingSound:
    """Samples pushed so far, in one array that doubles when it is full.

    A view stays true while more is pushed: samples once written never change.
    """

    def __init__(self) -> None:
        self._pcm = np.empty(4 * LISTEN_RATE, np.float32)
        self.length = 0
        self.until = 0
        """The listening stream's index after the last sample."""

    def push(self, audio: Audio) -> None:
        """Add a piece at the end."""
        end = self.length + len(audio.pcm)
        if end > len(self._pcm):
            grown = np.empty(max(end, 2 * len(self._pcm)), np.float32)
            grown[: self.length] = self._pcm[: self.length]
            self._pcm = grown
        self._pcm[self.length : end] = audio.pcm
        self.length, self.until = end, audio.end

    def view(self, start: int, end: int) -> Samples:
        """Samples from `start` up to `end`, counted from the first one pushed; not copied."""
        return self._pcm[start:end]


def quietest(pcm: Samples, after: int, before: int, tail: int) -> int:
    """Where to cut: the middle of the quietest 200 ms that lies `after`..`before`, with `tail` samples left behind it.

    All in samples; pcm is longer than `before` and at 16 kHz.
    """
    last = max(min(before, len(pcm) - tail), after + _WINDOW)
    energy = np.concatenate(([0.0], np.cumsum(np.square(pcm[after:last], dtype=np.float64))))
    starts = np.arange(0, max(len(energy) - _WINDOW, 1), _HOP)
    ends = np.minimum(starts + _WINDOW, len(energy) - 1)
    return after + int(starts[np.argmin(energy[ends] - energy[starts])]) + _WINDOW // 2


def join_text(before: str, after: str) -> str:
    """Join two pieces of one utterance that were heard apart.

    The transcriber takes each piece for sentences of their own: where the second plainly goes on with the first's
    sentence (it begins in lower case), the full stop between them is its invention and goes.
    """
    if not before or not after:
        return before or after
    if after[0].islower() and before.endswith(".") and not before.endswith("..."):
        before = before[:-1]
    return f"{before} {after}"
