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
from chinwag.transport import live_session as talks
from chinwag.transport.live_session import LiveSession, Outbox, SessionRegistry, after

pytestmark = pytest.mark.unit


async def taken(outbox: Outbox) -> list[Any]:
    """All that waits, as it goes out."""
    found = []
    while outbox.waiting:
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
    assert outbox.go_back(2)
    outbox.put(b"5")
    assert await taken(outbox) == [b"3", b"4", b"5"]


async def test_what_the_client_has_got_is_dropped_and_no_more() -> None:
    outbox = filled(b"1", b"2", b"3")
    await outbox.get()
    outbox.acknowledge(99)  # it cannot have got what has not gone out
    assert await taken(outbox) == [b"2", b"3"]
    assert not outbox.go_back(0)
    assert outbox.go_back(1)
    assert await taken(outbox) == [b"2", b"3"]


async def test_what_nobody_takes_is_bounded_and_the_gap_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "KEPT_BYTES", 3)
    outbox = filled(b"1", b"2", b"3", b"4", b"5")
    assert not outbox.go_back(1)
    assert outbox.go_back(2)
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
    assert after(asking(query)) == number


class Line:
    def __init__(self) -> None:
        self.left = False

    def leave(self) -> None:
        self.left = True


class Made(LiveSession):
    """A conversation of which only coming and going is looked at."""

    def __init__(self, *, lasting: bool = True, begun: bool = True) -> None:
        self.token, self.form, self.lasting = f"resume_{id(self)}", "binary", lasting
        self.carrier = self.gone = None
        self.overfull = self.anew = self.ended = self.restored = False
        self.outbox, self.received = Outbox(), 0
        self._begun = begun
        self._holding = asyncio.get_running_loop().create_future() if begun else None  # type: ignore[assignment]

    async def end(self) -> None:
        self.ended = True


def talks_of(*made: LiveSession, **server: Any) -> SessionRegistry:
    one = SessionRegistry(Runtime(Config(server=ServerSettings(**server))))
    for talk in made:
        one._talks[talk.token] = talk
    return one


async def test_a_conversation_waits_for_its_client_and_then_ends() -> None:
    talk, line = Made(), Line()
    held = talks_of(talk, resume_s=60)
    talk.carrier = line
    held.leave(talk, line, for_good=False)
    await asyncio.sleep(59)
    assert held.find(talk.token, "binary") is talk
    assert held.find(talk.token, "track") is None  # its sound went another way
    await asyncio.sleep(2)
    assert held.find(talk.token, "binary") is None
    assert talk.ended


@pytest.mark.parametrize("made", [{"lasting": False}, {"begun": False}])
async def test_some_are_not_waited_for(made: dict[str, bool]) -> None:
    talk, line = Made(**made), Line()
    talk.carrier = line
    held = talks_of(talk)
    held.leave(talk, line, for_good=False)
    await asyncio.sleep(0)
    assert talk.ended


async def test_who_says_goodbye_is_not_waited_for() -> None:
    talk, line = Made(), Line()
    talk.carrier = line
    held = talks_of(talk)
    held.leave(talk, line, for_good=True)
    await asyncio.sleep(0)
    assert talk.ended


async def test_who_comes_back_takes_it_from_the_line_that_hangs() -> None:
    talk, old, new = Made(), Line(), Line()
    talk.carrier = old
    held = talks_of(talk)
    for number in range(4):
        talk.outbox.put({"number": number})
    await taken(talk.outbox)
    talk.received = 11
    talk.carried_by(new, 1)
    assert old.left
    assert talk.carrier is new
    assert (
        json.loads(talk.resumed).items() >= {"type": "chinwag.session.resumed", "received": 11, "anew": False}.items()
    )
    assert [json.loads(one)["number"] for one in await taken(talk.outbox)] == [1, 2, 3]
    held.leave(talk, old, for_good=False)  # its socket notices at last
    await asyncio.sleep(100)
    assert held.find(talk.token, "binary") is talk


async def test_no_more_wait_than_there_are_places() -> None:
    made = [Made() for _ in range(3)]
    held = talks_of(*made, max_sessions=2)
    for talk in made:
        talk.carrier = line = Line()
        held.leave(talk, line, for_good=False)
    await asyncio.sleep(0)
    assert [talk.ended for talk in made] == [True, False, False]
    await held.close()
    assert all(talk.ended for talk in made)


async def talk_of(host: Runtime, **changes: Any) -> LiveSession:
    talks = SessionRegistry(host)
    talk = await talks.begin(asking("chinwag=events"), "text")
    for name, value in changes.items():
        setattr(talk, name, value)
    talk.begin()
    return talk


def ready(answer: str = "") -> Runtime:
    host = Runtime(Config(store={"keep": "off"}))
    fakes = Fakes()
    fakes.llm.answer = answer or fakes.llm.answer
    host.engines, host.stage = fakes.engines(), "ready"
    return host


def told(talk: LiveSession) -> list[str]:
    return [json.loads(message)["type"] for message in talk.outbox._messages]


async def test_a_talk_at_rest_ends_at_once_when_the_server_stops_and_says_why() -> None:
    talk = await talk_of(ready(), carrier=Line())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await talk.wind_down(20)
    assert asyncio.get_running_loop().time() - began < 0.2
    assert talk.over
    assert not talk.broken
    assert told(talk)[-2:] == ["chinwag.restarting", "error"]
    assert talks.gone(talk)["error"]["code"] == "server_restarting", "and to who comes back"


@pytest.mark.parametrize(("within_s", "sentences"), [(30, 1), (0.5, 0)])
async def test_a_talk_ends_behind_its_sentence_or_when_its_time_is_up(within_s: float, sentences: int) -> None:
    long = ", ".join(["and so on it goes for a while"] * 8) + ". And then another sentence follows. And one more."
    talk = await talk_of(ready(long), carrier=Line())
    say = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]}
    talk.connection.receive_text(json.dumps({"type": "conversation.item.create", "item": say}))
    talk.connection.receive_text(json.dumps({"type": "response.create"}))
    await asyncio.sleep(1)
    assert "response.output_audio.delta" in told(talk)
    began = asyncio.get_running_loop().time()
    await talk.wind_down(within_s)
    took = asyncio.get_running_loop().time() - began
    assert (took <= within_s + 0.1) if not sentences else (1 < took < within_s)
    spoken = talk.connection.session.last_response
    assert spoken
    assert spoken.text.count(".") == sentences
    assert (spoken.heard_text == spoken.text) is bool(sentences), "the sentence was heard to its end"


async def test_who_is_away_when_the_server_stops_is_not_waited_for() -> None:
    talk = await talk_of(ready())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await talk.wind_down(20)
    assert asyncio.get_running_loop().time() == began
    assert talk.over
