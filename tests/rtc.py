"""A caller over WebRTC for tests, as tests/official.py is one over a WebSocket: signalled by the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from speech import noisy

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.opus import FRAME
from chinwag.client_sdk.webrtc import Peer

Signal = Callable[[str], str]


class Caller:
    """Streams a microphone that is never off, and keeps what it hears and is told, with loop times."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.heard: list[tuple[float, Audio]] = []
        self.call_id = ""
        self.spoken_at: list[float] = []
        """When the last sample of each thing said was captured."""
        self._say: list[Samples] = []
        self._news = asyncio.Event()
        self._quiet = noisy(np.zeros(WIRE_RATE, np.float32))
        self._loop = asyncio.get_running_loop()
        self.behind: list[float] = []
        """With each piece of sound, how far what was passed on was behind the quickest packets, in seconds."""
        self.peer = Peer(self._frame, self._hear, self._take)

    def _frame(self) -> Samples:
        if not self._say:
            return self._quiet[:FRAME]
        frame, self._say[0] = self._say[0][:FRAME], self._say[0][FRAME:]
        if not len(self._say[0]):
            self._say.pop(0)
            self.spoken_at.append(self._loop.time())
        return np.pad(frame, (0, FRAME - len(frame)))

    def _hear(self, audio: Audio) -> None:
        now = self._loop.time()
        self.heard.append((now, audio))
        self.behind.append(self.peer.incoming.buffer.behind(now))

    def _take(self, message: str) -> None:
        self.events.append(json.loads(message))
        self.times.append(self._loop.time())
        self._news.set()

    def say(self, audio: Audio) -> None:
        self._say.append(audio.pcm)

    def send(self, kind: str, **fields: Any) -> None:
        self.peer.channel.send(json.dumps({"type": kind, **fields}))

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def kinds(self) -> list[str]:
        return [name for name, _ in groupby(event["type"] for event in self.events)]

    async def until(self, kind: str, times: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while len(found := self.all(kind)) < times:
                self._news.clear()
                await self._news.wait()
        return found[times - 1]

    def sound(self, since: float = 0.0) -> Audio:
        return Audio(np.concatenate([audio.pcm for at, audio in self.heard if at >= since]), WIRE_RATE)


@asynccontextmanager
async def calling(
    url: str,
    session: dict[str, Any] | None = None,
    *,
    query: dict[str, str] | None = None,
    relayed: Any = None,
    api_key: str = "none",
) -> AsyncIterator[Caller]:
    """A call to a server's /v1/realtime. relayed: a `lossy.Relay` that carries the packets of both sides."""
    client = AsyncOpenAI(api_key=api_key, base_url=url.removesuffix("/realtime").replace("ws", "http", 1))
    caller = Caller()
    try:
        async with client:
            offer = await caller.peer.offer()
            answer = await client.realtime.calls.create(
                sdp=relayed.offered(offer) if relayed else offer,
                **({"session": session} if session is not None else {}),  # type: ignore[arg-type]
                extra_query=query or {},
            )
            assert answer.response.status_code == 201
            caller.call_id = answer.response.headers["Location"].rpartition("/")[2]
            assert answer.response.headers["Location"] == f"/v1/realtime/calls/{caller.call_id}"
            text = answer.text
            await caller.peer.accept(await relayed.answered(text) if relayed else text)
            await caller.until("session.created")
            yield caller
    finally:
        await caller.peer.close()
