"""One speaker's pauses in one conversation: how long they hesitate, and how often a silence is an end.

Hesitations are taken as log-normal, as pauses in speech are (Campione & Véronis 2002), with people at large as the
prior and older ones fading. Seconds in, no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chinwag.listening.endpointing.parameters import PauseParameters, fitted_parameters

FADE = 0.9
"""What is left of an observation's weight when the next one comes: the last ten count."""

PRIOR = 4.0
"""Observations that people at large are worth."""

CUT_OFF = 4.0
"""Observations that a cut-off is worth: it must show at once, not after the fourth."""

BRISK = 0.5
"""... and that a quick answer is: it tells their pace, but is no pause inside a turn."""

SHORTEST_S, LONGEST_S = 0.1, 5.0
"""What lies beyond counts as this: a shorter gap is no pause, a longer one is a telephone ringing."""

SHIFT_LIMIT = 1.5
"""Log-odds by which ends and hesitations so far move P(finished) at most."""


@dataclass
class Rhythm:
    """What has been learnt about a speaker; begin a new one with each conversation."""

    people: PauseParameters | None = None
    _weight: float = 0.0
    _sum: float = 0.0
    _squares: float = 0.0
    _ends: float = 0.0
    _pauses: float = 0.0

    def hesitated(self, seconds: float) -> None:
        """They were silent for so long and then went on, and nobody had spoken in between."""
        self._saw(seconds, 1.0)
        self._counted(ends=0.0, pauses=1.0)

    def cut_off(self, seconds: float) -> None:
        """They went on after so long a silence, but their turn had been taken for ended."""
        self._saw(seconds, CUT_OFF)
        self._counted(ends=0.0, pauses=CUT_OFF)

    def ended(self) -> None:
        """Their turn was taken for ended, and they let the answer come."""
        self._counted(ends=1.0, pauses=0.0)

    def answered(self, seconds: float) -> None:
        """They began to speak so long after the reply had ended. Only a quick answer tells anything."""
        if 0.0 <= seconds < self.median_s:
            self._saw(seconds, BRISK)

    @property
    def median_s(self) -> float:
        """Seconds that half of their hesitations outlast."""
        return math.exp(self._centre)

    @property
    def shift(self) -> float:
        """Log-odds to add to P(finished): above 0 where silences are mostly ends, below where mostly hesitations."""
        shift = math.log((self._ends + PRIOR) / (self._pauses + PRIOR))
        return min(max(shift, -SHIFT_LIMIT), SHIFT_LIMIT)

    def outlasts(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(a hesitation of theirs is longer than that), for each."""
        spread = self._spread
        return np.array([0.5 * math.erfc((math.log(s) - self._centre) / (spread * math.sqrt(2.0))) for s in seconds])

    def hesitating(self, seconds: float, finished: float = 0.5) -> float:
        """P(a silence that has lasted so long is a hesitation). finished: P(they have finished) by the other looks."""
        odds = finished / max(1.0 - finished, 1e-9) * math.exp(self.shift)
        going_on = float(self.outlasts(np.array([max(seconds, 1e-3)]))[0])
        return going_on / (going_on + odds)

    def _saw(self, seconds: float, weight: float) -> None:
        log = math.log(min(max(seconds, SHORTEST_S), LONGEST_S))
        self._weight = FADE * self._weight + weight
        self._sum = FADE * self._sum + weight * log
        self._squares = FADE * self._squares + weight * log * log

    def _counted(self, ends: float, pauses: float) -> None:
        self._ends = FADE * self._ends + ends
        self._pauses = FADE * self._pauses + pauses

    @property
    def _prior(self) -> PauseParameters:
        return self.people or fitted_parameters().pauses

    @property
    def _centre(self) -> float:
        return (PRIOR * self._prior.log_median + self._sum) / (PRIOR + self._weight)

    @property
    def _spread(self) -> float:
        """Of the next one: that of those so far, and what is not known yet of their centre."""
        prior, centre, count = self._prior, self._centre, PRIOR + self._weight
        around = self._squares - 2.0 * centre * self._sum + centre * centre * self._weight
        around += PRIOR * (prior.spread**2 + (prior.log_median - centre) ** 2)
        return math.sqrt(max(around, 1e-6) / count * (1.0 + 1.0 / count))
