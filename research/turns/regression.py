"""Logistic regression with a ridge, weighted, in numpy; folds by recording; the area under the ROC curve."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chinwag.listening.endpointing.parameters import Weights

Array = NDArray[np.float64]

FOLDS = 10
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)


RISING = frozenset({"sense", "sense_trusted", "no_sense", "whole", "ear", "ear_doubted"})
"""Features that can only speak for an end: where so few points say otherwise, it is chance."""


def fit(names: Sequence[str], table: Array, finished: Array, weights: Array, ridge: float) -> Weights:
    """table: (points, features). Features of RISING that would count backwards are left out."""
    used = list(range(len(names)))
    while True:
        model = _fit([names[place] for place in used], table[:, used], finished, weights, ridge)
        falling = [(weight, name) for name, weight in zip(model.features, model.weights, strict=True) if name in RISING]
        if not falling or min(falling)[0] >= 0.0:
            return model
        used.remove(names.index(min(falling)[1]))


def _fit(names: Sequence[str], table: Array, finished: Array, weights: Array, ridge: float) -> Weights:
    """Newton's method on the standardised features; the bias is not held back."""
    mean = np.average(table, axis=0, weights=weights)
    scale = np.sqrt(np.average((table - mean) ** 2, axis=0, weights=weights))
    scale[scale < 1e-9] = 1.0
    design = np.column_stack([np.ones(len(table)), (table - mean) / scale])
    held = np.full(design.shape[1], ridge)
    held[0] = 1e-6
    found = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-(design @ found)))
        slope = design.T @ (weights * (chance - finished)) + held * found
        bend = (design.T * (weights * chance * (1.0 - chance))) @ design + np.diag(held)
        step = np.linalg.solve(bend, slope)
        found -= step
        if float(np.abs(step).max()) < 1e-8:
            break
    rounded = [[round(float(value), 5) for value in values] for values in (mean, scale, found[1:])]
    return Weights(
        features=tuple(names),
        mean=tuple(rounded[0]),
        scale=tuple(rounded[1]),
        weights=tuple(rounded[2]),
        bias=round(float(found[0]), 5),
    )


def predict(model: Weights, names: Sequence[str], table: Array) -> Array:
    """P(finished) of each row."""
    table = table[:, [names.index(name) for name in model.features]]
    odds = model.bias + (table - np.array(model.mean)) / np.array(model.scale) @ np.array(model.weights)
    chances: Array = 1.0 / (1.0 + np.exp(-odds))
    return chances


def unseen(
    names: Sequence[str], table: Array, finished: Array, weights: Array, groups: Sequence[str]
) -> tuple[Array, float]:
    """What models say that have not seen a point's recording, and the ridge by which they say it best."""
    fold = np.array([zlib.crc32(group.encode()) % FOLDS for group in groups])
    best: tuple[float, float, Array] | None = None
    for ridge in RIDGES:
        chances = np.zeros(len(table))
        for number in range(FOLDS):
            out = fold == number
            model = fit(names, table[~out], finished[~out], weights[~out], ridge)
            chances[out] = predict(model, names, table[out])
        clipped = np.clip(chances, 1e-6, 1 - 1e-6)
        loss = -np.average(np.where(finished > 0, np.log(clipped), np.log(1 - clipped)), weights=weights)
        if best is None or loss < best[0]:
            best = (float(loss), ridge, chances)
    assert best is not None
    return best[2], best[1]


def auc(score: Array, finished: Array) -> float:
    """P(a random end scores higher than a random pause), ties half. NaN without both."""
    ends, pauses = score[finished > 0], score[finished <= 0]
    if not len(ends) or not len(pauses):
        return float("nan")
    differences = ends[:, None] - pauses[None, :]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())
