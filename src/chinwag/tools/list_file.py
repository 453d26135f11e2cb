"""A list in a JSON file of the user, with a lock so that two sessions do not overwrite each other's entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from chinwag.errors import ChinwagError

LOCK_TIMEOUT_S = 5.0

MAX_ENTRIES = 500
"""Entries in one file; a longer list is of no use when it is read aloud."""

T = TypeVar("T")


class JsonListFile(Generic[T]):
    """A list of entries in one JSON file.

    noun: plural name of the entries, for error messages. adapter: pydantic type of the list. path: returns the file's
    path; called at each use.
    """

    def __init__(self, noun: str, adapter: TypeAdapter[list[T]], path: Callable[[], Path]) -> None:
        self._noun, self._adapter, self._path = noun, adapter, path

    @contextmanager
    def edit(self) -> Iterator[list[T]]:
        """Yield the entries for changes in place, then replace the file atomically if they changed.

        Raises ChinwagError if the file is damaged or in use, or if more than MAX_ENTRIES entries would result.
        """
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S):
                before = self._read(path)
                entries = list(before)
                yield entries
                if len(entries) > max(MAX_ENTRIES, len(before)):
                    raise ChinwagError(f"There are {MAX_ENTRIES} {self._noun} already.", "Forget some first.")
                if entries != before:
                    new = path.with_suffix(".new")
                    new.write_bytes(self._adapter.dump_json(entries, indent=1))
                    os.replace(new, path)
        except Timeout as error:
            raise ChinwagError(f"Another program is using the file of the {self._noun}.", "Try again.") from error

    def _read(self, path: Path) -> list[T]:
        try:
            return self._adapter.validate_json(path.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            message = f"The file of the {self._noun} is damaged: {path}."
            raise ChinwagError(message, "Repair it or move it to another folder.") from error
