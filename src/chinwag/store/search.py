"""Prepares texts and queries for the full text search, the same for SQLite and PostgreSQL.

Case and accents are ignored. Scripts without spaces between words are searched by sequences of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_INDEXED = 100_000
"""Characters of an item that are indexed; PostgreSQL limits a tsvector to one megabyte."""

AROUND = 60
"""Characters of an excerpt on either side of the match."""

MOST_TERMS = 16

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def searchable(text: str) -> str:
    """Normalise a text to words separated by spaces."""
    return " ".join(_tokens(text[:MAX_INDEXED]))


def terms(query: str) -> list[list[str]]:
    """Split a query into terms: each is a sequence of words, the last a prefix. Empty if the query has no words."""
    return [tokens for word in query.split() if (tokens := _tokens(word))][:MOST_TERMS]


def fts5(wanted: Sequence[Sequence[str]]) -> str:
    """Format terms for SQLite's MATCH."""
    return " AND ".join(f'"{" ".join(tokens)}" *' for tokens in wanted)


def tsquery(wanted: Sequence[Sequence[str]]) -> str:
    """Format terms for PostgreSQL's to_tsquery."""
    return " & ".join(f"({' <-> '.join(tokens)}:*)" for tokens in wanted)


def excerpt(text: str, wanted: Sequence[Sequence[str]]) -> str:
    """Return the text around the first match, on one line."""
    at = _match_offset(text, tuple(tokens[0] for tokens in wanted))
    start, end = max(0, at - AROUND), min(len(text), at + AROUND)
    if start:
        start = text.find(" ", start, at) + 1 or start
    if end < len(text) and (space := text.rfind(" ", at, end)) > at:
        end = space
    return f"{'… ' if start else ''}{' '.join(text[start:end].split())}{' …' if end < len(text) else ''}"


def _match_offset(text: str, firsts: tuple[str, ...]) -> int:
    for chunk in re.finditer(r"\S+", text):
        if any(token.startswith(firsts) for token in _tokens(chunk[0])):
            within = (i for i in range(len(chunk[0])) if " ".join(_tokens(chunk[0][i : i + AROUND])).startswith(firsts))
            return chunk.start() + next(within, 0)
    return 0


def _tokens(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _WORD.findall(_UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFC", plain)))
