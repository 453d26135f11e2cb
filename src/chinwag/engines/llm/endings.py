"""Probability that a sentence or a turn ends, from the likeliest next tokens of a language model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LIKELIEST = 40
"""Number of next tokens that are requested; all others together have next to no probability."""

MARKS = frozenset(".?!。？！।")
"""Characters that end a sentence."""

WORTH_ASKING = 0.1
"""P(the sentence ends) from which P(the turn ends) is computed as well: one more token, 25 ms on two cores."""

QUESTIONS, ASKED = frozenset("?？"), 0.9
"""Question marks, and the P(the turn ends) that is assumed after them. The model gave 0.91 on average after 44
questions of research/turns/texts.txt, and 0.25 after 97 other sentences."""


def sentence_end(likeliest: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """Return P(the sentence or the turn ends) and the likeliest closing mark ("" if there is none)."""
    marks = [token for token in likeliest if token["token"].lstrip()[:1] in MARKS]
    mark = max(marks, key=lambda token: float(token["logprob"]))["token"].lstrip()[0] if marks else ""
    return min(1.0, _probability(marks) + turn_end(likeliest)), mark


def turn_end(likeliest: Sequence[Mapping[str, Any]]) -> float:
    """Return P(the turn ends): the probability of all tokens without text."""
    return min(1.0, _probability(token for token in likeliest if not token["token"].strip()))


def _probability(tokens: Iterable[Mapping[str, Any]]) -> float:
    return sum(math.exp(token["logprob"]) for token in tokens)
