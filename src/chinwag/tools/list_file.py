"""A list kept in a file of the user's. A lock keeps two conversations from losing each other's entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from chinwag.errors import ChinwagError

LOCKED_WITHIN_S = 5.0

MOST = 500
"""Entries: as many as anybody would have read to them."""

T = TypeVar("T")


class Kept(Generic[T]):
    """what: the entries' name in the plural, for people. kind: a list of them. place: of the file, asked each time."""

    def __init__(self, what: str, kind: TypeAdapter[list[T]], place: Callable[[], Path]) -> None:
        self._what, self._kind, self._place = what, kind, place

    @contextmanager
    def opened(self) -> Iterator[list[T]]:
        """The entries, to be changed in place; written back whole or not at all.

        Raises ChinwagError where the file is damaged, in use, or would hold more than MOST.
        """
        path = self._place()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{path}.lock", timeout=LOCKED_WITHIN_S):
                before = self._read(path)
                entries = list(before)
                yield entries
                if len(entries) > max(MOST, len(before)):
                    raise ChinwagError(f"There are {MOST} {self._what} already.", "Forget some first.")
                if entries != before:
                    new = path.with_suffix(".new")
                    new.write_bytes(self._kind.dump_json(entries, indent=1))
                    os.replace(new, path)
        except Timeout as error:
            raise ChinwagError(f"The {self._what} are in use by another program.", "Try again.") from error

    def _read(self, path: Path) -> list[T]:
        try:
            return self._kind.validate_json(path.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            message = f"The file of the {self._what} is damaged: {path}."
            raise ChinwagError(message, "Mend it or move it away.") from error
