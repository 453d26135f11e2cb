"""`chinwag.session.update`: taken whole or not at all, told as it is, and in force from then on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from wire import LONG, Client, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import FakeChat, Fakes, FakeTurnJudge, FakeVoice, loud
from chinwag.errors import Refused
from chinwag.listening.endpointing.policy import PATIENCE, Endpointer
from chinwag.listening.turn import ListenerSettings
from chinwag.realtime.extensions import AssistantProfile
from chinwag.speech.synthesis import Style

pytestmark = pytest.mark.unit

PLAIN = {"assistant": "plain", "language": "auto", "interruption": "words", "patience": 0.0}


def assistants(name: str) -> AssistantProfile:
    """The server's own, a patient one who speaks German, and one with a greeting."""
    plain = SessionSettings(instructions="Be brief.")
    match name:
        case "plain":
            return AssistantProfile(plain)
        case "patient":
            hearing = ListenerSettings(endpointer=Endpointer(0.8), language="de")
            settings = replace(plain, instructions="Take your time.", listening=hearing, style=Style("two", 0.9))
            return AssistantProfile(settings, frozenset({"language", "patience", "voice", "speed"}))
        case "greeter":
            return AssistantProfile(replace(plain, instructions="Be merry.", greeting="Well met!"))
    raise Refused("invalid_value", f"There is no assistant {name!r}.", "There are: plain.", "session.assistant")


@asynccontextmanager
async def chosen(fakes: Fakes | None = None, **flags: Any) -> AsyncIterator[Client]:
    async with connected(fakes, assistants=assistants, extended=True, **flags) as client:
        yield client


def update(client: Client, **session: Any) -> dict[str, Any]:
    """Sent and taken; what is told of it."""
    before = len(client.all("chinwag.session.updated"))
    client.send("chinwag.session.update", session=session)
    told = client.all("chinwag.session.updated")
    assert len(told) == before + 1, client.told[-1]
    now: dict[str, Any] = told[-1]["session"]
    return now


def detection(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.all("session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
    return found


def unsure() -> Fakes:
    """Nothing tells whether they have finished, so that patience counts."""
    return Fakes(turn=FakeTurnJudge(0.5), llm=FakeChat(answer="Yes, that is so.", sentence_end=lambda words: 0.05))


async def wait_ms(client: Client) -> float:
    """The silence that ended one more turn."""
    ended = len(client.all("input_audio_buffer.speech_stopped"))
    await client.play(loud(0.5))
    await client.quiet_until("input_audio_buffer.speech_stopped", ended + 1)
    found: float = client.all("chinwag.pause")[-1]["wait_ms"]
    await client.quiet_until("response.done", len(client.all("response.done")) + 1)
    await client.play(silence(2.0, WIRE_RATE))
    return found


async def test_it_tells_all_of_them_as_they_are() -> None:
    async with chosen() as client:
        assert update(client) == PLAIN
        assert update(client, patience=0.25) == {**PLAIN, "patience": 0.25}
        assert update(client, interruption="off", language="de") == {
            **PLAIN, "patience": 0.25, "interruption": "off", "language": "de"
        }  # fmt: skip
        shown = client.all("session.updated")[-1]["session"]["audio"]["input"]
        assert shown["transcription"]["language"] == "de"
        assert shown["turn_detection"]["interrupt_response"] is False
        assert shown["turn_detection"]["eagerness"] == "auto", "the nearest name"
        assert update(client) == {**PLAIN, "patience": 0.25, "interruption": "off", "language": "de"}


@pytest.mark.parametrize("patience", [-1, -0.5, 0.3, 1])
async def test_patience_changes_the_wait_of_the_next_silence(patience: float) -> None:
    expected = Endpointer(patience)
    async with chosen(unsure()) as client:
        await client.play(loud(0.5))
        update(client, patience=patience)  # while they speak
        await client.quiet_until("input_audio_buffer.speech_stopped")
        judged = client.all("chinwag.pause")[-1]
        assert judged["wait_ms"] == pytest.approx(expected.wait_s(judged["finished"]) * 1000, abs=2)
        assert judged["wait_ms"] != pytest.approx(Endpointer().wait_s(judged["finished"]) * 1000, abs=10)


async def test_each_eagerness_of_the_protocol_is_a_point_of_the_same_scale() -> None:
    async with chosen(unsure()) as client:
        for eagerness, patience in PATIENCE.items():
            table = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}}}
            client.send("session.update", session={"type": "realtime", **table})
            assert update(client)["patience"] == patience
            assert update(client, patience=patience)["patience"] == patience
            assert detection(client)["eagerness"] == eagerness


async def test_patience_outlives_push_to_talk_and_a_fixed_silence() -> None:
    async with chosen() as client:
        update(client, patience=0.8)
        for table in (None, {"type": "server_vad", "silence_duration_ms": 700}):
            client.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": table}}})
            assert update(client)["patience"] == 0.8
        hearing = client.connection.session.settings.listening
        assert hearing.endpointer.wait_s(0.5) == 0.7, "a fixed silence is fixed"
        semantic = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
        client.send("session.update", session={"type": "realtime", **semantic})
        assert detection(client)["eagerness"] == "low"
        assert client.connection.session.settings.listening.endpointer == Endpointer(0.8)


async def test_interruption_acts_on_the_answer_that_is_being_given() -> None:
    for mode, status in (("off", "completed"), ("words", "cancelled"), ("speech", "cancelled")):
        async with chosen(Fakes(llm=FakeChat(answer=LONG))) as client:
            await client.play(loud(1.0))
            await client.quiet_until("response.output_audio.delta", 3)
            await client.play(silence(2.0, WIRE_RATE))
            assert update(client, interruption=mode)["interruption"] == mode
            await client.play(loud(1.5))
            done = await client.quiet_until("response.done")
            assert done["response"]["status"] == status, mode
            assert bool(client.all("chinwag.duck")) == (mode == "words"), "only then it is doubted what it was"


async def test_a_client_may_still_say_by_the_protocol_that_nothing_interrupts() -> None:
    async with chosen() as client:
        update(client, interruption="speech")
        for flag, mode in ((False, "off"), (True, "speech")):
            table = {"type": "semantic_vad", "interrupt_response": flag}
            client.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": table}}})
            assert update(client)["interruption"] == mode
        update(client, interruption="off")
        client.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        assert update(client)["interruption"] == "off"


async def test_another_assistant_answers_next_and_remembers_what_was_said() -> None:
    fakes = Fakes()
    async with chosen(fakes) as client:
        await client.play(loud(1.0))
        await client.quiet_until("response.done")
        now = update(client, assistant="patient")
        assert now == {"assistant": "patient", "language": "de", "interruption": "words", "patience": 0.8}
        session = client.all("session.updated")[-1]["session"]
        assert session["instructions"] == "Take your time."
        assert session["audio"]["output"] == {**session["audio"]["output"], "voice": "two", "speed": 0.9}
        await client.play(loud(1.0))
        await client.quiet_until("response.done", 2)
        asked = fakes.llm.prompts[-1]
        assert asked[0]["content"].startswith("Take your time.\n")
        assert "German" in asked[0]["content"]
        assert len(asked) == 4, "the first question and its answer are there"
        assert fakes.tts.styles[-1] == ("two", "de")
        assert update(client, assistant="plain") == PLAIN, "nothing of it is left"
        assert client.all("session.updated")[-1]["session"]["audio"]["output"]["voice"] == "one"
        assert client.all("session.updated")[-1]["session"]["audio"]["output"]["speed"] == 1.0


async def test_what_the_client_has_set_stays_where_an_assistant_leaves_it_open() -> None:
    async with chosen() as client:
        client.send(
            "session.update",
            session={"type": "realtime", "audio": {"output": {"voice": "two", "speed": 1.2}}},
        )
        update(client, language="fr", patience=-0.4)
        now = update(client, assistant="greeter")
        assert now == {**PLAIN, "assistant": "greeter", "language": "fr", "patience": -0.4}
        output = client.all("session.updated")[-1]["session"]["audio"]["output"]
        assert (output["voice"], output["speed"]) == ("two", 1.2)
        now = update(client, assistant="patient", language="it")
        assert (now["language"], now["patience"]) == ("it", 0.8), "what is named beside it wins"


async def test_an_assistant_greets_where_nothing_was_said_yet() -> None:
    async with chosen() as client:
        update(client, assistant="greeter")
        done = await client.quiet_until("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "Well met!"
        update(client, assistant="plain")
        update(client, assistant="greeter")
        await client.play(silence(1.0, WIRE_RATE))
        assert len(client.all("response.done")) == 1
    async with chosen() as client:
        client.send("conversation.item.create", item=user("Hello."))
        update(client, assistant="greeter")
        await client.play(silence(1.0, WIRE_RATE))
        assert not client.all("response.created")


@pytest.mark.parametrize(
    ("session", "param", "says"),
    [
        ({"patience": 1.01}, "patience", "from -1 (brisk) to 1 (very patient)"),
        ({"patience": "slow"}, "patience", "a number from -1"),
        ({"patience": True}, "patience", "a number from -1"),
        ({"patience": None}, "patience", "a number from -1"),
        ({"interruption": "never"}, "interruption", "'off', 'words' or 'speech'"),
        ({"interruption": ["off"]}, "interruption", "'off', 'words' or 'speech'"),
        ({"language": "in German, please"}, "language", "'auto', or a language's tag"),
        ({"language": 7}, "language", "'auto', or a language's tag"),
        ({"language": "fr"}, "language", "speaks English, German, not French"),
        ({"assistant": "nobody"}, "assistant", "There is no assistant 'nobody'. There are: plain."),
        ({"assistant": 3}, "assistant", "GET /api/assistants"),
        ({"patienc": 0.5}, "patienc", "Did you mean patience?"),
        ({"volume": 11}, "volume", "There are: assistant, language, interruption, patience."),
    ],
)
async def test_what_cannot_be_is_refused_by_name_and_nothing_of_it_is_taken(
    session: dict[str, Any], param: str, says: str
) -> None:
    fakes = Fakes(tts=FakeVoice(languages={"en": ("one",), "de": ("two",)}))
    for asked in (
        session,
        {"assistant": "patient", "interruption": "off", "patience": 0.9, "language": "de"} | session,
    ):
        async with connected(fakes, assistants=assistants, extended=True) as client:
            error = client.refused("chinwag.session.update", session=asked)
            assert error["param"] == f"session.{param}", error
            assert says in error["message"]
            assert not client.all("session.updated")
            assert update(client) == PLAIN
            assert client.connection.session.settings.instructions == "Be brief."


async def test_a_message_without_its_object_is_refused() -> None:
    async with chosen() as client:
        for fields in ({}, {"session": None}, {"session": [1]}):
            assert client.refused("chinwag.session.update", **fields)["param"] == "session"
        assert client.raw(json.dumps({"type": "chinwag.conversation.session.updat", "session": {}}))["param"] == "type"
        assert update(client) == PLAIN


async def test_a_server_without_assistants_says_so() -> None:
    async with connected(extended=True) as client:
        assert update(client, assistant="plain") == PLAIN
        assert "no assistants" in client.refused("chinwag.session.update", session={"assistant": "x"})["message"]
