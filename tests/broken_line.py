"""A network that can be cut: a relay in front of a server, between sockets of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 65536


class Relay:
    """Passes on what comes, until it is cut: then nothing goes either way, and nobody is told.

    port: the server's; another one may be set, where it was started again.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """As a cable pulled out somewhere: packets are gone, no socket is closed."""
        self._whole.clear()

    def mend(self) -> None:
        """The network is there again; what was under way on the old sockets stays lost."""
        self.reset()
        self._whole.set()

    def reset(self) -> None:
        """Close every socket hard."""
        for writer in self._writers:
            writer.transport.abort()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        other = None
        try:
            await self._whole.wait()
            there, other = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers.add(other)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, other))
                group.create_task(self._pass(there, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in (writer, other):
                if one:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if not self._whole.is_set():
                await asyncio.Event().wait()  # until the socket is closed from this side
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # one side closed: so does the other

    async def end(self) -> None:
        """Let all go."""
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay to a port of this machine, and its own port."""
    one = Relay(port)
    server = await asyncio.start_server(one.take, "127.0.0.1", 0)
    try:
        yield one, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await one.end()
        await server.wait_closed()
