"""A server that follows a script, to see what a caller makes of it. Speech is what is louder than -30 dBFS."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from chinwag.audio import WIRE_RATE, Audio, Samples, silence

LOUD = 10 ** (-30 / 20)


@dataclass
class Scripted:
    """One call. turn: what to do each time 200 ms of silence have followed speech."""

    socket: ServerConnection
    turn: Callable[[Scripted], Awaitable[None]]
    heard: list[Samples] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    sent_sound_at: list[float] = field(default_factory=list)
    speech_end: int = 0
    turns: int = 0

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def listen(self) -> None:
        await self.send("session.created", session={})
        speaking, total = False, 0
        async for message in self.socket:
            event = json.loads(message)
            if event["type"] != "input_audio_buffer.append":
                self.received.append(event)
                continue
            pcm = Audio.from_pcm16(base64.b64decode(event["audio"])).pcm
            self.heard.append(pcm)
            self.arrivals.append(time.perf_counter())
            loud = np.flatnonzero(np.abs(pcm) > LOUD)
            if len(loud):
                if not speaking:
                    speaking = True
                    self.turns += 1
                    await self.send("input_audio_buffer.speech_started", item_id=f"u{self.turns}")
                    await self.send("chinwag.transcript.partial", item_id=f"u{self.turns}", text="tone")
                self.speech_end = total + int(loud[-1]) + 1
            total += len(pcm)
            if speaking and total - self.speech_end >= WIRE_RATE // 5:
                speaking = False
                await self.turn(self)

    async def answer(
        self, quiet: float = 0.3, loud: float = 0.5, status: str = "completed", words: str = "tone"
    ) -> None:
        """The events of a turn with its answer: so many seconds of silence, then of a tone."""
        item, reply, response = f"u{self.turns}", f"a{self.turns}", f"r{self.turns}"
        await self.send("input_audio_buffer.committed", item_id=item)
        await self.send("conversation.item.input_audio_transcription.completed", item_id=item, transcript=words)
        await self.send("response.created", response={"id": response})
        end = round(self.speech_end * 1000 / WIRE_RATE) - 40  # an estimate that is 40 ms early
        stages = {"turn_decided": 240.0, "first_audio": 300.0}
        await self.send("chinwag.trace", response_id=response, item_id=item, speech_end_ms=end, stages_ms=stages)
        where = {"response_id": response, "item_id": reply}
        await self.send("response.output_audio_transcript.delta", delta="Beep.", **where)
        self.sent_sound_at.append(time.perf_counter())
        for sound in (silence(quiet, WIRE_RATE), Audio(np.full(round(loud * WIRE_RATE), 0.3, np.float32), WIRE_RATE)):
            if len(sound.pcm):
                delta = base64.b64encode(sound.to_pcm16()).decode()
                await self.send("response.output_audio.delta", delta=delta, **where)
        details = {"error": {"message": "the model is gone"}} if status == "failed" else None
        await self.send("response.done", response={"id": response, "status": status, "status_details": details})


@asynccontextmanager
async def scripted(
    turn: Callable[[Scripted], Awaitable[None]] | None = None,
    *,
    key: str | None = None,
    handler: Callable[[ServerConnection], Awaitable[None]] | None = None,
) -> AsyncGenerator[tuple[str, list[Scripted]], None]:
    """A server on a free port: its address, and its calls as they come. handler: takes the call instead."""
    calls: list[Scripted] = []

    async def take(socket: ServerConnection) -> None:
        calls.append(Scripted(socket, turn or Scripted.answer))
        await calls[-1].listen()

    def admit(socket: ServerConnection, request: Request) -> Response | None:
        if request.path.split("?")[0] != "/v1/realtime":
            return socket.respond(HTTPStatus.NOT_FOUND, "nothing here\n")
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            return socket.respond(HTTPStatus.UNAUTHORIZED, "no\n")
        return None

    async with serve(handler or take, "127.0.0.1", 0, process_request=admit) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}", calls
    await asyncio.sleep(0)
