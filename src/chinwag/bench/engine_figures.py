"""The engines' speed on this machine, as `python -m benchmarks engines` measured it, in a file of the user's cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from chinwag.errors import ChinwagError

FILE = "engines.json"


def load_figures(folder: Path | None = None) -> list[dict[str, Any]]:
    """Return the newest figures of each engine and model; an empty list if none were measured."""
    try:
        entries = json.loads(_path(folder).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def save_figures(measured: Sequence[dict[str, Any]], folder: Path | None = None) -> None:
    """Save the entries without an error in place of older ones of the same engine and model. Raises ChinwagError."""
    good = [entry for entry in measured if "error" not in entry]

    def key(entry: dict[str, Any]) -> tuple[Any, ...]:
        return entry.get("task"), entry.get("engine"), entry.get("model")

    fresh = {key(entry) for entry in good}
    older = [entry for entry in load_figures(folder) if key(entry) not in fresh]
    path = _path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps([*older, *good], indent=1), "utf-8")
        part.replace(path)
    except OSError as error:
        raise ChinwagError(
            f"{path} cannot be written: {error.strerror}.", "Free disk space and run it again."
        ) from None


def _path(folder: Path | None) -> Path:
    return (folder or user_cache_path("chinwag")) / FILE
