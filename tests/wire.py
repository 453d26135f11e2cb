"""A client of the wire, sans-IO: what it is told is checked against the `openai` package's types."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, get_args

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel

from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import Fakes
from chinwag.realtime.connection import Connection
from chinwag.realtime.extensions import Assistants
from chinwag.realtime.session_config import Defaults

SERVER_EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeServerEvent)[0])
}
LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))


class Client:
    """Keeps what it is told, each event checked against its official type."""

    def __init__(
        self,
        fakes: Fakes,
        setup: Callable[[SessionSettings], SessionSettings] = lambda usual: usual,
        assistants: Assistants | None = None,
        **flags: Any,
    ) -> None:
        self.told: list[dict[str, Any]] = []
        self.bytes: list[bytes] = []
        settings = setup(SessionSettings(instructions="Be brief."))
        known = ("fake-llm", "fake-stt", ("one", "two"))
        defaults = Defaults(settings, *known, assistant="plain", assistants=assistants)
        self.connection = Connection(fakes.engines(), defaults, self._take, longest_message=15 * 1024 * 1024, **flags)
        self._sent = 0

    def _take(self, message: dict[str, Any] | bytes) -> None:
        if isinstance(message, bytes):
            self.bytes.append(message)
            return
        event = json.loads(json.dumps(message))
        if not event["type"].startswith("chinwag."):
            SERVER_EVENTS[event["type"]].model_validate(event, strict=True)
        self.told.append(event)

    def send(self, kind: str, **fields: Any) -> None:
        self._sent += 1
        event = {"type": kind, "event_id": f"mine_{self._sent}", **fields}
        self.connection.receive_text(json.dumps(event))

    def raw(self, data: str) -> dict[str, Any]:
        """Send as it is; the error that comes back."""
        before = len(self.told)
        self.connection.receive_text(data)
        (answer,) = self.told[before:]
        assert answer["type"] == "error"
        error: dict[str, Any] = answer["error"]
        return error

    def refused(self, kind: str, **fields: Any) -> dict[str, Any]:
        error = self.raw(json.dumps({"type": kind, "event_id": "mine", **fields}))
        assert error["event_id"] == "mine"
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        return error

    async def play(self, audio: Audio, binary: bool = False) -> None:
        for place in range(0, len(audio.pcm), 480):
            piece = Audio(audio.pcm[place : place + 480], WIRE_RATE).to_pcm16()
            if binary:
                self.connection.receive_bytes(piece)
            else:
                self.send("input_audio_buffer.append", audio=base64.b64encode(piece).decode())
            await asyncio.sleep(0.02)

    async def quiet_until(self, kind: str, times: int = 1) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        place = 0
        for _ in range(1500):
            found += [event for event in self.told[place:] if event["type"] == kind]
            place = len(self.told)
            if len(found) >= times:
                return found[times - 1]
            await self.play(silence(0.02, WIRE_RATE))
        raise AssertionError(f"no {kind}; told {self.kinds()}")

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["type"] == kind]

    def kinds(self) -> list[str]:
        names = [event["type"] for event in self.told]
        return [name for name, _ in groupby(names)]


@asynccontextmanager
async def connected(fakes: Fakes | None = None, **flags: Any) -> AsyncIterator[Client]:
    client = Client(fakes or Fakes(), **flags)
    running = asyncio.create_task(client.connection.run())
    await asyncio.sleep(0)
    try:
        yield client
        assert not running.done()
    finally:
        running.cancel()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended


def user(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **fields}
