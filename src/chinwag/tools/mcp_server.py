"""MCP servers, by the official `mcp` package: over streamable HTTP, or as a child that is spoken to on its stdio."""

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

CONNECTS_WITHIN_S = 15.0
"""A server that has not told its tools by then is not there; a child may have to start its interpreter first."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class McpSpec:
    """Where a server is and what of it may be used.

    url, headers: over HTTP. command: else, the program and its arguments. env: beside the few that any child gets.
    allowed: names of the tools; None for all. read_only: only those that say they change nothing.
    ask: tools for which the client is asked first; ask_others: and those that are in neither list.
    """

    label: str
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    allowed: frozenset[str] | None = None
    read_only: bool = False
    ask: frozenset[str] = frozenset()
    never_ask: frozenset[str] = frozenset()
    ask_others: bool = True

    def asks(self, name: str) -> bool:
        """The client is to be asked before that tool is called."""
        return name in self.ask or (self.ask_others and name not in self.never_ask)


class McpServer:
    """One connection, made when it is needed and made again when it has broken. Calls may run side by side."""

    def __init__(self, spec: McpSpec, timeout_s: float) -> None:
        self.spec, self._timeout_s = spec, timeout_s
        self._known: tuple[Tool, ...] = ()
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._connecting = asyncio.Lock()

    def tools(self) -> tuple[Tool, ...]:
        """Those that were listed."""
        return self._known

    async def fetch(self) -> tuple[Tool, ...]:
        """Ask for the tools. Raises ChinwagError where the server does not answer."""
        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
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
                f"The MCP server {self.spec.label} does not tell its tools: {_why(error)}.",
                "Start it, or correct its " + ("address." if self.spec.url else "command."),
            ) from error
        self._known = tuple(self._as_tool(tool) for tool in listed if self._may_use(tool))
        return self._known

    async def close(self) -> None:
        """Let the server go; a child ends."""
        await self._drop()

    def _may_use(self, tool: Any) -> bool:
        spec = self.spec
        if spec.read_only and not (tool.annotations and tool.annotations.read_only_hint):
            return False
        return spec.allowed is None or tool.name in spec.allowed

    def _as_tool(self, tool: Any) -> Tool:
        async def run(arguments: dict[str, Any]) -> str:
            return await self._call(tool.name, arguments)

        spec = self.spec
        described = tool.description or tool.title or ""
        return Tool(tool.name, described, tool.input_schema, run, spec.label, tool.name, spec.asks(tool.name))

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError

        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                client = await self._connected()
        except Exception as error:
            await self._drop()
            raise ToolError(
                f"The server {self.spec.label} cannot be reached: {_why(error)}.", **_kind(error)
            ) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await client.call_tool(name, arguments)
        except TimeoutError as error:
            raise ToolError(f"It took longer than {self._timeout_s:g} s.") from error
        except MCPError as error:
            if _broken(error):
                await self._drop()
            raise ToolError(f"The server {self.spec.label} refused: {error.message}.", kind="protocol_error",
                            code=error.code) from error  # fmt: skip
        except Exception as error:
            await self._drop()
            raise ToolError(f"The server {self.spec.label} failed: {_why(error)}.", **_kind(error)) from error
        text = _text(result)
        if result.is_error:
            raise ToolError(text or "It failed and did not say why.")
        return text

    # --- the connection, held by a task of its own, as mcp's contexts must be left where they were entered ----

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
                log.info("the MCP server %s has gone: %s", self.spec.label, _why(error))

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
        here = urlsplit(spec.url).hostname in LOOPBACK
        limits = httpx2.Timeout(self._timeout_s, connect=CONNECTS_WITHIN_S)
        async with (
            httpx2.AsyncClient(headers=dict(spec.headers), timeout=limits, trust_env=not here) as http,
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
    """The package takes a second or more to load, in which the conversations go on."""
    import httpx2
    import mcp.client.streamable_http

    log.debug("%s, %s", httpx2.__name__, mcp.__name__)


def distinct_labels(specs: Sequence[McpSpec]) -> str | None:
    """A label that is there twice; None where all differ."""
    labels = [spec.label for spec in specs]
    return next((label for label in labels if labels.count(label) > 1), None)


def _text(result: Any) -> str:
    """What the model is given: the texts of the result, else what it is structured as."""
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


def _why(error: BaseException) -> str:
    inner = _innermost(error)
    if isinstance(inner, TimeoutError):
        return f"no answer within {CONNECTS_WITHIN_S:g} s"
    return (str(inner).strip().splitlines() or [type(inner).__name__])[0][:200].rstrip(".")
