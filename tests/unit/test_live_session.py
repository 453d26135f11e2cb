"""Conversations apart from their lines: what was sent, what was got, and who may come back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from chinwag.config import Config, ServerSettings
from chinwag.engines.fake import Fakes
from chinwag.runtime.runtime import Runtime
from chinwag.transport import outbox as outboxes
from chinwag.transport.live_session import LiveSession
from chinwag.transport.outbox import Outbox
from chinwag.transport.registry import SessionRegistry, acknowledged_messages, cannot_resume

pytestmark = pytest.mark.unit


async def taken(outbox: Outbox) -> list[Any]:
    """All that waits, as it goes out."""
    found = []
    while outbox.unsent:
        found.append(await outbox.get())
    return found


def filled(*messages: bytes) -> Outbox:
    outbox = Outbox()
    for message in messages:
        outbox.put(message)
    return outbox


async def test_who_comes_back_is_sent_what_it_has_not_got() -> None:
    outbox = filled(b"1", b"2", b"3", b"4")
    assert await taken(outbox) == [b"1", b"2", b"3", b"4"]
    assert outbox.rewind(2)
    outbox.put(b"5")
    assert await taken(outbox) == [b"3", b"4", b"5"]


async def test_what_the_client_has_got_is_dropped_and_no_more() -> None:
    outbox = filled(b"1", b"2", b"3")
    await outbox.get()
    outbox.acknowledge(99)  # it cannot have got what has not gone out
    assert await taken(outbox) == [b"2", b"3"]
    assert not outbox.rewind(0)
    assert outbox.rewind(1)
    assert await taken(outbox) == [b"2", b"3"]


async def test_what_nobody_takes_is_bounded_and_the_gap_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "MAX_REPLAY_BYTES", 3)
    outbox = filled(b"1", b"2", b"3", b"4", b"5")
    assert not outbox.rewind(1)
    assert outbox.rewind(2)
    assert await taken(outbox) == [b"3", b"4", b"5"]


async def test_a_closed_outbox_gives_its_last_words_and_then_ends() -> None:
    outbox = filled(b"1")
    waiting = asyncio.create_task(taken_until_closed(outbox))
    await asyncio.sleep(1)
    outbox.put(b"2")
    outbox.close()
    assert await waiting == [b"1", b"2"]


async def taken_until_closed(outbox: Outbox) -> list[Any]:
    found = []
    while (message := await outbox.get()) is not None:
        found.append(message)
    return found


def asking(query: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "query_string": query.encode(), "headers": [], "path": "/v1/realtime"})


@pytest.mark.parametrize(("query", "number"), [("after=7", 7), ("", None), ("after=-1", None), ("after=x", None)])
def test_how_much_the_client_says_it_has_got(query: str, number: int | None) -> None:
    assert acknowledged_messages(asking(query)) == number


class Line:
    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class Made(LiveSession):
    """A conversation of which only coming and going is looked at."""

    def __init__(self, *, resumable: bool = True, started: bool = True) -> None:
        self.token, self.audio_transport, self.resumable = f"resume_{id(self)}", "binary", resumable
        self.client = self.expiry = None
        self.client_too_slow = self.sent_anew = self.was_ended = self.restored = False
        self.outbox, self.received = Outbox(), 0
        self._task = asyncio.get_running_loop().create_future() if started else None  # type: ignore[assignment]

    async def end(self) -> None:
        self.was_ended = True


def registry_of(*made: LiveSession, **server: Any) -> SessionRegistry:
    registry = SessionRegistry(Runtime(Config(server=ServerSettings(**server))))
    for session in made:
        registry._sessions[session.token] = session
    return registry


async def test_a_conversation_waits_for_its_client_and_then_ends() -> None:
    session, line = Made(), Line()
    registry = registry_of(session, resume_s=60)
    session.client = line
    registry.detach(session, line, for_good=False)
    await asyncio.sleep(59)
    assert registry.find(session.token, "binary") is session
    assert registry.find(session.token, "track") is None  # its sound went another way
    await asyncio.sleep(2)
    assert registry.find(session.token, "binary") is None
    assert session.was_ended


@pytest.mark.parametrize("made", [{"resumable": False}, {"started": False}])
async def test_some_are_not_waited_for(made: dict[str, bool]) -> None:
    session, line = Made(**made), Line()
    session.client = line
    registry = registry_of(session)
    registry.detach(session, line, for_good=False)
    await asyncio.sleep(0)
    assert session.was_ended


async def test_who_says_goodbye_is_not_waited_for() -> None:
    session, line = Made(), Line()
    session.client = line
    registry = registry_of(session)
    registry.detach(session, line, for_good=True)
    await asyncio.sleep(0)
    assert session.was_ended


async def test_who_comes_back_takes_it_from_the_line_that_hangs() -> None:
    session, old, new = Made(), Line(), Line()
    session.client = old
    registry = registry_of(session)
    for number in range(4):
        session.outbox.put({"number": number})
    await taken(session.outbox)
    session.received = 11
    session.attach(new, 1)
    assert old.stopped
    assert session.client is new
    assert (
        json.loads(session.resumed_event).items()
        >= {"type": "chinwag.session.resumed", "received": 11, "anew": False}.items()
    )
    assert [json.loads(one)["number"] for one in await taken(session.outbox)] == [1, 2, 3]
    registry.detach(session, old, for_good=False)  # its socket notices at last
    await asyncio.sleep(100)
    assert registry.find(session.token, "binary") is session


async def test_no_more_wait_than_there_are_places() -> None:
    made = [Made() for _ in range(3)]
    registry = registry_of(*made, max_sessions=2)
    for session in made:
        session.client = line = Line()
        registry.detach(session, line, for_good=False)
    await asyncio.sleep(0)
    assert [session.was_ended for session in made] == [True, False, False]
    await registry.close()
    assert all(session.was_ended for session in made)


async def session_of(runtime: Runtime, **changes: Any) -> LiveSession:
    registry = SessionRegistry(runtime)
    session = await registry.create(asking("chinwag=events"), "text")
    for name, value in changes.items():
        setattr(session, name, value)
    session.start()
    return session


def ready(answer: str = "") -> Runtime:
    runtime = Runtime(Config(store={"keep": "off"}))
    fakes = Fakes()
    fakes.llm.answer = answer or fakes.llm.answer
    runtime.engines, runtime.stage = fakes.engines(), "ready"
    return runtime


def told(session: LiveSession) -> list[str]:
    return [json.loads(message)["type"] for message in session.outbox._messages]


async def test_a_session_at_rest_ends_at_once_when_the_server_stops_and_says_why() -> None:
    session = await session_of(ready(), client=Line())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await session.drain(20)
    assert asyncio.get_running_loop().time() - began < 0.2
    assert session.ended
    assert not session.failed
    assert told(session)[-2:] == ["chinwag.restarting", "error"]
    assert cannot_resume(session)["error"]["code"] == "server_restarting", "and to who comes back"


@pytest.mark.parametrize(("within_s", "sentences"), [(30, 1), (0.5, 0)])
async def test_a_session_ends_behind_its_sentence_or_when_its_time_is_up(within_s: float, sentences: int) -> None:
    long = ", ".join(["and so on it goes for a while"] * 8) + ". And then another sentence follows. And one more."
    session = await session_of(ready(long), client=Line())
    say = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]}
    session.connection.receive_text(json.dumps({"type": "conversation.item.create", "item": say}))
    session.connection.receive_text(json.dumps({"type": "response.create"}))
    await asyncio.sleep(1)
    assert "response.output_audio.delta" in told(session)
    began = asyncio.get_running_loop().time()
    await session.drain(within_s)
    took = asyncio.get_running_loop().time() - began
    assert (took <= within_s + 0.1) if not sentences else (1 < took < within_s)
    spoken = session.connection.session.last_response
    assert spoken
    assert spoken.text.count(".") == sentences
    assert (spoken.heard_text == spoken.text) is bool(sentences), "the sentence was heard to its end"


async def test_who_is_away_when_the_server_stops_is_not_waited_for() -> None:
    session = await session_of(ready())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await session.drain(20)
    assert asyncio.get_running_loop().time() == began
    assert session.ended
