"""What a tool is, whoever runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from chinwag.errors import ChinwagError

Choice = str | Mapping[str, Any]
"""auto, none, required, or {"type": "function", "function": {"name": …}}, as OpenAI's chat completions take it."""

OWN = "chinwag"
"""The server_label of the server's own Python functions."""


class ToolError(ChinwagError):
    """A call that came to nothing; the model is told the message, and may try again.

    kind, code: as an mcp_call's error on the wire has them; code of a protocol_error or http_error.
    """

    def __init__(
        self,
        message: str,
        fix: str = "",
        kind: Literal["tool_execution_error", "protocol_error", "http_error"] = "tool_execution_error",
        code: int = 0,
    ) -> None:
        super().__init__(message, fix)
        self.kind, self.code = kind, code


@dataclass(frozen=True)
class Tool:
    """One function the model can call.

    name: as the model calls it. parameters: their JSON Schema. run: calls it with checked JSON and gives the text for
    the model, or raises ToolError; None where the client answers. server: the label it is told under, "" for a
    client's. called: its name at that server. approval: the client is asked first.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    run: Callable[[dict[str, Any]], Awaitable[str]] | None = None
    server: str = ""
    called: str = ""
    approval: bool = False

    @property
    def offer(self) -> dict[str, Any]:
        """As OpenAI's chat completions take it."""
        described = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": described}


class Source(Protocol):
    """Where tools come from that may come and go."""

    def tools(self) -> tuple[Tool, ...]:
        """Those there are now."""
        ...


@dataclass(frozen=True)
class Filler:
    """What is said while a call takes long. phrases: in turn; none, and nothing is said. after_s: since the call."""

    phrases: tuple[str, ...] = ()
    after_s: float = 0.7
    for_clients: bool = True
    """Also while the client works out the result."""


def distinct(tools: list[Tool]) -> tuple[Tool, ...]:
    """Each under a name of its own: a second one of the same name goes by its server's label as well."""
    found: dict[str, Tool] = {}
    for tool in tools:
        name = tool.name
        if name in found and tool.server:
            name = f"{tool.server}_{tool.name}"
        if name not in found:
            found[name] = replace(tool, name=name)
    return tuple(found.values())
