"""How long a silence ends a turn.

Waiting costs the delay where they have finished, and spares a cut-off where they only hesitate:
    cost(t) = P * t + (1 - P) * penalty * P(a hesitation of theirs outlasts t),
with P(finished) from the looks and the rest from the speaker's rhythm. The wait is the cheapest t, softened: the mean
of all t under weights exp(-cost / soften), which falls smoothly with P where the cheapest would jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chinwag.listen.fitted import Eagerness, Waiting, fitted
from chinwag.listen.rhythm import Rhythm

__all__ = ["LONGEST_S", "SHORTEST_S", "Eagerness", "Endpointer"]

SHORTEST_S = 0.1
"""Even a certain end is given this long: the closure of a "t" or "k" is 100 ms of silence inside a word."""

LONGEST_S: dict[Eagerness, float] = {"high": 2.0, "medium": 3.0, "auto": 3.0, "low": 5.0}
"""Silence that ends any turn, short of OpenAI's own limits (2, 4, 4 and 8 s): who is silent for 3 s wants an answer."""

STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Endpointer:
    """Turns P(finished) into a waiting time.

    eagerness: as `semantic_vad` on the wire. fixed_s: a silence that always ends the turn, as `server_vad` asks for.
    """

    eagerness: Eagerness = "auto"
    fixed_s: float | None = None

    def wait(self, finished: float | None, rhythm: Rhythm | None = None, numbers: Waiting | None = None) -> float:
        """Seconds of silence to wait for.

        finished: by the looks; None where none could tell, so that rhythm alone decides.
        rhythm: the speaker's, None for one not known yet. numbers: others than those that come with Chinwag.
        """
        if self.fixed_s is not None:
            return self.fixed_s
        rhythm, numbers = rhythm or Rhythm(), numbers or fitted().waiting
        chance = shifted(0.5 if finished is None else finished, rhythm.shift)
        silences = np.arange(SHORTEST_S, LONGEST_S[self.eagerness] + STEP_S / 2, STEP_S)
        cut_off = (1.0 - chance) * numbers.penalty_s[self.eagerness] * rhythm.outlasts(silences)
        cost = chance * silences + cut_off
        weights = np.exp((cost.min() - cost) / numbers.soften_s)
        return float(silences @ weights / weights.sum())

    def asks_ear(self, finished: float | None, numbers: Waiting | None = None) -> bool:
        """Whether P(finished) without the ear is so unsure that the ear is worth its cost."""
        if self.fixed_s is not None:
            return False
        low, high = (numbers or fitted().waiting).ask
        return finished is None or low <= finished <= high


def shifted(probability: float, by: float) -> float:
    """A probability moved by that much log-odds."""
    sure = min(max(probability, 1e-6), 1.0 - 1e-6)
    return 1.0 / (1.0 + (1.0 - sure) / sure * math.exp(-by))
