"""Another voice, and a model whose server is down, in the middle of a conversation over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Server
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.realtime

FETCH_S = 90.0


class Talk:
    """A client that types."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.told: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def until(self, *kinds: str) -> dict[str, Any]:
        """The next event of those kinds; sound that comes before it is kept in `sound`."""
        self.sound = b""
        while True:
            message = self._socket.recv(FETCH_S)
            if isinstance(message, bytes):
                self.sound += message
                continue
            event: dict[str, Any] = json.loads(message)
            self.told.append(event)
            if event["type"] in kinds:
                return event

    def ask(self, text: str) -> dict[str, Any]:
        """The response to it, when it is done."""
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item=said)
        self.send("response.create")
        response: dict[str, Any] = self.until("response.done")["response"]
        return response


@contextmanager
def talking(server: Server) -> Iterator[Talk]:
    with connect(f"{server.realtime}?chinwag=events", subprotocols=["chinwag.pcm"]) as socket:  # type: ignore[list-item]
        talk = Talk(socket)
        talk.until("session.created")
        yield talk


def test_the_next_answer_is_in_the_new_voice_and_nothing_is_forgotten(server: Server) -> None:
    with talking(server) as talk:
        first = talk.ask("Say hello to me.")
        assert first["audio"]["output"]["voice"] in ("", "heart")
        hello = first["output"][0]["id"]
        talk.send("chinwag.engines.update", engines={"tts": {"engine": "kokoro", "voice": "af_bella"}})
        updated = talk.until("chinwag.engines.updated", "error")
        assert updated["type"] == "chinwag.engines.updated", updated
        assert updated["engines"]["tts"]["voice"] == "af_bella"
        assert "af_heart" in updated["engines"]["tts"]["languages"]["en"]
        assert [event["stage"] for event in talk.told if event["type"] == "chinwag.engines.updating"]
        second = talk.ask("Say goodbye to me.")
        assert (second["status"], second["audio"]["output"]["voice"]) == ("completed", "af_bella")
        assert np.abs(np.frombuffer(talk.sound, "<i2")).max() > 1000
        talk.send("conversation.item.retrieve", item_id=hello)
        assert talk.until("conversation.item.retrieved")["item"]["role"] == "assistant"
        told = httpx.get(server.url.replace("localhost", "127.0.0.1") + "/api/engines", timeout=30).json()
        kokoro = next(engine for engine in told["engines"] if engine["name"] == "kokoro")
        assert (kokoro["state"], kokoro["chosen"], kokoro["loaded"]) == ("ready", False, [""])
        assert "af_bella" in kokoro["voices"]["en"]


def test_a_server_that_is_down_says_how_to_start_it_and_the_conversation_goes_on(server: Server) -> None:
    with talking(server) as talk:
        talk.send("chinwag.engines.update", event_id="mine", engines={"llm": {"engine": "ollama"}})
        error = talk.until("chinwag.engines.updated", "error")["error"]
        assert (error["code"], error["event_id"]) == ("engine_not_changed", "mine")
        assert "ollama serve" in error["message"]
        assert "offer" not in error, "the embedded model is in use and works"
        assert talk.ask("Say hello to me.")["status"] == "completed"
