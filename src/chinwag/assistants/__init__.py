"""Assistants from TOML files: the built-in ones and those in the user's folder.

A file that cannot be used becomes an `AssistantFault`; the other files still work.
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

BUILT_IN = Path(__file__).parent
"""Folder of the built-in assistants; a user's assistant replaces a built-in one of the same name."""

MAX_BYTES = 64 * 1024
"""Size limit of a file in bytes, more than any model's prompt holds."""

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
TAG = r"auto|[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*"


class Assistant(BaseModel):
    """An assistant's fields as its file gives them; an empty field or None leaves the server's setting.

    name: defaults to the file's name. speed: 1 is normal. language: BCP 47 tag, or auto. patience: -1 (brisk) to 1
    (very patient). tools: entry points of chinwag.tools, added to those of all sessions.
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
    def as_dict(self) -> dict[str, Any]:
        """The assistant as an entry of `GET /api/assistants`."""
        keys = ("name", "title", "summary", "language", "voice", "speed", "greeting")
        return {key: value for key in keys if (value := getattr(self, key)) not in ("", None)}


FIELDS = tuple(key for key in Assistant.model_fields if key != "file")

FIELD_HINTS = {
    "name": "lower-case letters, digits, '-' and '_'",
    "language": "a tag like 'en' or 'pt-BR', or 'auto'",
    "speed": "a number from 0.25 to 1.5",
    "patience": "a number from -1 (brisk) to 1 (very patient)",
    "tools": 'a list of names, like ["time"]',
}
"""Hints for fields whose pydantic messages are hard to understand."""


@dataclass(frozen=True)
class AssistantFault:
    """Why a file cannot be used. line: counted from 1; None if the fault concerns the whole file."""

    file: Path
    line: int | None
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else str(self.file)
        return f"{where}: {self.message} {self.fix}"


@dataclass(frozen=True)
class AssistantCatalog:
    """All assistants by name, built-in ones first, and the faults of files that cannot be used."""

    assistants: Mapping[str, Assistant] = field(default_factory=dict)
    faults: tuple[AssistantFault, ...] = ()

    def get(self, name: str) -> Assistant:
        """Return the assistant of that name. Raises ConfigError if there is none or its file has a fault."""
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


def read_assistants(folder: Path) -> AssistantCatalog:
    """Read the built-in assistants, then those of `folder`, which may be missing. Blocks on file access."""
    assistants: dict[str, Assistant] = {}
    faults: list[AssistantFault] = []
    for place in (BUILT_IN, folder):
        files: dict[str, Path] = {}
        for file in _files(place, faults):
            try:
                assistant = _read(file)
                if assistant.name in files:
                    fix = "Give one of them another name."
                    raise _Unusable(f"{files[assistant.name].name} has the name {assistant.name} already.", fix)
            except _Unusable as unusable:
                faults.append(AssistantFault(file, unusable.line, unusable.message, unusable.fix))
                continue
            files[assistant.name] = file
            assistants[assistant.name] = assistant
    return AssistantCatalog(assistants, tuple(faults))


def _files(place: Path, faults: list[AssistantFault]) -> list[Path]:
    try:
        return sorted(file for file in place.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        faults.append(
            AssistantFault(place, None, f"It cannot be read: {error.strerror}.", "Set assistant.folder to another.")
        )
        return []


def _read(file: Path) -> Assistant:
    """Read one file. Raises _Unusable with the line of the fault and its fix."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _Unusable(f"It is larger than {MAX_BYTES // 1024} KiB.", "Shorten its texts.")
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise _Unusable(f"It cannot be read: {error.strerror}.", "Look at its permissions.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unusable("It is not written in UTF-8.", "Save it as UTF-8.", line) from None
    except tomllib.TOMLDecodeError as error:
        line_at = re.search(r"at line (\d+)", str(error))
        fix = 'Correct that line: a field is written like title = "Companion".'
        raise _Unusable(f"It is not valid TOML: {error}.", fix, int(line_at[1]) if line_at else None) from None
    given = {"name": file.stem, **table}
    try:
        assistant = Assistant(**{**given, "file": file})
    except ValidationError as error:
        raise _explained(error.errors()[0], text) from None
    for tool in assistant.tools:
        if tool not in (installed := functions.installed_tools()):
            fix = f"Install its package, or use one of: {', '.join(installed)}."
            raise _Unusable(f"tools names a tool that is not installed: {tool}.", fix, _line_of("tools", text))
    return assistant


def _explained(first: Any, text: str) -> _Unusable:
    key = str(first["loc"][0])
    line = _line_of(key, text)
    if key not in FIELDS:  # `file` is set by the reader
        return _Unusable(f"{key} is not a field of an assistant.", _nearest(key, FIELDS), line)
    if first["type"] == "missing":
        return _Unusable(f"{key} is missing.", f'Add a line: {key} = "…".')
    fix = f"It takes {FIELD_HINTS[key]}." if key in FIELD_HINTS else "Change that value."
    if key == "name" and line is None:
        fix = f"Name the file with {FIELD_HINTS[key]}, or add a line: name = …"
    return _Unusable(f"{key} cannot be {first['input']!r}: {first['msg']}.", fix, line)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


def _line_of(key: str, text: str) -> int | None:
    """Return the line that sets a field, or None."""
    match = re.search(rf"^[ \t]*\[*[\"']?{re.escape(key)}[\"']?[ \t]*[=\].]", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else None
