"""Figures from raw measurements."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from chinwag import language

_SMALL = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"  # noqa: SIM905
    " seventeen eighteen nineteen".split()
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def percentile(values: Sequence[float | None], q: float) -> float | None:
    """The q-th percentile (linear interpolation) of the values there are, to a tenth; None where there is none."""
    there = [value for value in values if value is not None]
    return round(float(np.percentile(there, q)), 1) if there else None


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """The median and the 95th percentile."""
    return {"p50": percentile(values, 50), "p95": percentile(values, 95)}


def share(part: int, whole: int) -> float | None:
    """part / whole to four places; None of nothing."""
    return round(part / whole, 4) if whole else None


def words(text: str) -> list[str]:
    """A text's words as they are compared: lower case, no punctuation, numbers below a million as English words.

    Of Chinese and Japanese, the characters.
    """
    text = text.lower().replace("’", "'").replace("%", " percent ").replace("$", " dollars ")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"\d+", lambda found: f" {_number(found[0])} ", text)
    return language.normalised_words(text)


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """(errors, words said): substitutions, insertions and deletions of the best alignment (Levenshtein)."""
    truth, guess = words(said), words(heard)
    row = list(range(len(guess) + 1))
    for i, word in enumerate(truth, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(guess, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(truth)


def _number(digits: str) -> str:
    value = int(digits)
    if digits.startswith("0") or value >= 10**6:
        return " ".join(_SMALL[int(digit)] for digit in digits)
    if value >= 1000:
        rest = f" {_number(str(value % 1000))}" if value % 1000 else ""
        return f"{_number(str(value // 1000))} thousand{rest}"
    if value >= 100:
        rest = f" {_number(str(value % 100))}" if value % 100 else ""
        return f"{_SMALL[value // 100]} hundred{rest}"
    if value >= 20:
        return _TENS[value // 10] + (f" {_SMALL[value % 10]}" if value % 10 else "")
    return _SMALL[value]
