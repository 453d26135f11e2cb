"""Other engines in the middle of a conversation: what is asked, what is told, and what stays as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection
from talker import talking
from virtual_time import at_once
from wire import Client, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.config import Config
from chinwag.conversation.events import ResponseText, TranscriptionCompleted
from chinwag.engines import registry
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeVoice, loud
from chinwag.engines.protocols import EngineOptions, Engines
from chinwag.errors import EngineError
from chinwag.runtime.engine_pool import CLOSE_AFTER_S
from chinwag.runtime.engine_switching import EngineSwitch, engine_switch
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))


def others(fakes: Fakes, **changes: Any) -> Engines:
    return Engines(**{**vars(fakes.engines()), **changes})


class FakeLease:
    """Counts its holders; the session's switch is the first."""

    def __init__(self) -> None:
        self.holders = 1

    def hold(self) -> None:
        self.holders += 1

    def release(self) -> None:
        self.holders -= 1


# --- the session -------------------------------------------------------------------------------------------------


async def test_the_next_reply_is_another_voices_and_the_one_being_spoken_goes_on() -> None:
    fakes, voice, lease = Fakes(llm=FakeChat(answer=LONG)), FakeVoice(voices=("three",)), FakeLease()
    async with talking(fakes) as talker:
        session = talker.session
        session.change_engines(others(fakes, leases={"tts": lease}), session.settings)
        await talker.say(1.0)
        await talker.pause_until(lambda: len(talker.all(ResponseText)) == 2)
        session.change_engines(others(fakes, tts=voice), session.settings)
        lease.release()
        assert lease.holders, "it still speaks"
        ended = await talker.hear_out()
        assert (ended.status, talker.told()) == ("completed", LONG)
        assert voice.spoken == []
        assert not lease.holders
        await talker.say(1.0)
        await talker.hear_out()
        assert voice.spoken
        assert fakes.llm.prompts[-1][-2]["content"] == LONG, "what was said before is remembered"


async def test_another_model_reads_the_conversation_and_answers_next() -> None:
    fakes, model = Fakes(), FakeChat(answer="I am the other.")
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        talker.session.change_engines(others(fakes, llm=model), talker.session.settings)
        await talker.pause(0.5)
        assert model.prefilled[0][-1]["content"] == FakeChat().answer
        await talker.say(0.6)
        await talker.hear_out()
        assert talker.told().endswith("I am the other.")
        assert [message["role"] for message in model.prompts[-1]] == ["system", "user", "assistant", "user"]


async def test_an_utterance_stays_with_the_ear_that_heard_it_begin() -> None:
    fakes, ear, lease = Fakes(), FakeTranscriber(words=["other"] * 50), FakeLease()
    first = FakeTranscriber()
    async with talking(fakes) as talker:
        talker.session.change_engines(others(fakes, stt=first, leases={"stt": lease}), talker.session.settings)
        await talker.say(0.5)
        talker.session.change_engines(others(fakes, stt=ear), talker.session.settings)
        lease.release()
        assert lease.holders
        await talker.say(0.5)
        await talker.hear_out()
        assert talker.all(TranscriptionCompleted)[-1].text.startswith("word0")
        await talker.say(1.0)
        await talker.hear_out()
        assert talker.all(TranscriptionCompleted)[-1].text.startswith("other other")
        assert not lease.holders


async def test_a_draft_of_the_old_model_is_not_given() -> None:
    fakes, model = Fakes(), FakeChat(answer="I am the other.")
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.pause(0.1)
        assert fakes.llm.prompts, "it was begun"
        talker.session.change_engines(others(fakes, llm=model), talker.session.settings)
        await talker.hear_out()
        assert talker.told() == "I am the other."


async def test_what_cannot_speak_the_language_changes_nothing() -> None:
    fakes, voice = Fakes(), FakeVoice(languages={"ja": ("one",)})
    fakes.tts.languages = {"en": ("one", "two")}
    async with talking(fakes) as talker:
        session = talker.session
        settings = session.settings
        session.update(settings.__class__(**{**vars(settings), "listening": type(settings.listening)(language="en")}))
        with pytest.raises(EngineError, match="speaks Japanese, not English"):
            session.change_engines(others(fakes, tts=voice), session.settings)
        await talker.say(1.0)
        assert (await talker.hear_out()).status == "completed"
        assert voice.spoken == []


async def test_a_voice_that_only_the_last_engine_had_is_not_asked_of_the_next() -> None:
    fakes, voice = Fakes(llm=FakeChat(answer="Yes.")), FakeVoice(voices=("three",))
    async with talking(fakes) as talker:
        settings = talker.session.settings
        style = type(settings.style)(voice="two")
        talker.session.update(type(settings)(**{**vars(settings), "style": style}))
        talker.session.change_engines(others(fakes, tts=voice), talker.session.settings)
        await talker.say(1.0)
        await talker.hear_out()
        assert voice.styles[-1][0] is None


# --- the wire ----------------------------------------------------------------------------------------------------


class Room:
    """A host with fake engines by name, and a client in a conversation with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.fakes = Fakes(llm=FakeChat(model="own-model"))
        self.closed: list[str] = []
        self.failure: Exception | None = None
        self.made: dict[str, Any] = {}
        self.host = Runtime(Config.model_validate(config))
        self.host.engines, self.host.stage = self.fakes.engines(), "ready"
        for task in ("stt", "llm", "tts"):
            self.host.states[task].name = "own"
        kinds = {"tts": FakeVoice, "llm": FakeChat, "stt": FakeTranscriber}
        names = {
            "tts": ["own", "parrot", "hibari"],
            "llm": ["own", "clever", "embedded"],
            "stt": ["own", "sharp", "moonshine"],
        }
        monkeypatch.setattr(registry, "names", lambda task: names[task])
        monkeypatch.setattr(registry, "find", lambda task, name: self._kind(kinds[task], name))
        monkeypatch.setattr(registry, "lookup", lambda task, name: self._kind(kinds[task], name))

    def _kind(self, base: Any, called: str) -> Any:
        room = self

        class Kind(base):  # type: ignore[misc]
            name = called

            @classmethod
            def models(cls, settings: Any) -> tuple[str, ...]:
                return ("small", "large")

            @classmethod
            def load(cls, options: EngineOptions) -> Any:
                if room.failure:
                    raise room.failure
                engine = room.made[called] = cls()
                if isinstance(engine, FakeVoice):
                    engine.voices = (f"{called}-1", f"{called}-2")
                if isinstance(engine, FakeChat):
                    engine.model = options.settings.model or "small"
                return engine

            async def close(self) -> None:
                room.closed.append(called)

        return Kind

    @asynccontextmanager
    async def client(self, **flags: Any) -> AsyncIterator[Client]:
        engine_switch = EngineSwitch(self.host)
        client = Client(self.fakes, engine_selector=engine_switch, **{"extended": True, **flags})
        engine_switch.connection = client.connection
        running = asyncio.create_task(client.connection.run())
        await asyncio.sleep(0)
        try:
            yield client
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await engine_switch.close()
            await self.host.close()


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    return Room(monkeypatch)


async def answered(client: Client, text: str = "Hello") -> None:
    before = len(client.all("response.done"))
    client.send("conversation.item.create", item=user(text))
    client.send("response.create")
    await client.quiet_until("response.done", before + 1)


async def changed(client: Client, **engines: Any) -> dict[str, Any]:
    before = len(client.all("chinwag.engines.updated"))
    client.send("chinwag.engines.update", engines=engines)
    return (await client.quiet_until("chinwag.engines.updated", before + 1))["engines"]  # type: ignore[no-any-return]


async def test_a_voice_is_changed_and_the_conversation_goes_on(room: Room) -> None:
    async with room.client() as client:
        await answered(client)
        engines = await changed(client, tts={"engine": "parrot", "voice": "parrot-2"})
        assert engines["tts"] == {
            "engine": "parrot", "model": "", "voice": "parrot-2", "voices": ["parrot-1", "parrot-2"], "languages": {},
        }  # fmt: skip
        updating = client.all("chinwag.engines.updating")
        assert {(event["task"], event["engine"]) for event in updating} == {("tts", "parrot")}
        session = client.all("session.updated")[-1]["session"]
        assert session["audio"]["output"]["voice"] == "parrot-2"
        await answered(client, "And now?")
        assert room.made["parrot"].styles[-1] == ("parrot-2", "en")
        first, answer, second = (message["content"] for message in room.fakes.llm.prompts[-1][1:])
        assert (first, second) == ("Hello", "And now?")
        assert FakeChat().answer.startswith(answer), "what was heard of it"


async def test_a_model_is_changed_and_told(room: Room) -> None:
    async with room.client() as client:
        engines = await changed(client, llm={"engine": "clever", "model": "large"}, stt={"engine": "sharp"})
        assert (engines["llm"], engines["stt"]) == (
            {"engine": "clever", "model": "large"}, {"engine": "sharp", "model": ""},
        )  # fmt: skip
        session = client.all("session.updated")[-1]["session"]
        assert session["model"] == "large"
        assert session["audio"]["input"]["transcription"]["model"] == "sharp"
        await answered(client)
        assert room.made["clever"].prompts
        assert not room.fakes.llm.prompts
        client.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "two"}}})
        assert client.all("session.updated")[-1]["session"]["model"] == "large", "a later update keeps it"


async def test_a_voice_of_ones_own_choice_stays_when_the_model_changes(room: Room) -> None:
    async with room.client() as client:
        client.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "two"}}})
        engines = await changed(client, llm={"engine": "clever"})
        assert engines["tts"]["voice"] == "two"
        await answered(client)
        assert room.fakes.tts.styles[-1][0] == "two"


async def test_an_engine_that_was_left_is_let_go_and_closed_after_a_while(room: Room) -> None:
    async with room.client() as client:
        await changed(client, tts={"engine": "parrot"})
        await changed(client, tts={"engine": "hibari"})
        await asyncio.sleep(CLOSE_AFTER_S + 5)
        assert room.closed == ["parrot"]
    assert room.closed == ["parrot", "hibari"]


async def test_a_change_that_fails_leaves_all_as_it_was_and_says_what_to_do(room: Room) -> None:
    room.failure = EngineError("The server is not running.", "Start it: parrot serve.", "parrot")
    async with room.client() as client:
        client.send("chinwag.engines.update", engines={"tts": {"engine": "parrot"}, "llm": {"engine": "clever"}})
        error = (await client.quiet_until("error"))["error"]
        assert error["code"] == "engine_not_changed"
        assert error["message"] == "The server is not running. Start it: parrot serve."
        assert error["event_id"] == "mine_1"
        assert error["offer"] == {"label": "Speak with hibari instead", "engines": {"tts": {"engine": "hibari"}}}
        await answered(client)
        assert room.fakes.tts.spoken
        room.failure = None
        await changed(client, **error["offer"]["engines"])
        await answered(client)
        assert room.made["hibari"].spoken


async def test_when_the_model_dies_in_the_middle_the_other_is_offered(room: Room) -> None:
    async with room.client() as client:
        await changed(client, llm={"engine": "clever"})
        room.made["clever"].failure = EngineError("The server is gone.", "Start it again.", "clever")
        await answered(client)
        error = client.all("error")[-1]["error"]
        assert error["message"] == "The server is gone. Start it again."
        assert error["offer"] == {"label": "Use the embedded model instead", "engines": {"llm": {"engine": "embedded"}}}
        await changed(client, **error["offer"]["engines"])
        await answered(client, "Are you there?")
        assert client.all("response.done")[-1]["response"]["status"] == "completed"
        assert room.made["embedded"].prompts[-1][-1]["content"] == "Hello Are you there?", "nothing is forgotten"


async def test_when_the_ear_fails_another_is_offered(room: Room) -> None:
    async with room.client() as client:
        await changed(client, stt={"engine": "sharp"})
        room.made["sharp"].failure = EngineError("The ear is gone.", "Start it again.", "sharp")
        await client.play(loud(1.0))
        error = (await client.quiet_until("error"))["error"]
        assert (error["code"], error["offer"]["engines"]) == ("hearing_failed", {"stt": {"engine": "moonshine"}})
        assert "The ear is gone. Start it again." in error["message"]


async def test_a_client_of_the_plain_protocol_is_offered_nothing(room: Room) -> None:
    async with room.client(extended=False) as client:
        room.fakes.llm.failure = EngineError("The server is gone.", "Start it again.", "own")
        await answered(client)
        assert "offer" not in client.all("error")[-1]["error"]


async def test_the_last_change_that_is_asked_for_counts(room: Room) -> None:
    async with room.client() as client:
        client.send("chinwag.engines.update", engines={"tts": {"engine": "parrot"}})
        client.send("chinwag.engines.update", engines={"tts": {"engine": "hibari"}})
        updated = await client.quiet_until("chinwag.engines.updated")
        assert updated["engines"]["tts"]["engine"] == "hibari"
        error = client.all("error")[-1]["error"]
        assert (error["code"], error["event_id"]) == ("superseded", "mine_1")
        assert len(client.all("chinwag.engines.updated")) == 1


REFUSED: dict[str, tuple[Any, str, str]] = {
    "nothing": (None, "engines", "must name at least one"),
    "no table": ({"tts": "parrot"}, "engines.tts", "must be an object"),
    "another task": ({"vad": {"engine": "x"}}, "engines.vad", "There are: llm, stt, tts."),
    "an unknown engine": ({"tts": {"engine": "x"}}, "engines.tts.engine", "There are: hibari, own, parrot."),
    "no string": ({"tts": {"engine": 3}}, "engines.tts.engine", "must be a string"),
    "an address": ({"llm": {"base_url": "http://10.0.0.1"}}, "engines.llm.base_url", "Unknown parameter"),
    "a voice of a model": ({"llm": {"voice": "x"}}, "engines.llm.voice", "Unknown parameter"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_asked_is_refused(room: Room, name: str) -> None:
    wanted, param, words = REFUSED[name]
    async with room.client() as client:
        error = client.refused("chinwag.engines.update", engines=wanted)
        assert error["param"] == param
        assert words in error["message"]


async def test_a_path_or_an_unknown_model_is_not_loaded(room: Room) -> None:
    async with room.client() as client:
        client.send("chinwag.engines.update", engines={"llm": {"engine": "clever", "model": "/etc/passwd.gguf"}})
        error = (await client.quiet_until("error"))["error"]
        assert "offers no model /etc/passwd.gguf. There are: large, small." in error["message"]
        assert room.made == {}


async def test_a_voice_that_the_engine_has_not_changes_nothing(room: Room) -> None:
    async with room.client() as client:
        client.send("chinwag.engines.update", engines={"tts": {"engine": "parrot", "voice": "nobody"}})
        error = (await client.quiet_until("error"))["error"]
        assert (error["param"], error["code"]) == ("session.audio.output.voice", "invalid_value")
        await answered(client)
        assert room.fakes.tts.spoken


async def test_who_may_not_change_is_told() -> None:
    client = Client(Fakes(), extended=True)
    error = client.refused("chinwag.engines.update", engines={"tts": {"engine": "hibari"}})
    assert error["code"] == "unsupported_event"


async def listed(room: Room, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(room.host))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get("/api/engines", headers=headers)


async def test_the_page_is_told_what_there_is_to_choose_from(room: Room) -> None:
    lease = await room.host.pool.lease("tts", room.host.settings_for("tts", "parrot"))
    answer = (await listed(room)).json()
    lease.release()
    await room.host.close()
    engines = {(engine["task"], engine["name"]): engine for engine in answer["engines"]}
    assert answer["switching"] is True
    assert {task for task, _ in engines} == {"stt", "llm", "tts"}
    assert engines["tts", "parrot"]["voices"] == {"": ["parrot-1", "parrot-2"]}
    assert engines["tts", "hibari"]["voices"] is None, "it is not loaded"
    assert [name for (task, name), engine in engines.items() if engine["chosen"] and task == "llm"] == ["own"]
    assert engines["llm", "clever"]["models"][1] == {"name": "large", "size": 0, "here": True}


async def test_the_list_is_behind_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(monkeypatch, server={"api_keys": ["0123456789abcdef"]})
    assert (await listed(room)).status_code == 401
    key = {"Authorization": "Bearer 0123456789abcdef"}
    assert (await listed(room, **key)).status_code == 200
    assert (await listed(room, **key, Origin="http://evil.example")).status_code == 403


def test_who_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = HTTPConnection({"type": "http", "headers": [], "chinwag.opening": {}})
    key = HTTPConnection({"type": "http", "headers": []})
    host = Runtime(Config())
    host.engines = Fakes().engines()
    assert engine_switch(host, key) is not None
    assert engine_switch(host, secret) is None, "who has no key loads nothing"
    host.config.server.switching = False
    assert engine_switch(host, key) is None


async def test_two_clients_share_what_is_loaded(room: Room) -> None:
    async with room.client() as one, room.client() as other:
        await changed(one, tts={"engine": "parrot"})
        first = room.made["parrot"]
        await changed(other, tts={"engine": "parrot"})
        assert room.made["parrot"] is first
        json.dumps([one.told, other.told])
        await one.play(loud(0.5))
        await one.play(silence(0.5, WIRE_RATE))
