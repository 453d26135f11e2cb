"""How long a silence ends a turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Eagerness = Literal["low", "medium", "high", "auto"]

SHORTEST_S = 0.2
"""Even a certain end is given this long: a breath inside a sentence is 150 ms and more, a human gap about 200 ms."""

LONGEST_S = {"high": 1.2, "medium": 1.8, "auto": 1.8, "low": 3.0}
"""A speaker who is surely not done is waited for this long before silence alone ends the turn."""


@dataclass(frozen=True, slots=True)
class Endpointer:
    """Turns P(finished) into a waiting time.

    eagerness: as `semantic_vad` on the wire. fixed_s: a silence that always ends the turn, as `server_vad` asks for.
    """

    eagerness: Eagerness = "auto"
    fixed_s: float | None = None

    def wait(self, finished: float | None) -> float:
        """Seconds of silence to wait for, given P(finished), or None where no judge could tell."""
        if self.fixed_s is not None:
            return self.fixed_s
        longest = LONGEST_S[self.eagerness]
        if finished is None:
            return (SHORTEST_S + longest) / 2
        return SHORTEST_S + (longest - SHORTEST_S) * (1.0 - finished) ** 3
