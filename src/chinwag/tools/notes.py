"""Tools for the user's notes: add, list, forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import Field, TypeAdapter

from chinwag.tools.list_file import JsonListFile


def add_note(text: Annotated[str, Field(min_length=1, max_length=2000, description="what to remember")]) -> str:
    """Keep a note for the user."""
    with _notes.edit() as notes:
        notes.append(text.strip())
    return f"Noted: {text.strip()}"


def list_notes() -> list[str] | str:
    """Read all notes that were kept for the user."""
    with _notes.edit() as notes:
        return list(notes) or "There are no notes."


def forget_note(text: Annotated[str, Field(min_length=1, description="words of the note")]) -> str:
    """Forget the notes that hold these words."""
    with _notes.edit() as notes:
        removed = [note for note in notes if text.strip().lower() in note.lower()]
        notes[:] = [note for note in notes if note not in removed]
    return f"Forgotten: {'; '.join(removed)}" if removed else f"No note holds the words: {text}"


ALL = (add_note, list_notes, forget_note)


def notes_file() -> Path:
    """Path of the file that holds the notes."""
    return user_data_path("chinwag") / "notes.json"


_notes = JsonListFile("notes", TypeAdapter(list[str]), lambda: notes_file())  # noqa: PLW0108 (tests put another in its place)
