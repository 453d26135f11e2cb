"""The official `openai` client with a microphone, for tests of the wire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from speech import room

from chinwag.audio import WIRE_RATE, Audio

FRAME = WIRE_RATE // 50


class Caller:
    """Streams a microphone that is never off, and collects what it is told."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Any] = []
        self._say: list[Audio] = []
        self._news = asyncio.Event()

    async def microphone(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        quiet = room(0.02)
        while True:
            frame = quiet
            if self._say:
                head = self._say[0]
                frame = Audio(head.pcm[:FRAME], WIRE_RATE)
                self._say[0] = Audio(head.pcm[FRAME:], WIRE_RATE)
                if not len(self._say[0].pcm):
                    self._say.pop(0)
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(frame.to_pcm16()).decode())
            due += len(frame.pcm) / WIRE_RATE
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def listen(self) -> None:
        async for event in self.connection:
            self.events.append(event)
            self._news.set()

    def say(self, audio: Audio) -> None:
        self._say.append(audio)

    def all(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    async def until(self, kind: str, times: int = 1, where: Callable[[Any], bool] = lambda _: True) -> Any:
        """The event of that kind that was asked for, once it has come."""
        async with asyncio.timeout(60):
            while len(found := [event for event in self.all(kind) if where(event)]) < times:
                self._news.clear()
                await self._news.wait()
        return found[times - 1]

    def sound(self, response_id: str) -> Audio:
        deltas = [e for e in self.all("response.output_audio.delta") if e.response_id == response_id]
        return Audio.from_pcm16(b"".join(base64.b64decode(event.delta) for event in deltas))

    def kinds(self) -> list[str]:
        names = [event.type for event in self.events]
        return [name for name, _ in groupby(names)]


def loudness(audio: Audio) -> float:
    return float(np.abs(audio.pcm).max(initial=0.0))


@asynccontextmanager
async def calling(url: str, *, microphone: bool = True, api_key: str = "none", **query: str) -> AsyncIterator[Caller]:
    """Connect the official client to a server's /v1/realtime. query: added to the address."""
    base = url.removesuffix("/realtime")
    client = AsyncOpenAI(api_key=api_key, base_url=base.replace("ws", "http", 1), websocket_base_url=base)
    async with client, client.realtime.connect(model="chinwag", extra_query=query) as connection:
        caller = Caller(connection)
        works = [caller.listen(), caller.microphone()] if microphone else [caller.listen()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield caller
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
