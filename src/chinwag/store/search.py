"""Words as they are searched: the same on SQLite and PostgreSQL, in any script.

Case and accents do not count. Scripts that put no spaces between words are searched by character, in their order.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 100_000
"""Characters of an item that are searched; PostgreSQL's tsvector holds a megabyte."""

AROUND = 60
"""Characters that are shown on either side of what was found."""

MOST_TERMS = 16

_WORD = re.compile(r"[^\W_]+")
_ALONE = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def searchable(text: str) -> str:
    """The words of a text, parted by spaces."""
    return " ".join(_tokens(text[:LONGEST]))


def terms(query: str) -> list[list[str]]:
    """What is searched for: each is words in a row, of which the last may go on. Empty where there is no word."""
    return [tokens for word in query.split() if (tokens := _tokens(word))][:MOST_TERMS]


def fts5(wanted: Sequence[Sequence[str]]) -> str:
    """As SQLite's MATCH takes them."""
    return " AND ".join(f'"{" ".join(tokens)}" *' for tokens in wanted)


def tsquery(wanted: Sequence[Sequence[str]]) -> str:
    """As PostgreSQL's to_tsquery takes them."""
    return " & ".join(f"({' <-> '.join(tokens)}:*)" for tokens in wanted)


def excerpt(text: str, wanted: Sequence[Sequence[str]]) -> str:
    """The words around the first that was looked for, on one line."""
    at = _place(text, tuple(tokens[0] for tokens in wanted))
    start, end = max(0, at - AROUND), min(len(text), at + AROUND)
    if start:
        start = text.find(" ", start, at) + 1 or start
    if end < len(text) and (space := text.rfind(" ", at, end)) > at:
        end = space
    return f"{'… ' if start else ''}{' '.join(text[start:end].split())}{' …' if end < len(text) else ''}"


def _place(text: str, firsts: tuple[str, ...]) -> int:
    for chunk in re.finditer(r"\S+", text):
        if any(token.startswith(firsts) for token in _tokens(chunk[0])):
            within = (i for i in range(len(chunk[0])) if " ".join(_tokens(chunk[0][i : i + AROUND])).startswith(firsts))
            return chunk.start() + next(within, 0)
    return 0


def _tokens(text: str) -> list[str]:
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return _WORD.findall(_ALONE.sub(r" \g<0> ", unicodedata.normalize("NFC", plain)))
