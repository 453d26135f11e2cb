"""The server's own tools, shared by all sessions: enabled functions and the MCP servers of chinwag.toml."""

from __future__ import annotations

import asyncio
import logging

from chinwag.config import McpSettings, ToolsSettings
from chinwag.errors import ChinwagError, ConfigError
from chinwag.tools import functions
from chinwag.tools.mcp_server import McpServer, McpServerSpec, duplicate_label
from chinwag.tools.tool import OWN_SERVER, Tool, with_unique_names

RETRY_S = 30.0
"""Interval between attempts to list the tools of a configured MCP server that does not answer."""

log = logging.getLogger(__name__)


class Toolbox:
    """Tools of enabled functions and configured MCP servers, without those of servers that do not answer yet."""

    def __init__(self, settings: ToolsSettings) -> None:
        """Raise ConfigError if a tool is not installed or two MCP servers have the same name."""
        self._functions = functions.load_tools(settings.enabled, settings.timeout_s)
        specs = [_spec(server) for server in settings.mcp]
        if twice := duplicate_label([*specs, McpServerSpec(OWN_SERVER)]):
            raise ConfigError(f"tools.mcp has two servers called {twice}.", "Give each a name of its own.")
        self._servers = [McpServer(spec, settings.timeout_s) for spec in specs]
        self._listing: list[asyncio.Task[None]] = []
        self._first_listing = {server: asyncio.Event() for server in self._servers}

    def tools(self) -> tuple[Tool, ...]:
        """Return the tools that can be called now."""
        return with_unique_names([*self._functions, *(tool for server in self._servers for tool in server.tools())])

    def open(self) -> None:
        """Start to list the tools of the MCP servers in the background."""
        self._listing = [asyncio.create_task(self._list(server)) for server in self._servers]

    async def listed_once(self) -> None:
        """Wait until each MCP server has listed its tools or has failed to do so once."""
        await asyncio.gather(*(event.wait() for event in self._first_listing.values()))

    async def close(self) -> None:
        """Stop listing and close the MCP connections."""
        for task in self._listing:
            task.cancel()
        await asyncio.gather(*self._listing, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers))

    async def _list(self, server: McpServer) -> None:
        while True:
            try:
                tools = await server.list_tools()
            except ChinwagError as error:
                log.warning("%s", error)
                self._first_listing[server].set()
                await asyncio.sleep(RETRY_S)
            else:
                names = ", ".join(tool.name for tool in tools)
                log.info("MCP server %s lists: %s", server.spec.label, names or "no tools")
                self._first_listing[server].set()
                return


def _spec(settings: McpSettings) -> McpServerSpec:
    if bool(settings.url) == bool(settings.command):
        message = f"The MCP server {settings.name} needs either a command or a url."
        raise ConfigError(message, "Set one of the two in tools.mcp.")
    approval = settings.require_approval
    return McpServerSpec(
        settings.name,
        url=settings.url,
        headers=tuple(settings.headers.items()),
        command=(settings.command, *settings.args) if settings.command else (),
        env=tuple(settings.env.items()),
        allowed=None if settings.allowed_tools is None else frozenset(settings.allowed_tools),
        approval_tools=frozenset(approval) if not isinstance(approval, str) else frozenset(),
        approval_for_others=approval == "always",
    )
