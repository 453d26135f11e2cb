"""How long a silence ends a turn.

Waiting costs the delay where they have finished, and spares a cut-off where they only hesitate:
    cost(t) = P * t + (1 - P) * penalty * P(a hesitation of theirs outlasts t),
with P(finished) from the looks and the rest from the speaker's rhythm. The wait is the cheapest t, softened: the mean
of all t under weights exp(-cost / soften), which falls smoothly with P where the cheapest would jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chinwag.listening.endpointing.pacing import Rhythm
from chinwag.listening.endpointing.parameters import Eagerness, WaitParameters, fitted_parameters

__all__ = ["LONGEST_S", "PATIENCE", "SHORTEST_S", "Eagerness", "Endpointer", "nearest_eagerness"]

SHORTEST_S = 0.1
"""Even a certain end is given this long: the closure of a "t" or "k" is 100 ms of silence inside a word."""

LONGEST_S: dict[Eagerness, float] = {"high": 2.0, "medium": 3.0, "auto": 3.0, "low": 5.0}
"""Silence that ends any turn, short of OpenAI's own limits (2, 4, 4 and 8 s): who is silent for 3 s wants an answer."""

PATIENCE: dict[Eagerness, float] = {"high": -1.0, "auto": 0.0, "medium": 0.5, "low": 1.0}
"""Where each eagerness lies on the scale from brisk (-1) to very patient (1); between them all is interpolated."""

STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Endpointer:
    """Turns P(finished) into a waiting time.

    patience: -1 to 1, on the scale of PATIENCE. fixed_s: a silence that always ends the turn, as `server_vad` asks for.
    """

    patience: float = 0.0
    fixed_s: float | None = None

    @property
    def longest_s(self) -> float:
        """Silence that ends any turn."""
        return self._between(LONGEST_S)

    def wait_s(
        self, finished: float | None, rhythm: Rhythm | None = None, numbers: WaitParameters | None = None
    ) -> float:
        """Seconds of silence to wait for.

        finished: by the looks; None where none could tell, so that rhythm alone decides.
        rhythm: the speaker's, None for one not known yet. numbers: others than those that come with Chinwag.
        """
        if self.fixed_s is not None:
            return self.fixed_s
        rhythm, numbers = rhythm or Rhythm(), numbers or fitted_parameters().waiting
        chance = shifted(0.5 if finished is None else finished, rhythm.shift)
        silences = np.arange(SHORTEST_S, self.longest_s + STEP_S / 2, STEP_S)
        # penalties are ratios, so halfway between two is their geometric mean
        penalty_s = math.exp(self._between({name: math.log(each) for name, each in numbers.penalty_s.items()}))
        cut_off = (1.0 - chance) * penalty_s * rhythm.outlasts(silences)
        cost = chance * silences + cut_off
        weights = np.exp((cost.min() - cost) / numbers.soften_s)
        return float(silences @ weights / weights.sum())

    def needs_audio_model(self, finished: float | None, numbers: WaitParameters | None = None) -> bool:
        """Whether P(finished) without the ear is so unsure that the ear is worth its cost."""
        if self.fixed_s is not None:
            return False
        low, high = (numbers or fitted_parameters().waiting).ask
        return finished is None or low <= finished <= high

    def _between(self, points: Mapping[Eagerness, float]) -> float:
        """The value at this patience, of a line through those at each eagerness."""
        names = sorted(PATIENCE, key=PATIENCE.__getitem__)
        return float(np.interp(self.patience, [PATIENCE[name] for name in names], [points[name] for name in names]))


def nearest_eagerness(patience: float) -> Eagerness:
    """The name that comes nearest, as `semantic_vad` has no others."""
    return min(PATIENCE, key=lambda name: abs(PATIENCE[name] - patience))


def shifted(probability: float, by: float) -> float:
    """A probability moved by that much log-odds."""
    sure = min(max(probability, 1e-6), 1.0 - 1e-6)
    return 1.0 / (1.0 + (1.0 - sure) / sure * math.exp(-by))
