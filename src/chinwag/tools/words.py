"""Tools for a language learner's vocabulary list: add, list, forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import BaseModel, Field, TypeAdapter

from chinwag.tools.list_file import JsonListFile


class Word(BaseModel):
    """An entry of the vocabulary list."""

    word: str
    meaning: str


def keep_word(
    word: Annotated[str, Field(min_length=1, max_length=100, description="the word or phrase to learn")],
    meaning: Annotated[str, Field(min_length=1, max_length=300, description="what it means, in a few words")],
) -> str:
    """Keep a word on the user's list of words to learn."""
    entry = Word(word=word.strip(), meaning=meaning.strip())
    with _words.edit() as words:
        words[:] = [other for other in words if not _matches(other, entry.word)] + [entry]
    return f"Kept: {entry.word}, which means {entry.meaning}"


def list_words() -> list[Word] | str:
    """Read the user's list of words to learn, with their meanings."""
    with _words.edit() as words:
        return list(words) or "There are no words on the list."


def forget_word(word: Annotated[str, Field(min_length=1, description="the word")]) -> str:
    """Take a word off the user's list."""
    with _words.edit() as words:
        remaining = [entry for entry in words if not _matches(entry, word)]
        removed, words[:] = len(words) - len(remaining), remaining
    return f"Forgotten: {word}" if removed else f"The list has no word {word}"


ALL = (keep_word, list_words, forget_word)


def words_file() -> Path:
    """Path of the file that holds the vocabulary list."""
    return user_data_path("chinwag") / "words.json"


def _matches(entry: Word, word: str) -> bool:
    return entry.word.casefold() == word.strip().casefold()


_words = JsonListFile("words", TypeAdapter(list[Word]), lambda: words_file())  # noqa: PLW0108 (tests put another in its place)
