"""The server's own tools, shared by all conversations: enabled functions, and MCP servers of chinwag.toml."""

from __future__ import annotations

import asyncio
import logging

from chinwag.config import McpSettings, ToolsSettings
from chinwag.errors import ChinwagError, ConfigError
from chinwag.tools import functions
from chinwag.tools.mcp_server import McpServer, McpSpec, distinct_labels
from chinwag.tools.tool import OWN, Tool, distinct

TRIED_AGAIN_S = 30.0
"""A configured MCP server that does not answer is asked again after so long."""

log = logging.getLogger(__name__)


class Toolbox:
    """Opened with the server, closed with it. A server that is not there is left out until it is."""

    def __init__(self, settings: ToolsSettings) -> None:
        """Raises ConfigError for a tool that is not installed, or two MCP servers of one name."""
        self._functions = functions.enabled(settings.enabled, settings.timeout_s)
        specs = [_spec(one) for one in settings.mcp]
        if twice := distinct_labels([*specs, McpSpec(OWN)]):
            raise ConfigError(f"tools.mcp has two servers called {twice}.", "Give each a name of its own.")
        self._servers = [McpServer(spec, settings.timeout_s) for spec in specs]
        self._listing: list[asyncio.Task[None]] = []
        self._tried = {server: asyncio.Event() for server in self._servers}

    def tools(self) -> tuple[Tool, ...]:
        """Those that can be called now."""
        return distinct([*self._functions, *(tool for server in self._servers for tool in server.tools())])

    def open(self) -> None:
        """Begin to ask the MCP servers for their tools."""
        self._listing = [asyncio.create_task(self._list(server)) for server in self._servers]

    async def tried(self) -> None:
        """Once each MCP server has told its tools, or has failed to for the first time."""
        await asyncio.gather(*(event.wait() for event in self._tried.values()))

    async def close(self) -> None:
        """Let the MCP servers go."""
        for task in self._listing:
            task.cancel()
        await asyncio.gather(*self._listing, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers))

    async def _list(self, server: McpServer) -> None:
        while True:
            try:
                tools = await server.fetch()
            except ChinwagError as error:
                log.warning("%s", error)
                self._tried[server].set()
                await asyncio.sleep(TRIED_AGAIN_S)
            else:
                log.info("MCP server %s: %s", server.spec.label, ", ".join(tool.name for tool in tools) or "no tools")
                self._tried[server].set()
                return


def _spec(one: McpSettings) -> McpSpec:
    if bool(one.url) == bool(one.command):
        raise ConfigError(f"The MCP server {one.name} needs either a command or a url.", "Give tools.mcp one of both.")
    asked = one.require_approval
    return McpSpec(
        one.name,
        url=one.url,
        headers=tuple(one.headers.items()),
        command=(one.command, *one.args) if one.command else (),
        env=tuple(one.env.items()),
        allowed=None if one.allowed_tools is None else frozenset(one.allowed_tools),
        ask=frozenset(asked) if not isinstance(asked, str) else frozenset(),
        ask_others=asked == "always",
    )
