"""The list of words that somebody who learns a language keeps: keep, list, forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import BaseModel, Field, TypeAdapter

from chinwag.tools.list_file import Kept


class Word(BaseModel):
    """One of the list."""

    word: str
    meaning: str


def keep_word(
    word: Annotated[str, Field(min_length=1, max_length=100, description="the word or phrase to learn")],
    meaning: Annotated[str, Field(min_length=1, max_length=300, description="what it means, in a few words")],
) -> str:
    """Keep a word on the user's list of words to learn."""
    kept = Word(word=word.strip(), meaning=meaning.strip())
    with _words.opened() as words:
        words[:] = [one for one in words if not _same(one, kept.word)] + [kept]
    return f"Kept: {kept.word}, which means {kept.meaning}"


def list_words() -> list[Word] | str:
    """Read the user's list of words to learn, with their meanings."""
    with _words.opened() as words:
        return list(words) or "There are no words on the list."


def forget_word(word: Annotated[str, Field(min_length=1, description="the word")]) -> str:
    """Take a word off the user's list."""
    with _words.opened() as words:
        left = [one for one in words if not _same(one, word)]
        gone, words[:] = len(words) - len(left), left
    return f"Forgotten: {word}" if gone else f"The list has no word {word}"


ALL = (keep_word, list_words, forget_word)


def words_file() -> Path:
    """Where the words are."""
    return user_data_path("chinwag") / "words.json"


def _same(one: Word, word: str) -> bool:
    return one.word.casefold() == word.strip().casefold()


_words = Kept("words", TypeAdapter(list[Word]), lambda: words_file())  # noqa: PLW0108 (tests put another in its place)
