"""How likely a sentence or a turn ends, by the tokens that a model might write next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LIKELIEST = 40
"""Tokens whose probabilities are looked at for the end of a sentence; all others together have next to none."""

MARKS = frozenset(".?!。？！।")
"""First characters of what ends a sentence."""

WORTH_ASKING = 0.1
"""P(the sentence ends) from which it is asked whether another follows: a further token, 25 ms of two cores."""

QUESTIONS, ASKED = frozenset("?？"), 0.9
"""Marks behind which it is not asked, and what is taken for its answer: behind 44 of the questions in
research/turns/texts.txt it gave 0.91 in the mean, behind 97 other ends 0.25."""


def sentence_end(likeliest: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """P(the sentence or the turn ends), by what its tokens are given together, and the mark that ends it likeliest."""
    marks = [token for token in likeliest if token["token"].lstrip()[:1] in MARKS]
    mark = max(marks, key=lambda token: float(token["logprob"]))["token"].lstrip()[0] if marks else ""
    return min(1.0, _together(marks) + turn_end(likeliest)), mark


def turn_end(likeliest: Sequence[Mapping[str, Any]]) -> float:
    """P(the turn ends), by what the tokens without text are given together."""
    return min(1.0, _together(token for token in likeliest if not token["token"].strip()))


def _together(tokens: Iterable[Mapping[str, Any]]) -> float:
    return sum(math.exp(token["logprob"]) for token in tokens)
