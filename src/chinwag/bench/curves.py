"""How often a turn detector cuts people off, against how long it lets them wait: arithmetic on logged judgements.

As LiveKit's eot-bench has it (github.com/livekit/eot-bench): the last silence of a turn is its end, every other one is
a pause. A policy's knob is swept. At each setting

- cutoff: the share of all turns in which the detector ended the turn in a pause, that is before they went on;
- delay: the mean time in ms from the true end of the speech to the decision. It holds the waiting, and the judgement
  where that came later, but not the making of an answer. The mean, because a median hides the ends that fall back to
  seconds.

All silences are judged, also those behind a cut. The judgements are those of one run, made with the words and the sound
of that run; only the policy upon them is varied.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ACTION_MS, FALLBACK_MS, THRESHOLD = 200.0, 3000.0, 0.5
"""Pipecat's usual settings around Smart Turn: silence before it is asked, and silence that ends a turn it doubts."""

SCALES = tuple(float(scale) for scale in np.geomspace(0.05, 20, 121))
THRESHOLDS = (*(float(place) for place in np.linspace(0.0, 0.98, 50)), 0.99, 0.995, 0.999)
LENGTHS_MS = tuple(float(length) for length in range(50, 3001, 25))
ACTIONS_MS = tuple(float(length) for length in range(100, 801, 100))
FALLBACKS_MS = tuple(float(length) for length in range(400, 3001, 200))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One look at a silence.

    at_ms: when it came, from the true start of the silence. wait_ms: silence after which the turn was to end, from
    `heard_ms`, which is where the detector heard the silence begin, from its true start. score: P(finished).
    """

    at_ms: float
    wait_ms: float
    score: float | None = None
    heard_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence and its judgements in order. length_ms: until they went on; None where it is the end."""

    length_ms: float | None
    judgements: tuple[Judgement, ...] = ()


Turn = Sequence[Silence]
"""The silences of a turn; the last one is its end."""
Policy = Callable[[Silence], float | None]
"""The ms after which a silence ends the turn; None where it never would."""


class Point(NamedTuple):
    """One setting of a policy."""

    delay_ms: float
    cutoff: float
    setting: str


def waiting(scale: float = 1.0) -> Policy:
    """The detector's own waits, all longer or shorter by a factor. The newest judgement counts until the next comes."""

    def decide(silence: Silence) -> float | None:
        looks = silence.judgements
        for look, later in itertools.zip_longest(looks, looks[1:]):
            when = max(look.at_ms, look.heard_ms + look.wait_ms * scale)
            if later is None or when <= later.at_ms:
                return when
        return None

    return decide


def scoring(threshold: float = THRESHOLD, action_ms: float = ACTION_MS, fallback_ms: float = FALLBACK_MS) -> Policy:
    """The end at the first score beyond the threshold, after `action_ms` at the earliest; else after `fallback_ms`."""

    def decide(silence: Silence) -> float | None:
        for look in silence.judgements:
            if look.score is not None and look.score > threshold and look.at_ms - look.heard_ms <= fallback_ms:
                return max(look.at_ms, look.heard_ms + action_ms)
        return silence.judgements[0].heard_ms + fallback_ms if silence.judgements else None

    return decide


def silent(length_ms: float) -> Policy:
    """The end after a fixed silence, noticed without fail and without delay: the baseline at its best."""
    return lambda silence: length_ms


def measure(turns: Sequence[Turn], policy: Policy, setting: str = "") -> Point:
    """Delay and cut-offs of a policy. An end that nobody judged counts as `FALLBACK_MS`."""
    cut = 0
    delays = []
    for turn in turns:
        *pauses, end = turn
        cut += any(_within(policy(pause), pause.length_ms) for pause in pauses)
        decided = policy(end)
        delays.append(FALLBACK_MS if decided is None else max(decided, 0.0))
    return Point(float(np.mean(delays)) if delays else 0.0, cut / len(turns) if turns else 0.0, setting)


def waiting_curve(turns: Sequence[Turn]) -> list[Point]:
    """Chinwag's: its waits from a twentieth to twenty times as long."""
    return frontier(measure(turns, waiting(scale), f"wait x {scale:.2f}") for scale in SCALES)


def scoring_curve(turns: Sequence[Turn]) -> list[Point]:
    """Smart Turn's with Pipecat's usual times: the threshold is swept."""
    return frontier(measure(turns, scoring(threshold), f"p > {threshold:.3f}") for threshold in THRESHOLDS)


def tuned_scoring_curve(turns: Sequence[Turn]) -> list[Point]:
    """Smart Turn's at its best on these very turns: threshold, action delay and fallback swept jointly."""
    grid = itertools.product(THRESHOLDS, ACTIONS_MS, FALLBACKS_MS)
    return frontier(
        measure(turns, scoring(threshold, action, fallback), f"p > {threshold:.3f}, {action:.0f} ms, {fallback:.0f} ms")
        for threshold, action, fallback in grid
        if action < fallback
    )


def silence_curve(turns: Sequence[Turn]) -> list[Point]:
    """A fixed silence of every length."""
    return frontier(measure(turns, silent(length), f"{length:.0f} ms") for length in LENGTHS_MS)


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other one beats in both, by growing delay."""
    best: list[Point] = []
    for point in sorted(points):
        if not best or point.cutoff < best[-1].cutoff:
            best.append(point)
    return best


def cutoff_at(curve: Sequence[Point], delay_ms: float) -> float | None:
    """The least share of turns cut off with at most that delay; None where no setting is so fast."""
    return min((round(point.cutoff, 4) for point in curve if point.delay_ms <= delay_ms), default=None)


def delay_at(curve: Sequence[Point], cutoff: float) -> float | None:
    """The least delay in ms with at most that share of turns cut off; None where no setting is so careful."""
    return min((round(point.delay_ms, 1) for point in curve if point.cutoff <= cutoff), default=None)


def _within(decided: float | None, length_ms: float | None) -> bool:
    return decided is not None and length_ms is not None and decided < length_ms
