"""A real MCP server, made with the `mcp` package: `python mcp_server.py` speaks on stdio, with a port over HTTP.

It has a token, given as MCP_TEST_TOKEN, that HTTP clients must send; without one it takes everybody.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

server = MCPServer("shop", log_level="CRITICAL")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def get_price(item: str) -> str:
    """The price of an item in the shop."""
    return f"The {item} costs seven euros."


@server.tool()
async def slow(seconds: float) -> str:
    """Wait so long."""
    await asyncio.sleep(seconds)
    return "Done waiting."


@server.tool()
def buy(item: str) -> str:
    """Buy an item."""
    raise ToolError(f"There is no {item} left.")


@server.tool()
def die() -> str:
    """End the whole server."""
    os._exit(3)


def main() -> None:
    if len(sys.argv) == 1:
        server.run("stdio")
        return
    import uvicorn

    app: Any = server.streamable_http_app()
    token = os.environ.get("MCP_TEST_TOKEN")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if token and scope["type"] == "http" and sent != f"Bearer {token}":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")


if __name__ == "__main__":
    main()
