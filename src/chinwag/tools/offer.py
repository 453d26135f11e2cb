"""The tools that a session offers to the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from chinwag.tools.mcp_server import McpServerSpec
from chinwag.tools.tool import FillerSettings, Tool, ToolChoice, ToolSource


@dataclass(frozen=True)
class ToolOffer:
    """Tools and tool choice of a session.

    functions: tools that the client runs. servers: MCP servers that the client named. own: the server's own tools.
    choice: auto, none, required, a function by name, or {"type": "mcp", "server_label": …, "name": …}.
    timeout_s: limit of one call.
    """

    functions: tuple[Tool, ...] = ()
    servers: tuple[McpServerSpec, ...] = ()
    own: ToolSource | None = None
    choice: ToolChoice = "auto"
    filler: FillerSettings = field(default_factory=FillerSettings)
    timeout_s: float = 30.0
