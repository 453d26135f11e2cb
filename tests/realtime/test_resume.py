"""A client that is cut off in the middle of an answer comes back to it, over a real socket."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from serving import Server
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.realtime

PATIENCE_S = 60.0


class Line:
    """Counts what comes, as a page does."""

    def __init__(self, server: Server, query: str = "chinwag=events", before: Line | None = None) -> None:
        protocols: Any = ["chinwag.pcm"]
        self._opening: Any = connect(f"{server.realtime}?{query}", subprotocols=protocols)
        self.socket: ClientConnection = self._opening.__enter__()
        self.events: list[dict[str, Any]] = before.events if before else []
        self.sound: int = before.sound if before else 0
        self.received: int = before.received if before else 0
        self.sent: int = before.sent if before else 0

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))
        self.sent += 1

    def ask(self, text: str) -> None:
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item=said)
        self.send("response.create")

    def until(self, kind: str) -> dict[str, Any]:
        while True:
            message = self.socket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                self.received += 1
                self.sound += len(message)
                continue
            event: dict[str, Any] = json.loads(message)
            if event["type"] != "chinwag.session.resumed":
                self.received += 1
                self.events.append(event)
            if event["type"] == kind:
                return event

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def spoken(self) -> str:
        return "".join(event["delta"] for event in self.of("response.output_audio_transcript.delta"))

    def close(self) -> None:
        """Say goodbye."""
        self._opening.__exit__(None, None, None)

    def break_off(self) -> None:
        """No goodbye: the socket is shut."""
        self.socket.socket.shutdown(socket.SHUT_RDWR)
        self.socket.recv_events_thread.join()


STORY = "Tell me a story about a fisherman, in five sentences."


def test_an_answer_goes_on_where_the_line_broke(server: Server) -> None:
    line = Line(server)
    token = line.until("chinwag.session.resumable")["resume"]
    line.ask(STORY)
    line.until("response.output_audio_transcript.delta")
    heard_before = line.sound
    line.break_off()
    back = Line(server, f"chinwag=events&resume={token}&after={line.received}", line)
    told = back.until("chinwag.session.resumed")
    assert (told["received"], told["anew"]) == (line.sent, False)
    back.send("chinwag.ping", received=back.received)
    response = back.until("response.done")["response"]
    assert back.of("chinwag.pong")[0]["received"] == line.sent + 1
    content = response["output"][0]["content"][0]
    assert response["status"] == "completed"
    assert back.spoken == content["transcript"]
    assert len(back.of("session.created")) == 1
    identities = [event["event_id"] for event in back.events]
    assert len(identities) == len(set(identities))
    assert back.sound > heard_before
    back.close()


def test_a_page_that_was_loaded_again_is_told_what_was_heard(server: Server) -> None:
    line = Line(server)
    token = line.until("chinwag.session.resumable")["resume"]
    line.ask(STORY)
    line.until("response.output_audio_transcript.delta")
    line.until("response.output_audio_transcript.delta")
    line.break_off()
    back = Line(server, f"chinwag=events&resume={token}")
    assert back.until("chinwag.session.resumed")["anew"]
    assert back.until("session.created")["session"]["id"] == line.of("session.created")[0]["session"]["id"]
    question, answer = (back.until("conversation.item.added")["item"] for _ in range(2))
    assert question["content"][0]["text"] == STORY
    heard = answer["content"][0]["transcript"]
    assert heard
    assert line.spoken.startswith(heard)
    assert len(heard) < len(line.spoken)
    back.ask("What did I ask you for? Answer with one word: a story, or a poem?")
    again = back.until("response.done")["response"]["output"][0]["content"][0]["transcript"]
    assert "story" in again.lower()
    back.close()


def test_who_cannot_come_back(server: Server) -> None:
    line = Line(server)
    token = line.until("chinwag.session.resumable")["resume"]
    line.close()
    for word in (token, "resume_nonsense"):
        late = Line(server, f"chinwag=events&resume={word}&after=1")
        error = late.until("error")["error"]
        assert error["code"] == "session_not_found"
        assert "Connect again without" in error["message"]
    with connect(server.realtime) as stock:
        assert json.loads(stock.recv())["type"] == "session.created"
        stock.send(json.dumps({"type": "chinwag.ping", "received": "x"}))
        assert "received" in json.loads(stock.recv())["error"]["message"]  # and no resumable came before


def test_two_lines_at_once_the_newer_one_counts(server: Server) -> None:
    line = Line(server)
    token = line.until("chinwag.session.resumable")["resume"]
    back = Line(server, f"chinwag=events&resume={token}&after={line.received}")
    back.until("chinwag.session.resumed")
    with pytest.raises(Exception, match="4001"):
        line.until("nothing")
    back.ask("Say yes.")
    assert back.until("response.done")["response"]["status"] == "completed"
    back.close()
