"""MCP servers through the official `mcp` package, over streamable HTTP or as a child process on stdio."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from chinwag.errors import ChinwagError
from chinwag.tools.tool import Tool, ToolError

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import Tool as Listed

CONNECT_TIMEOUT_S = 15.0
"""Limit for connecting and listing tools; a child process may have to start its interpreter first."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class McpServerSpec:
    """Address of an MCP server and which of its tools may be used.

    url, headers: for HTTP. command: else the program and its arguments. env: added to the child's environment.
    allowed: names of the usable tools; None for all. read_only: use only tools with the read-only hint.
    approval_tools, no_approval_tools: tools that do and do not need the client's approval. approval_for_others:
    whether tools in neither set need it.
    """

    label: str
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    allowed: frozenset[str] | None = None
    read_only: bool = False
    approval_tools: frozenset[str] = frozenset()
    no_approval_tools: frozenset[str] = frozenset()
    approval_for_others: bool = True

    def needs_approval(self, name: str) -> bool:
        """Return whether the client must approve a call of that tool."""
        return name in self.approval_tools or (self.approval_for_others and name not in self.no_approval_tools)


class McpServer:
    """A connection to one MCP server, opened when needed and reopened after a break. Calls may run concurrently."""

    def __init__(self, spec: McpServerSpec, timeout_s: float) -> None:
        self.spec, self._timeout_s = spec, timeout_s
        self._tools: tuple[Tool, ...] = ()
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._connecting = asyncio.Lock()

    def tools(self) -> tuple[Tool, ...]:
        """Return the tools of the last listing."""
        return self._tools

    async def list_tools(self) -> tuple[Tool, ...]:
        """Ask the server for its tools. Raises ChinwagError if it does not answer."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await self._connected()
                listed: list[Listed] = []
                cursor: str | None = None
                while True:
                    page = await client.list_tools(cursor=cursor)
                    listed.extend(page.tools)
                    cursor = page.next_cursor
                    if not cursor:
                        break
        except Exception as error:
            await self._drop()
            raise ChinwagError(
                f"The MCP server {self.spec.label} does not list its tools: {_reason(error)}.",
                "Start it, or correct its " + ("address." if self.spec.url else "command."),
            ) from error
        self._tools = tuple(self._as_tool(tool) for tool in listed if self._is_usable(tool))
        return self._tools

    async def close(self) -> None:
        """Close the connection; a child process ends."""
        await self._drop()

    def _is_usable(self, tool: Any) -> bool:
        spec = self.spec
        if spec.read_only and not (tool.annotations and tool.annotations.read_only_hint):
            return False
        return spec.allowed is None or tool.name in spec.allowed

    def _as_tool(self, tool: Any) -> Tool:
        async def run(arguments: dict[str, Any]) -> str:
            return await self._call(tool.name, arguments)

        spec = self.spec
        description = tool.description or tool.title or ""
        return Tool(
            tool.name, description, tool.input_schema, run, spec.label, tool.name, spec.needs_approval(tool.name)
        )

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await self._connected()
        except Exception as error:
            await self._drop()
            raise ToolError(
                f"The server {self.spec.label} cannot be reached: {_reason(error)}.", **_kind(error)
            ) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await client.call_tool(name, arguments)
        except TimeoutError as error:
            raise ToolError(f"The call took longer than {self._timeout_s:g} s.") from error
        except MCPError as error:
            if _broken(error):
                await self._drop()
            raise ToolError(f"The server {self.spec.label} refused: {error.message}.", kind="protocol_error",
                            code=error.code) from error  # fmt: skip
        except Exception as error:
            await self._drop()
            raise ToolError(f"The server {self.spec.label} failed: {_reason(error)}.", **_kind(error)) from error
        text = _text(result)
        if result.is_error:
            raise ToolError(text or "The tool failed without a reason.")
        return text

    # --- the connection: a task of its own owns it, as mcp's contexts must be left in the task that entered them

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or self._owner is None or self._owner.done():
                ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
                self._leave = asyncio.Event()
                self._owner = asyncio.create_task(self._own(ready, self._leave), name=f"mcp {self.spec.label}")
                try:
                    self._client = await ready
                except BaseException:
                    self._owner.cancel()
                    raise
            return self._client

    async def _own(self, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        try:
            await asyncio.to_thread(_load)
            async with self._open() as client:
                ready.set_result(client)
                await leave.wait()
        except asyncio.CancelledError:
            ready.cancel()
            raise
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
            else:
                log.info("the MCP server %s closed the connection: %s", self.spec.label, _reason(error))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        import httpx2
        from mcp import Client, StdioServerParameters
        from mcp.client.streamable_http import streamable_http_client

        spec = self.spec
        if not spec.url:
            program, *rest = spec.command
            async with Client(StdioServerParameters(command=program, args=rest, env=dict(spec.env) or None)) as client:
                yield client
            return
        is_loopback = urlsplit(spec.url).hostname in LOOPBACK
        limits = httpx2.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
        async with (
            httpx2.AsyncClient(headers=dict(spec.headers), timeout=limits, trust_env=not is_loopback) as http,
            Client(streamable_http_client(spec.url, http_client=http)) as client,
        ):
            yield client

    async def _drop(self) -> None:
        owner, self._owner, self._client = self._owner, None, None
        if owner is None or owner is asyncio.current_task():
            return
        self._leave.set()
        await asyncio.wait({owner}, timeout=5.0)
        if not owner.done():
            owner.cancel()
            await asyncio.wait({owner})


def _load() -> None:
    """Import the mcp package, which takes a second or more; runs on a thread so that sessions go on."""
    import httpx2
    import mcp.client.streamable_http

    log.debug("%s, %s", httpx2.__name__, mcp.__name__)


def duplicate_label(specs: Sequence[McpServerSpec]) -> str | None:
    """Return the first label that occurs twice, or None."""
    labels = [spec.label for spec in specs]
    return next((label for label in labels if labels.count(label) > 1), None)


def _text(result: Any) -> str:
    """Return the result's texts for the model, or its structured content as JSON if it has no text."""
    texts = [part.text for part in result.content if getattr(part, "type", "") == "text"]
    if texts or result.structured_content is None:
        return "\n".join(texts) or "Done."
    return json.dumps(result.structured_content, ensure_ascii=False)


def _broken(error: Any) -> bool:
    from mcp_types import CONNECTION_CLOSED

    return bool(error.code == CONNECTION_CLOSED)


def _kind(error: BaseException) -> dict[str, Any]:
    status = getattr(getattr(_innermost(error), "response", None), "status_code", None)
    kind: Literal["http_error", "tool_execution_error"] = "http_error" if status else "tool_execution_error"
    return {"kind": kind, "code": status or 0}


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: BaseException) -> str:
    inner = _innermost(error)
    if isinstance(inner, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:g} s"
    return (str(inner).strip().splitlines() or [type(inner).__name__])[0][:200].rstrip(".")
