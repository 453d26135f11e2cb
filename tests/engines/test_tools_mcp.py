"""MCP servers as tools: real ones, over stdio and over streamable HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from mcp_serving import PROGRAM, http_server

from chinwag.config import McpSettings, ToolsSettings
from chinwag.errors import ChinwagError, ConfigError
from chinwag.tools.mcp_server import McpServer, McpServerSpec
from chinwag.tools.tool import Tool, ToolError
from chinwag.tools.toolbox import Toolbox

pytestmark = pytest.mark.engines

STDIO = McpServerSpec("shop", command=(sys.executable, PROGRAM))


@asynccontextmanager
async def open_server(spec: McpServerSpec, timeout_s: float = 20.0) -> AsyncIterator[McpServer]:
    server = McpServer(spec, timeout_s)
    try:
        yield server
    finally:
        await server.close()
        await server.close()


def named(tools: tuple[Tool, ...], name: str) -> Tool:
    return next(tool for tool in tools if tool.name == name)


async def run(tool: Tool, **arguments: object) -> str:
    assert tool.run
    return await tool.run(dict(arguments))


async def calls(spec: McpServerSpec) -> None:
    async with open_server(spec) as server:
        tools = await server.list_tools()
        assert [tool.name for tool in tools] == ["get_price", "slow", "buy", "die"]
        price = named(tools, "get_price")
        assert price.description == "The price of an item in the shop."
        assert price.parameters["required"] == ["item"]
        assert price.server == "shop"
        assert await run(price, item="lamp") == "The lamp costs seven euros."
        slow, quick = asyncio.create_task(run(named(tools, "slow"), seconds=0.3)), run(price, item="cup")
        assert await quick == "The cup costs seven euros."
        assert not slow.done()
        assert await slow == "Done waiting."
        with pytest.raises(ToolError, match="no lamp left") as failed:
            await run(named(tools, "buy"), item="lamp")
        assert failed.value.kind == "tool_execution_error"
        with pytest.raises(ToolError):
            await run(price, colour="red")
        dying = asyncio.create_task(run(named(tools, "die")))
        with pytest.raises(ToolError):
            await dying


async def test_a_child_on_stdio_is_called_and_its_death_is_an_error_and_not_the_end() -> None:
    await calls(STDIO)
    async with open_server(STDIO) as server:
        tools = await server.list_tools()
        with pytest.raises(ToolError):
            await run(named(tools, "die"))
        assert await run(named(tools, "get_price"), item="cup") == "The cup costs seven euros.", "it was started anew"


async def test_a_server_over_http_is_called_and_its_death_is_an_error() -> None:
    with http_server() as url:
        await calls(McpServerSpec("shop", url=url))


async def test_headers_are_sent_and_a_server_that_refuses_is_told() -> None:
    with http_server("secret") as url:
        spec = McpServerSpec("shop", url=url)
        async with open_server(replace(spec, headers=(("Authorization", "Bearer secret"),))) as server:
            assert await server.list_tools()
        async with open_server(spec) as server:
            with pytest.raises(ChinwagError, match="The MCP server shop does not list its tools"):
                await server.list_tools()


@pytest.mark.parametrize(
    "spec",
    [
        McpServerSpec("gone", url="http://127.0.0.1:9/mcp"),
        McpServerSpec("gone", command=("/no/such/program",)),
        McpServerSpec("gone", command=(sys.executable, "-c", "print('not json')")),
    ],
)
async def test_a_server_that_is_not_there_is_told_with_a_way_out(spec: McpServerSpec) -> None:
    async with open_server(spec) as server:
        with pytest.raises(ChinwagError, match="gone does not list its tools") as failure:
            await server.list_tools()
        assert "Start it, or correct its" in failure.value.fix


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async with open_server(STDIO, timeout_s=1.0) as server:
        tools = await server.list_tools()
        with pytest.raises(ToolError, match="longer than 1 s"):
            await run(named(tools, "slow"), seconds=30)
        assert await run(named(tools, "get_price"), item="cup"), "and the connection lives"


async def test_only_what_is_allowed_is_offered() -> None:
    async with open_server(replace(STDIO, allowed=frozenset({"get_price", "slow"}))) as server:
        assert {tool.name for tool in await server.list_tools()} == {"get_price", "slow"}
    async with open_server(replace(STDIO, read_only=True, approval_tools=frozenset({"get_price"}))) as server:
        (tool,) = await server.list_tools()
        assert (tool.name, tool.needs_approval) == ("get_price", True)


async def test_servers_of_the_settings_and_functions_are_one_toolbox() -> None:
    shop = McpSettings(
        name="shop",
        command=sys.executable,
        args=[PROGRAM],
        allowed_tools=["get_price", "buy"],
        require_approval=["buy"],
    )
    gone = McpSettings(name="gone", url="http://127.0.0.1:9/mcp")
    toolbox = Toolbox(ToolsSettings(enabled=["time"], mcp=[shop, gone]))
    try:
        assert [tool.name for tool in toolbox.tools()] == ["current_time"]
        toolbox.open()
        for _ in range(200):
            if len(toolbox.tools()) > 1:
                break
            await asyncio.sleep(0.05)
        assert [(tool.name, tool.needs_approval) for tool in toolbox.tools()] == [
            ("current_time", False), ("get_price", False), ("buy", True)
        ]  # fmt: skip
    finally:
        await toolbox.close()


def test_settings_that_cannot_be_are_told() -> None:
    with pytest.raises(ConfigError, match="either a command or a url"):
        Toolbox(ToolsSettings(mcp=[McpSettings(name="x")]))
    twice = [McpSettings(name="x", command="a"), McpSettings(name="x", url="http://127.0.0.1/")]
    with pytest.raises(ConfigError, match="two servers called x"):
        Toolbox(ToolsSettings(mcp=twice))
    with pytest.raises(ConfigError, match="two servers called chinwag"):
        Toolbox(ToolsSettings(mcp=[McpSettings(name="chinwag", command="a")]))
