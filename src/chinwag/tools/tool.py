"""The types of a tool, run by the server, an MCP server or the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from chinwag.errors import ChinwagError

ToolChoice = str | Mapping[str, Any]
"""auto, none, required, or {"type": "function", "function": {"name": …}}, as in OpenAI's chat completions."""

OWN_SERVER = "chinwag"
"""The server_label of the server's own Python functions."""


class ToolError(ChinwagError):
    """A failed tool call. The model receives the message and may try again.

    kind, code: error type and code of the mcp_call item on the wire; code is set for protocol_error and http_error.
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
    """One function that the model can call.

    name: the name that the model uses. parameters: JSON Schema of the arguments. run: runs the tool and returns the
    text for the model, or raises ToolError; None if the client runs it. server: label of the MCP server, or "" for a
    client's tool. server_name: the tool's name at that server. needs_approval: the client must approve each call.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    run: Callable[[dict[str, Any]], Awaitable[str]] | None = None
    server: str = ""
    server_name: str = ""
    needs_approval: bool = False

    @property
    def as_openai(self) -> dict[str, Any]:
        """The tool as an entry of `tools` in OpenAI's chat completions."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


class ToolSource(Protocol):
    """A source of tools whose number may change over time."""

    def tools(self) -> tuple[Tool, ...]:
        """Return the tools that are available now."""
        ...


@dataclass(frozen=True)
class FillerSettings:
    """Phrases that the assistant says in turn while a tool call takes longer than `after_s` seconds."""

    phrases: tuple[str, ...] = ()
    after_s: float = 0.7
    for_clients: bool = True
    """Whether fillers are also said while a client runs the tool."""


def with_unique_names(tools: list[Tool]) -> tuple[Tool, ...]:
    """Prefix the name of a second tool of the same name with its server's label; drop it if that is taken as well."""
    by_name: dict[str, Tool] = {}
    for tool in tools:
        name = tool.name
        if name in by_name and tool.server:
            name = f"{tool.server}_{tool.name}"
        by_name.setdefault(name, replace(tool, name=name))
    return tuple(by_name.values())
