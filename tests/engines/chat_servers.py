"""Chat servers on loopback that answer, or fail, as a test writes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Connection:
    """One request, and the way to answer it by hand."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        await self.send(head.encode() + b"Connection: close\r\n\r\n" + data)

    async def begin(self, kind: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
        await self.send(head.encode() + b"Connection: close\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")


Handler = Callable[[Connection], Awaitable[None]]


@dataclass
class ChatServer:
    """What it was asked, and how many of its streams the other side hung up on."""

    address: str
    asked: list[Connection] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


def _read(headers: dict[str, str], data: bytes) -> Any:
    """JSON as what it says; a form as its bytes."""
    return json.loads(data) if data and "json" in headers.get("content-type", "") else data or None


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[ChatServer]:
    running: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun: list[asyncio.Future[Any]] = []
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines if line)}
            data = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ")
            connection = Connection(method, path, headers, _read(headers, data), writer)
            server.asked.append(connection)
            answering = asyncio.ensure_future(handler(connection))
            leaving = asyncio.ensure_future(reader.read())
            begun.extend((answering, leaving))
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not answering.done():
                server.hung_up.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.ensure_future(serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: writer.close())  # also where it was cancelled before it began

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server = ChatServer(f"http://127.0.0.1:{port}")
    try:
        yield server
    finally:
        listener.close()
        while running:  # one that was accepted just now has its task only after a turn of the loop
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.sleep(0)
        for writer in writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
