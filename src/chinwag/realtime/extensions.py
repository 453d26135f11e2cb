"""Checks `chinwag.session.update`: session settings that the Realtime protocol has no field for."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from chinwag.conversation.settings import SessionSettings
from chinwag.errors import Refused
from chinwag.language import AUTO_DETECT
from chinwag.listening.overlap import InterruptionMode

FIELDS = ("assistant", "language", "interruption", "patience")

TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
"""The part of BCP 47 that speech engines use."""

MODES: tuple[str, ...] = get_args(InterruptionMode)


@dataclass(frozen=True)
class AssistantProfile:
    """The session settings of an assistant.

    settings: of a new session. fixed: those of language, patience, voice and speed that the assistant defines. The
    others are the server's defaults, which settings of the client override.
    """

    settings: SessionSettings
    fixed: frozenset[str] = frozenset()


Assistants = Callable[[str], AssistantProfile]
"""Finds an assistant by name. Raises Refused if there is none."""


def read_fields(fields: Any) -> dict[str, Any]:
    """Check each field of an update and return them. Raises Refused with the name of a wrong field and its values."""
    if not isinstance(fields, dict):
        fix = 'Send {"session": {"patience": 0.5}}.'
        raise Refused("invalid_type", "chinwag.session.update needs a session, which is an object.", fix, "session")
    for name in fields:
        if name not in FIELDS:
            near = difflib.get_close_matches(str(name), FIELDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(FIELDS)}."
            where = f"session.{str(name)[:100]}"
            raise Refused("unknown_parameter", f"Unknown parameter: '{where}'.", hint, where)
    for name, value in fields.items():
        is_valid, valid_values = _CHECKS[name]
        if not is_valid(value):
            shown = repr(value)[:100]
            raise Refused(
                "invalid_value", f"'session.{name}' cannot be {shown}.", f"It takes {valid_values}.", f"session.{name}"
            )
    return fields


def _is_patience(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and -1 <= value <= 1


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "assistant": (lambda value: isinstance(value, str), "the name of an assistant, as GET /api/assistants lists them"),
    "language": (
        lambda value: isinstance(value, str) and bool(value == AUTO_DETECT or TAG.fullmatch(value)),
        f"'{AUTO_DETECT}', or a language's tag like 'en' or 'pt-BR'",
    ),
    "interruption": (lambda value: value in MODES, ", ".join(repr(mode) for mode in MODES[:-1]) + f" or '{MODES[-1]}'"),
    "patience": (_is_patience, "a number from -1 (brisk) to 1 (very patient)"),
}
