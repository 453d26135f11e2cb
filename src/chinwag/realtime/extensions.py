"""`chinwag.session.update`: settings of a conversation that the Realtime protocol has no field for."""

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
"""BCP 47, as far as speech engines use it."""

MODES: tuple[str, ...] = get_args(InterruptionMode)


@dataclass(frozen=True)
class AssistantProfile:
    """An assistant as a conversation takes it.

    settings: those a conversation with it begins with. fixed: which of language, patience, voice and speed it sets
    itself; the others are the server's, and give way to what the client has set.
    """

    settings: SessionSettings
    fixed: frozenset[str] = frozenset()


Assistants = Callable[[str], AssistantProfile]
"""By name. Raises Refused for one there is not."""


def read_fields(asked: Any) -> dict[str, Any]:
    """The fields of an update, checked each by itself. Raises Refused naming the field and what it takes."""
    if not isinstance(asked, dict):
        fix = 'Send {"session": {"patience": 0.5}}.'
        raise Refused("invalid_type", "chinwag.session.update has a session, an object.", fix, "session")
    for name in asked:
        if name not in FIELDS:
            near = difflib.get_close_matches(str(name), FIELDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(FIELDS)}."
            where = f"session.{str(name)[:100]}"
            raise Refused("unknown_parameter", f"Unknown parameter: '{where}'.", hint, where)
    for name, value in asked.items():
        fits, takes = _CHECKS[name]
        if not fits(value):
            shown = repr(value)[:100]
            raise Refused(
                "invalid_value", f"'session.{name}' cannot be {shown}.", f"It takes {takes}.", f"session.{name}"
            )
    return asked


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
