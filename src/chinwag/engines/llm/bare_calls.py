"""Tools for models that are too small to call them as their chat template asks.

Qwen2.5-Coder 0.5B writes a call out as text, makes its arguments up as often as not, and after the result calls once
more. So the text is watched for a call, the arguments are then written under the grammar of the tool's own schema, and
results come back to it in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chinwag.engines.protocols import Message

_CALL = re.compile(r'(?:(?:```(?:json)?|<tool_call>)\s*)?\{\s*"name"\s*:\s*"([^"]*)"')
_MAY_BEGIN = re.compile(r"[{`<]")

LONGEST_BEGINNING = 80
"""Characters after which a brace is no call: longer than any tool's name with what stands around it."""


class BareCall:
    """Lets an answer's text through, up to a call that is written out in it. name: of the tool, once it is known."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._held = ""

    def feed(self, text: str) -> str:
        """The next piece; back comes what is surely not a call."""
        if self.name is not None:
            return ""
        self._held += text
        if call := _CALL.search(self._held):
            self.name = call[1]
            return self._held[: call.start()].rstrip()
        start = 0
        while (begin := _MAY_BEGIN.search(self._held, start)) and len(self._held) - begin.start() > LONGEST_BEGINNING:
            start = begin.end()
        free = begin.start() if begin else len(self._held)
        said, self._held = self._held[:free], self._held[free:]
        return said

    def end(self) -> str:
        """What was held back and was no call after all."""
        held, self._held = self._held, ""
        return held if self.name is None else ""


def plainly(messages: Sequence[Message]) -> list[Message]:
    """The conversation with its calls and their results in words, so that they are answered and not repeated."""
    told: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        if calls := message.get("tool_calls"):
            names.update({call["id"]: call["function"]["name"] for call in calls})
            told.append({"role": "assistant", "content": message["content"] or "Let me look."})
        elif message["role"] == "tool":
            name = names.get(message.get("tool_call_id", ""), "the tool")
            words = f"The result of {name} is: {message['content']}. Tell me in one short sentence."
            told.append({"role": "user", "content": words})
        else:
            told.append(message)
    return told


def named(tool_choice: str | Mapping[str, Any]) -> str | None:
    """The one tool that is to be called, where the choice names one."""
    return None if isinstance(tool_choice, str) else str(tool_choice["function"]["name"])


def one_of(names: Sequence[str]) -> str:
    """A grammar of these words and no other."""
    words = " | ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return f"root ::= {words}"
