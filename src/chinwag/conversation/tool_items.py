"""Calls of tools in the conversation, and how the model is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from chinwag.engines.protocols import Message

NO_RESULT_YET = "There is no result yet."
"""Stands for a result that has not come: chat servers refuse a call without one."""

TURN_BYTES, CALL_BYTES = 15, 40
"""About what a template puts around a message (ChatML, of Qwen and many others: five tokens); a call and its result."""


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """Why a call came to nothing; kind and code as the wire's mcp_call has them."""

    kind: str
    message: str
    code: int = 0


@dataclass(eq=False)
class ToolCall:
    """A call that the model made, or that the client says it made.

    server: who runs it, "" where the client does. called: the tool's name there. result: what the model is told came
    of it, where the server ran it. asked_by: the item that asks the client's leave. shown: the client was told of it.
    """

    item_id: str
    call_id: str
    name: str
    arguments: str = ""
    response_id: str = ""
    server: str = ""
    called: str = ""
    status: Literal["in_progress", "completed", "incomplete"] = "in_progress"
    result: str | None = None
    failure: ToolFailure | None = None
    approval_request_id: str | None = None
    announced: bool = False
    role: ClassVar[Literal["assistant"]] = "assistant"
    heard_text: ClassVar[str] = ""
    is_filler: ClassVar[bool] = False

    def asked(self, result: str | None, longest: int) -> PromptToolCall:
        """For the prompt; a result of more bytes than `longest` is cut."""
        arguments = self.arguments
        try:
            held = isinstance(json.loads(arguments), dict)
        except ValueError:
            held = False
        if not held:  # servers read the arguments of earlier calls, and fail on what is no JSON object
            arguments = json.dumps({"not_json": arguments})
        return PromptToolCall(
            self.call_id, self.name, arguments, cut(result if result is not None else NO_RESULT_YET, longest)
        )


@dataclass(eq=False)
class ToolResult:
    """What the client says came of a call.

    late: the call, where others have spoken since it was made. What came of it is then told where it came: a prompt
    that ended with the answer meanwhile would have the model go on with that.
    """

    item_id: str
    call_id: str
    output: str
    late: ToolCall | None = None
    announced: bool = True
    role: ClassVar[Literal["system"]] = "system"
    is_filler: ClassVar[bool] = False

    @property
    def heard_text(self) -> str:
        """Nothing, where it stands with its call."""
        return f"The result of {self.late.name}({self.late.arguments}) has come: {self.output}" if self.late else ""


@dataclass(eq=False)
class McpItem:
    """An item between client and server alone: a list of tools, a question for leave and its answer.

    fields: as the wire writes it, less its id.
    """

    item_id: str
    fields: Mapping[str, Any]
    role: ClassVar[Literal["system"]] = "system"
    heard_text: ClassVar[str] = ""
    announced: ClassVar[bool] = True
    is_filler: ClassVar[bool] = False


class PromptToolCall(NamedTuple):
    """A call and its result, for the prompt."""

    call_id: str
    name: str
    arguments: str
    result: str


@dataclass
class PromptTurn:
    """Words of one side, and the calls that go with them. group: the reply that made the calls."""

    role: Literal["system", "user", "assistant"]
    text: str
    calls: list[PromptToolCall] = field(default_factory=list)
    group: str = ""

    @property
    def size(self) -> int:
        """Bytes, with what a template puts around them."""
        return (
            TURN_BYTES
            + len(self.text.encode())
            + sum(CALL_BYTES + len("".join((call.name, call.arguments, call.result)).encode()) for call in self.calls)
        )


def as_messages(turns: Sequence[PromptTurn]) -> list[Message]:
    """One message for neighbours of one side; calls of one reply stand with its words, their results behind them."""
    merged: list[PromptTurn] = []
    for turn in turns:
        last = merged[-1] if merged and merged[-1].role == turn.role != "system" else None
        if last and turn.calls and (not last.calls or (turn.group and last.group == turn.group)):
            last.calls, last.group = [*last.calls, *turn.calls], turn.group
        elif last and not turn.calls and not last.calls:
            last.text = f"{last.text} {turn.text}"
        else:
            merged.append(PromptTurn(turn.role, turn.text, list(turn.calls), turn.group))
    messages: list[Message] = []
    for turn in merged:
        message: Message = {"role": turn.role, "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [_wire(call) for call in turn.calls]
        messages.append(message)
        for call in turn.calls:
            messages.append({"role": "tool", "content": call.result, "tool_call_id": call.call_id})  # noqa: PERF401
    return messages


def _wire(call: PromptToolCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def cut(text: str, longest: int) -> str:
    """No more than so many bytes of it."""
    data = text.encode()
    return text if len(data) <= longest else data[:longest].decode(errors="ignore") + " … (the rest is left out)"
