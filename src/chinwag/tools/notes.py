"""Notes kept in a file of the user's: add, list, forget. A lock keeps two conversations from losing each other's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from platformdirs import user_data_path
from pydantic import Field

from chinwag.errors import ChinwagError

LOCKED_WITHIN_S = 5.0

MOST = 500
"""Notes: as many as anybody would have read to them."""


def add_note(text: Annotated[str, Field(min_length=1, max_length=2000, description="what to remember")]) -> str:
    """Keep a note for the user."""
    with _notes() as notes:
        if len(notes) >= MOST:
            raise ChinwagError(f"There are {MOST} notes already.", "Forget some first.")
        notes.append(text.strip())
    return f"Noted: {text.strip()}"


def list_notes() -> list[str] | str:
    """Read all notes that were kept for the user."""
    with _notes() as notes:
        return list(notes) or "There are no notes."


def forget_note(text: Annotated[str, Field(min_length=1, description="words of the note")]) -> str:
    """Forget the notes that hold these words."""
    with _notes() as notes:
        gone = [note for note in notes if text.strip().lower() in note.lower()]
        notes[:] = [note for note in notes if note not in gone]
    return f"Forgotten: {'; '.join(gone)}" if gone else f"No note holds the words: {text}"


ALL = (add_note, list_notes, forget_note)


def notes_file() -> Path:
    """Where the notes are."""
    return user_data_path("chinwag") / "notes.json"


@contextmanager
def _notes() -> Iterator[list[str]]:
    """The notes, to be changed in place; written back whole or not at all."""
    path = notes_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCKED_WITHIN_S):
            before = _read(path)
            notes = list(before)
            yield notes
            if notes != before:
                new = path.with_suffix(".new")
                new.write_text(json.dumps(notes, ensure_ascii=False, indent=1), "utf-8")
                os.replace(new, path)
    except Timeout as error:
        raise ChinwagError("The notes are in use by another program.", "Try again.") from error


def _read(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ChinwagError(f"The file of the notes is damaged: {path}.", "Mend it or move it away.") from error
    if not isinstance(found, list):
        raise ChinwagError(f"The file of the notes is damaged: {path}.", "Mend it or move it away.")
    return [str(note) for note in found]
