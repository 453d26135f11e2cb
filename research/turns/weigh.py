"""From points to fitted numbers, and what they are worth on recordings that the models have not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chinwag.listening.endpointing.features import FEATURES
from chinwag.listening.endpointing.model import Evidence, log_odds, model_features
from chinwag.listening.endpointing.parameters import EVIDENCE_KINDS, FittedParameters, PauseParameters, Weights
from research.turns.points import Point
from research.turns.policy import HESITATION_S, Heard, best_waiting
from research.turns.regression import Array, auc, fit, unseen

SHARES = {"made": 0.7, "two": 0.15, "cut": 0.05, "recorded": 0.1}
"""What each source's points weigh together: recorded people are few, and a cut in fluent speech is nobody's pause."""

MADE = ("made", "two")

OF_LOOK = {"sense": ("sense", "sense_trusted", "no_sense", "whole", "trust"), "ear": ("ear",), "form": FEATURES}


@dataclass(frozen=True)
class Result:
    """numbers: what is written. heard: chances by models that had not seen the point. aucs: by look and source."""

    numbers: FittedParameters
    heard: Heard
    aucs: dict[str, dict[str, float]]


def fit_all(points: Sequence[Point]) -> Result:
    """Weights for each set of looks, the prior of pauses, the waiting."""
    finished = np.array([float(point.finished) for point in points])
    weights = _weights(points)
    groups = [point.group for point in points]
    rows = [model_features(Evidence(p.text, p.sure, p.sense, _melody(p, points), p.language, p.whole)) for p in points]
    models: dict[str, Weights] = {}
    chances: dict[str, Array] = {}
    for looks in EVIDENCE_KINDS:
        names = [name for look in looks.split("+") for name in OF_LOOK[look]]
        names += ["ear_doubted"] * ("ear" in looks and "sense" in looks)
        table = np.array([[row[name] for name in names] for row in rows])
        chances[looks], ridge = unseen(names, table, finished, weights, groups)
        models[looks] = fit(names, table, finished, weights, ridge)
    pauses = np.log([point.pause_s for point in points if point.pause_s is not None and point.pause_s >= HESITATION_S])
    people = PauseParameters(log_median=round(float(pauses.mean()), 3), spread=round(float(pauses.std(ddof=1)), 3))
    heard = Heard(points, chances["sense+form"], chances["sense+ear+form"])
    sense = np.array([log_odds(point.sense if point.sense is not None else 0.5) for point in points])
    ear = np.array([log_odds(point.ear if point.ear is not None else 0.5) for point in points])
    scores = {"sense": sense, "ear": ear, "sum of log-odds": sense + ear}
    scores |= {f"fitted: {looks}": chance for looks, chance in chances.items()}
    waiting = best_waiting(heard.only(*MADE), people)
    kinds = Counter(f"{point.source} {'ends' if point.finished else 'pauses'}" for point in points)
    numbers = FittedParameters(fitted_on=dict(sorted(kinds.items())), looks=models, pauses=people, waiting=waiting)
    return Result(numbers, heard, {name: _aucs(points, score, finished) for name, score in scores.items()})


def _melody(point: Point, points: Sequence[Point]) -> float | None:
    """What the ear said of it, save between two sentences: a made voice says each as if no other followed."""
    if point.source != "two":
        return point.ear
    return float(np.median([other.ear for other in points if other.source == "made" and other.ear is not None]))


def _weights(points: Sequence[Point]) -> Array:
    """Each source weighs its share, and all ends as much as all pauses."""
    shares = np.array([SHARES[point.source] for point in points])
    counts = Counter((point.source, point.finished) for point in points)
    weights: Array = shares / np.array([counts[point.source, point.finished] for point in points])
    for finished in (True, False):
        those = np.array([point.finished == finished for point in points])
        weights[those] *= len(points) / 2 / weights[those].sum()
    return weights


def _aucs(points: Sequence[Point], score: Array, finished: Array) -> dict[str, float]:
    found = {}
    for name, sources in (("made", MADE), ("made, cuts too", (*MADE, "cut")), ("recorded", ("recorded",))):
        those = np.array([point.source in sources for point in points])
        found[name] = auc(score[those], finished[those])
    return found
