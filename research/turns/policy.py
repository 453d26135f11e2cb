"""What waiting costs: delays at ends against pauses cut off, for the endpointer and for what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from chinwag.listening.endpointing.pacing import Rhythm
from chinwag.listening.endpointing.parameters import Eagerness, PauseParameters, WaitParameters
from chinwag.listening.endpointing.policy import PATIENCE, Endpointer
from research.turns.points import Point

Array = NDArray[np.float64]

EAR_ASKED_S, EAR_KNOWN_S = 0.2, 0.3
"""Silence at which the ear is asked, and at which its answer is there (75 to 150 ms on two cores)."""

EAR_COSTS_S = 0.15
"""By this much a draft comes later for an ear that is asked meanwhile, measured on two cores."""

MADE_PAUSES_S = (0.3, 0.525, 0.75, 0.975, 1.2)
"""How long a made pause is to last, each as likely: silence was put there, so any length is as true."""

HESITATION_S = 0.2
"""A shorter silence is mostly the mouth being closed for a consonant (Goldman-Eisler 1968 draws the line at 250 ms)."""

PENALTIES_S = tuple(float(round(value, 3)) for value in np.geomspace(0.2, 40.0, 90))
SOFTEN_S = (0.03, 0.05, 0.08)
TARGETS: dict[Eagerness, float] = {"high": 0.2, "auto": 0.15, "medium": 0.05, "low": 0.02}
"""Cut-offs for each turn that there may be, with a speaker who is not known yet. eot-bench compares delays at 5 %;
"auto" begins brisker, since one cut-off is enough for the rhythm to make it wait."""


ALLOWED = 0.08
"""Share of pauses cut off at which softening and band are chosen: with two pauses in three turns, 5 % of turns."""


@dataclass(frozen=True)
class Cost:
    """cut_off: share of pauses. a_turn: cut-offs for each end. delays: seconds at each end.

    asked: share of silences that the ear was asked about.
    """

    cut_off: float
    a_turn: float
    delays: Array
    asked: float = 0.0

    @property
    def delay(self) -> float:
        """Mean seconds."""
        return float(self.delays.mean())


@dataclass(frozen=True)
class Heard:
    """Points with P(finished) before and after the ear was asked, by models that had not seen them."""

    points: Sequence[Point]
    first: Array
    second: Array

    def only(self, *sources: str) -> Heard:
        """Those of these sources."""
        keep = [place for place, point in enumerate(self.points) if point.source in sources]
        return Heard([self.points[place] for place in keep], self.first[keep], self.second[keep])


def cost(points: Sequence[Point], waits: Array, asked: float = 0.0) -> Cost:
    """Of waiting so long at each point."""
    delays = np.array([wait for point, wait in zip(points, waits, strict=True) if point.finished])
    cut = np.array([_cut(point, wait) for point, wait in zip(points, waits, strict=True) if not point.finished])
    return Cost(float(cut.mean()), float(cut.sum()) / len(delays), delays, asked)


def _cut(point: Point, wait: float) -> float:
    lengths = (point.pause_s,) if point.pause_s is not None else MADE_PAUSES_S
    return float(np.mean([length > wait for length in lengths]))


def waits(heard: Heard, waiting: WaitParameters, eagerness: Eagerness, people: PauseParameters) -> tuple[Array, float]:
    """Of a speaker who is not known yet, and the share of silences that the ear was asked about."""
    curve = np.array(_curve(eagerness, waiting.penalty_s[eagerness], waiting.soften_s, people))
    first, second = np.interp(heard.first, CHANCES, curve), np.interp(heard.second, CHANCES, curve)
    low, high = waiting.ask
    asked = (heard.first >= low) & (heard.first <= high) & (first > EAR_ASKED_S)
    decided = np.where(asked & (first > EAR_KNOWN_S), np.maximum(second, EAR_KNOWN_S), first)
    return decided, float(asked.mean())


def waits_as_it_learns(heard: Heard, waiting: WaitParameters, eagerness: Eagerness, people: PauseParameters) -> Array:
    """The same with a rhythm for each recording, which learns from point to point as in a conversation."""
    decided, endpointer, group, rhythm = [], Endpointer(PATIENCE[eagerness]), "", Rhythm(people)
    for point, first, second in zip(heard.points, heard.first, heard.second, strict=True):
        if point.group != group:
            group, rhythm = point.group, Rhythm(people)
        wait = endpointer.wait_s(float(first), rhythm, waiting)
        if wait > EAR_KNOWN_S and endpointer.needs_audio_model(float(first), waiting):
            wait = max(endpointer.wait_s(float(second), rhythm, waiting), EAR_KNOWN_S)
        decided.append(wait)
        if point.finished:
            rhythm.ended()
        elif point.pause_s is not None and point.pause_s > wait:
            rhythm.cut_off(point.pause_s)
        elif point.pause_s is not None and point.pause_s >= HESITATION_S:
            rhythm.hesitated(point.pause_s)
    return np.array(decided)


CHANCES = 1.0 / (1.0 + np.exp(-np.linspace(-8.0, 8.0, 81)))
"""Between these, waits are interpolated: there are thousands to try."""


@cache
def _curve(eagerness: Eagerness, penalty_s: float, soften_s: float, people: PauseParameters) -> tuple[float, ...]:
    """The wait at each of CHANCES."""
    numbers = WaitParameters(penalty_s=dict.fromkeys(TARGETS, penalty_s), soften_s=soften_s, ask=(0.0, 1.0))
    endpointer, rhythm = Endpointer(PATIENCE[eagerness]), Rhythm(people)
    return tuple(endpointer.wait_s(float(chance), rhythm, numbers) for chance in CHANCES)


def sweep(heard: Heard, waiting: WaitParameters, people: PauseParameters) -> list[Cost]:
    """The endpointer under every penalty."""
    costs = []
    for penalty in PENALTIES_S:
        at = waiting.model_copy(update={"penalty_s": dict.fromkeys(waiting.penalty_s, penalty)})
        decided, asked = waits(heard, at, "auto", people)
        costs.append(cost(heard.points, decided, asked))
    return costs


def silence_alone(points: Sequence[Point]) -> list[Cost]:
    """A fixed silence, from 100 ms to 2 s."""
    return [cost(points, np.full(len(points), seconds)) for seconds in np.arange(0.1, 2.0, 0.02)]


def ear_alone(points: Sequence[Point]) -> list[Cost]:
    """Smart Turn above a threshold after 200 ms, else 3 s: its usual way, at every threshold."""
    ear = np.array([point.ear for point in points])
    return [cost(points, ear_waits(ear, threshold)) for threshold in np.unique([0.0, 0.5, 1.01, *ear])]


def ear_waits(ear: Array, threshold: float) -> Array:
    """Smart Turn's answer is there when it is there, for these as for us."""
    return np.where(ear > threshold, EAR_KNOWN_S, 3.0)


def delay_at(costs: Sequence[Cost], share: float, of: Callable[[Cost], float] = lambda cost: cost.delay) -> float:
    """The least of those delays at which no more than this share of pauses is cut off; NaN where it never is."""
    return min((of(cost) for cost in costs if cost.cut_off <= share + 1e-9), default=float("nan"))


def cut_off_at(costs: Sequence[Cost], delay: float) -> float:
    """The least share of pauses cut off by any that waits no longer than this on average."""
    return min((cost.cut_off for cost in costs if cost.delay <= delay + 1e-9), default=float("nan"))


def best_waiting(heard: Heard, people: PauseParameters) -> WaitParameters:
    """The softening, the band in which the ear is asked, and each eagerness's penalty, at the least expected cost."""
    unset = WaitParameters(penalty_s={"low": 1, "medium": 1, "auto": 1, "high": 1}, soften_s=0.05, ask=(0.0, 1.0))
    soft = min(
        SOFTEN_S,
        key=lambda soften: delay_at(sweep(heard, unset.model_copy(update={"soften_s": soften}), people), ALLOWED),
    )
    waiting = unset.model_copy(update={"soften_s": soft})
    bands = [(low, high) for low in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3) for high in (0.6, 0.7, 0.8, 0.9, 0.95, 1.0)]
    waiting = min(
        (waiting.model_copy(update={"ask": band}) for band in bands),
        key=lambda tried: delay_at(sweep(heard, tried, people), ALLOWED, lambda c: c.delay + EAR_COSTS_S * c.asked),
    )
    penalties: dict[Eagerness, float] = {}
    for eagerness, share in TARGETS.items():
        for penalty in PENALTIES_S:
            penalties[eagerness] = penalty
            tried = waiting.model_copy(update={"penalty_s": {**waiting.penalty_s, eagerness: penalty}})
            if cost(heard.points, waits(heard, tried, eagerness, people)[0]).a_turn <= share:
                break
    return waiting.model_copy(update={"penalty_s": penalties})
