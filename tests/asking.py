"""The whole application with fake engines, asked without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from chinwag.config import Config, ServerSettings
from chinwag.engines.fake import Fakes
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app


def host_of(**server: Any) -> Runtime:
    """Ready, without starting."""
    host = Runtime(Config(server=ServerSettings(**server)))
    host.engines, host.stage = Fakes().engines(), "ready"
    return host


@asynccontextmanager
async def asking(
    base: str = "http://localhost:8000", address: str = "127.0.0.1", **server: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(host_of(**server))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50000))
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def dialled(
    app: FastAPI, offered: Sequence[str] = (), address: str = "127.0.0.1", path: str = "/v1/realtime", **headers: str
) -> dict[str, Any]:
    """How a socket's handshake ended: `status`, and where that is 101 `subprotocol` and the first event's `session`."""
    sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    received: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    named = {"host": "localhost:8000", **headers}
    scope = {
        "type": "websocket",
        "path": path,
        "client": (address, 50000),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "subprotocols": list(offered),
        "extensions": {"websocket.http.response": {}},
    }
    running = asyncio.ensure_future(app(scope, received.get, sent.put))
    try:
        begun = await sent.get()
        if begun["type"] == "websocket.http.response.start":
            return {"status": begun["status"]}
        assert begun["type"] == "websocket.accept"
        event = json.loads((await sent.get())["text"])
        if event["type"] == "error":
            return {"status": 101, "error": event["error"]["code"]}
        return {"status": 101, "subprotocol": begun["subprotocol"], "session": event["session"]}
    finally:
        received.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running
