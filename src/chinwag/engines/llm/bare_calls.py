"""Tool calls for models that are too small to follow the format of their chat template.

Qwen2.5-Coder 0.5B writes a call as plain text, often invents the arguments, and calls again after the result.
So the engine detects calls in the text, constrains the arguments by the tool's schema, and puts results into words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chinwag.engines.protocols import Message

_CALL = re.compile(r'(?:(?:```(?:json)?|<tool_call>)\s*)?\{\s*"name"\s*:\s*"([^"]*)"')
_MAY_BEGIN = re.compile(r"[{`<]")

MAX_START = 80
"""Characters after which a brace cannot begin a call: more than any tool's name and the text around it."""


class BareCall:
    """Passes a response's text on, up to a tool call written in it. name: the called tool, None until then."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._pending = ""

    def feed(self, text: str) -> str:
        """Add a piece of text; return the text that cannot belong to a call."""
        if self.name is not None:
            return ""
        self._pending += text
        if call := _CALL.search(self._pending):
            self.name = call[1]
            return self._pending[: call.start()].rstrip()
        start = 0
        while (begin := _MAY_BEGIN.search(self._pending, start)) and len(self._pending) - begin.start() > MAX_START:
            start = begin.end()
        end = begin.start() if begin else len(self._pending)
        text, self._pending = self._pending[:end], self._pending[end:]
        return text

    def end(self) -> str:
        """Return the withheld text if it turned out to be no call."""
        rest, self._pending = self._pending, ""
        return rest if self.name is None else ""


def calls_as_text(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with tool calls and results as plain sentences, which a small model does not repeat."""
    written: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        if calls := message.get("tool_calls"):
            names.update({call["id"]: call["function"]["name"] for call in calls})
            written.append({"role": "assistant", "content": message["content"] or "Let me look."})
        elif message["role"] == "tool":
            name = names.get(message.get("tool_call_id", ""), "the tool")
            words = f"The result of {name} is: {message['content']}. Tell me in one short sentence."
            written.append({"role": "user", "content": words})
        else:
            written.append(message)
    return written


def required_tool(tool_choice: str | Mapping[str, Any]) -> str | None:
    """Return the tool that the choice requires by name, or None."""
    return None if isinstance(tool_choice, str) else str(tool_choice["function"]["name"])


def names_grammar(names: Sequence[str]) -> str:
    """Return a llama.cpp grammar (GBNF) that accepts exactly these names."""
    words = " | ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return f"root ::= {words}"
