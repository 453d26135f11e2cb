"""Ready-made assistants: TOML files, those that come with Chinwag and those in a folder of the user's.

A file that cannot be used is told of, and the others work.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chinwag.errors import ConfigError
from chinwag.tools import functions

OWN = Path(__file__).parent
"""Where those of Chinwag's own are; one of the user's takes the place of one of the same name."""

LARGEST = 64 * 1024
"""Bytes of a file: more than any model is told at once."""

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
TAG = r"auto|[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*"


class Assistant(BaseModel):
    """Who answers, as a file has it. What is empty or None is as the server's settings have it.

    name: the file's own name where it gives none. speed: 1 is usual. language: BCP 47, or auto. patience: -1 (brisk)
    to 1 (very patient). tools: entry points of chinwag.tools, beside those that all conversations have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME}$")
    title: str = Field(min_length=1, max_length=80)
    summary: str = Field("", max_length=300)
    instructions: str = Field(min_length=1)
    greeting: str = ""
    voice: str = ""
    speed: float | None = Field(None, ge=0.25, le=1.5)
    language: str = Field("", pattern=f"^({TAG})?$")
    patience: float | None = Field(None, ge=-1, le=1)
    tools: tuple[str, ...] = ()
    file: Path

    @property
    def shown(self) -> dict[str, Any]:
        """As `GET /api/assistants` tells of it."""
        told = ("name", "title", "summary", "language", "voice", "speed", "greeting")
        return {key: value for key in told if (value := getattr(self, key)) not in ("", None)}


FIELDS = tuple(key for key in Assistant.model_fields if key != "file")

TAKES = {
    "name": "lower-case letters, digits, '-' and '_'",
    "language": "a tag like 'en' or 'pt-BR', or 'auto'",
    "speed": "a number from 0.25 to 1.5",
    "patience": "a number from -1 (brisk) to 1 (very patient)",
    "tools": 'a list of names, like ["time"]',
}
"""What pydantic's own words would not say plainly."""


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be used. line: of the file, from 1; None where it is about the whole of it."""

    file: Path
    line: int | None
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else str(self.file)
        return f"{where}: {self.message} {self.fix}"


@dataclass(frozen=True)
class Found:
    """All assistants by name, Chinwag's own first, and the files that cannot be used."""

    assistants: Mapping[str, Assistant] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def named(self, name: str) -> Assistant:
        """That one. Raises ConfigError where there is none of that name, or its file has a fault."""
        if name in self.assistants:
            return self.assistants[name]
        fault = next((fault for fault in self.faults if fault.file.stem == name), None)
        if fault:
            raise ConfigError(f"The assistant {name} cannot be used: {fault.message}", f"{fault.fix} ({fault.file})")
        near = difflib.get_close_matches(name, self.assistants, n=1)
        fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(self.assistants)}."
        raise ConfigError(f"There is no assistant called {name[:100]!r}.", fix)


class _Unusable(Exception):
    def __init__(self, message: str, fix: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message, self.fix, self.line = message, fix, line


def look(folder: Path) -> Found:
    """Read every assistant: Chinwag's own, then the files of that folder, which need not be there. It reads files."""
    assistants: dict[str, Assistant] = {}
    faults: list[Fault] = []
    for place in (OWN, folder):
        taken: dict[str, Path] = {}
        for file in _files(place, faults):
            try:
                one = _read(file)
                if one.name in taken:
                    fix = "Give one of them another name."
                    raise _Unusable(f"{taken[one.name].name} has the name {one.name} already.", fix)
            except _Unusable as unusable:
                faults.append(Fault(file, unusable.line, unusable.message, unusable.fix))
                continue
            taken[one.name] = file
            assistants[one.name] = one
    return Found(assistants, tuple(faults))


def _files(place: Path, faults: list[Fault]) -> list[Path]:
    try:
        return sorted(file for file in place.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        faults.append(Fault(place, None, f"It cannot be read: {error.strerror}.", "Set assistant.folder to another."))
        return []


def _read(file: Path) -> Assistant:
    """Raises _Unusable with the line and what to do."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _Unusable(f"It is larger than {LARGEST // 1024} KiB.", "Say it in fewer words.")
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise _Unusable(f"It cannot be read: {error.strerror}.", "Look at its permissions.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unusable("It is not written in UTF-8.", "Save it as UTF-8.", line) from None
    except tomllib.TOMLDecodeError as error:
        line_at = re.search(r"at line (\d+)", str(error))
        fix = 'Mend that line: a field is written like title = "Companion".'
        raise _Unusable(f"It is not valid TOML: {error}.", fix, int(line_at[1]) if line_at else None) from None
    given = {"name": file.stem, **table}
    try:
        one = Assistant(**{**given, "file": file})
    except ValidationError as error:
        raise _explained(error.errors()[0], text) from None
    for tool in one.tools:
        if tool not in (known := functions.names()):
            fix = f"Install what brings it, or use one of: {', '.join(known)}."
            raise _Unusable(f"tools names a tool that is not installed: {tool}.", fix, _line_of("tools", text))
    return one


def _explained(first: Any, text: str) -> _Unusable:
    key = str(first["loc"][0])
    line = _line_of(key, text)
    if key not in FIELDS:  # `file` is ours to set
        return _Unusable(f"{key} is no field of an assistant.", _nearest(key, FIELDS), line)
    if first["type"] == "missing":
        return _Unusable(f"{key} is missing.", f'Add a line: {key} = "…".')
    takes = f"It takes {TAKES[key]}." if key in TAKES else "Change that value."
    if key == "name" and line is None:
        takes = f"Name the file with {TAKES[key]}, or give it a name = …"
    return _Unusable(f"{key} cannot be {first['input']!r}: {first['msg']}.", takes, line)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


def _line_of(key: str, text: str) -> int | None:
    """Where a field is set; None where it is not."""
    found = re.search(rf"^[ \t]*\[*[\"']?{re.escape(key)}[\"']?[ \t]*[=\].]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None
