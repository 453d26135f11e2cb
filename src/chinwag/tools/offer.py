"""What a conversation may call, and how the model chooses."""

from __future__ import annotations

from dataclasses import dataclass, field

from chinwag.tools.mcp_server import McpSpec
from chinwag.tools.tool import Choice, Filler, Source, Tool


@dataclass(frozen=True)
class ToolOffer:
    """functions: the client answers them. servers: MCP servers that the client named. own: the server's own tools.

    choice: auto, none, required, a function by name, or {"type": "mcp", "server_label": …, "name": …}.
    timeout_s: of one call.
    """

    functions: tuple[Tool, ...] = ()
    servers: tuple[McpSpec, ...] = ()
    own: Source | None = None
    choice: Choice = "auto"
    filler: Filler = field(default_factory=Filler)
    timeout_s: float = 30.0
