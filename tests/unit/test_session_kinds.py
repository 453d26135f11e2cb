"""Sessions on the wire: only transcribed, every turn detection, how long they last, what is taken and refused."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest
from openai.types.realtime import RealtimeTranscriptionSessionCreateResponse
from wire import LONG, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import FakeChat, Fakes, loud
from chinwag.realtime.connection import Connection
from chinwag.realtime.session_config import Defaults

pytestmark = pytest.mark.unit

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def turning(detection: dict[str, Any] | None) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": detection}}}


# --- only transcribed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_url", [True, False])
async def test_a_transcription_session_has_words_and_no_responses(by_url: bool) -> None:
    fakes = Fakes()
    async with connected(fakes, **({"kind": "transcription"} if by_url else {})) as client:
        if not by_url:
            client.send("session.update", session={"type": "transcription"})
        shown = client.told[-1]["session"]
        RealtimeTranscriptionSessionCreateResponse.model_validate(shown, strict=True)
        assert (shown["type"], shown["object"]) == ("transcription", "realtime.transcription_session")
        assert shown.keys() == {"id", "type", "object", "audio", "include", "expires_at"}
        assert shown["audio"].keys() == {"input"}
        for turn in (1, 2):
            await client.play(loud(1.0))
            await client.quiet_until(TRANSCRIBED, turn)
            await client.play(silence(3.0, WIRE_RATE))
        assert client.kinds()[1 if by_url else 2 :][:6] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
        ]
        assert not [kind for kind in client.kinds() if kind.startswith("response")]
        assert not fakes.llm.prompts
        error = client.refused("response.create")
        assert "no responses" in error["message"]


async def test_what_was_transcribed_is_never_taken_back() -> None:
    """Who goes on speaking begins another item: the words of the first may already be written down."""
    async with connected(kind="transcription") as client:
        await client.play(loud(0.6))
        await client.quiet_until(TRANSCRIBED)
        await client.play(loud(0.6))
        await client.quiet_until(TRANSCRIBED, 2)
        assert not client.all("conversation.item.deleted")
        words = " ".join(event["transcript"] for event in client.all(TRANSCRIBED))
        assert len({event["item_id"] for event in client.all(TRANSCRIBED)}) == 2, words


async def test_a_transcription_session_is_set_up_as_openai_has_it() -> None:
    async with connected(kind="transcription") as client:
        audio = {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 700},
                "noise_reduction": {"type": "near_field"},
            }
        }
        client.send("session.update", session={"type": "transcription", "audio": audio})
        heard = client.all("session.updated")[0]["session"]["audio"]["input"]
        assert heard["format"] == {"type": "audio/pcmu"}
        assert heard["turn_detection"] == {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 700,
        }
        assert heard["noise_reduction"]["type"] == "near_field"
        client.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
        assert client.all("session.updated")[1]["session"]["type"] == "transcription", "an update keeps the type"
        for update, param in (
            ({"instructions": "Be odd."}, "session.instructions"),
            ({"audio": {"output": {"voice": "one"}}}, "session.audio.output"),
            ({"audio": {"input": {"transcription": None}}}, "session.audio.input.transcription"),
            ({"type": "opera"}, "session.type"),
        ):
            assert client.refused("session.update", session=update)["param"] == param


async def test_a_session_becomes_a_conversation_and_back() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG)), kind="transcription") as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
        await client.play(loud(0.6))
        await client.quiet_until("response.output_audio.delta")
        client.send("session.update", session={"type": "transcription"})
        assert client.all("response.done")[0]["response"]["status"] == "cancelled"
        await client.play(silence(3.0, WIRE_RATE))
        await client.play(loud(0.6))
        await client.quiet_until(TRANSCRIBED, 2)
        await client.play(silence(2.0, WIRE_RATE))
        assert len(client.all("response.created")) == 1


# --- turns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["server_vad", "semantic_vad"])
async def test_who_answers_by_themselves_is_not_answered(kind: str) -> None:
    async with connected() as client:
        client.send("session.update", session=turning({"type": kind, "create_response": False}))
        await client.play(loud(0.6))
        await client.quiet_until(TRANSCRIBED)
        await client.play(silence(2.0, WIRE_RATE))
        assert not client.all("response.created")
        client.send("response.create")
        await client.quiet_until("response.done")
        client.send("session.update", session=turning({"type": kind}))
        await client.play(silence(2.0, WIRE_RATE))
        await client.play(loud(0.6))
        await client.quiet_until("response.done", 2)


@pytest.mark.parametrize("kind", ["server_vad", "semantic_vad"])
async def test_speech_interrupts_only_where_it_may(kind: str) -> None:
    for may in (False, True):
        async with connected(Fakes(llm=FakeChat(answer=LONG))) as client:
            client.send("session.update", session=turning({"type": kind, "interrupt_response": not may}))
            await client.play(loud(0.6))
            await client.quiet_until("response.output_audio.delta", 30)
            client.send("session.update", session=turning({"type": kind, "interrupt_response": may}))
            told = client.all("session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
            assert told["interrupt_response"] is may
            await client.play(loud(1.0))
            await client.quiet_until("response.done")
            status = client.all("response.done")[0]["response"]["status"]
            assert status == ("cancelled" if may else "completed")
            await client.quiet_until("response.done", 2)


async def test_push_to_talk_begins_and_ends_in_the_middle_of_a_conversation() -> None:
    async with connected() as client:
        await client.play(loud(0.6))
        await client.quiet_until("response.done")
        client.send("session.update", session=turning(None))
        started = len(client.all("input_audio_buffer.speech_started"))
        await client.play(loud(0.6))
        await client.play(silence(3.0, WIRE_RATE))
        assert len(client.all("input_audio_buffer.speech_started")) == started, "nobody looks for turns"
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        client.send("session.update", session=turning({"type": "semantic_vad", "eagerness": "high"}))
        await client.play(silence(1.0, WIRE_RATE))
        await client.play(loud(0.6))
        await client.quiet_until("response.done", 3)


# --- details ---------------------------------------------------------------------------------------------------------


async def test_what_is_taken_and_what_is_refused() -> None:
    async with connected() as client:
        taken = {
            "tracing": "auto",
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
            "audio": {"input": {"noise_reduction": {"type": "far_field"}}},
            "include": [],
            "max_output_tokens": 4096,
        }
        client.send("session.update", session={"type": "realtime", **taken})
        shown = client.all("session.updated")[0]["session"]
        assert shown["truncation"] == taken["truncation"]
        assert shown["audio"]["input"]["noise_reduction"]["type"] == "far_field"
        assert client.connection.session.history.history_share == 0.8
        for update, param in (
            ({"truncation": "disabled"}, "session.truncation"),
            ({"truncation": {"type": "retention_ratio", "retention_ratio": 1.5}}, "session.truncation.retention_ratio"),
            ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
            ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
        ):
            assert client.refused("session.update", session=update)["param"] == param, update
            client.send("session.update", session={"instructions": "Still here."})
            assert client.all("session.updated")[-1]["session"]["truncation"] == taken["truncation"]


async def test_how_much_is_kept_once_all_does_not_fit() -> None:
    for kept, words in ((0.2, 1), (0.8, 4)):
        fakes = Fakes()
        async with connected(fakes) as client:
            history = client.connection.session.history
            history._budget = 600
            ratio = {"type": "retention_ratio", "retention_ratio": kept}
            client.send("session.update", session={"instructions": "", "truncation": ratio})
            for number in range(6):
                client.send("conversation.item.create", item=user(f"{number}" * 95, id=f"item{number}"))
            prompt = history.prompt("")
            assert len(prompt[0]["content"].split()) == words


# --- how long --------------------------------------------------------------------------------------------------------


async def test_a_session_ends_after_its_longest_time() -> None:
    told: list[Any] = []
    defaults = Defaults(SessionSettings(), max_duration_s=1800)
    connection = Connection(Fakes().engines(), defaults, told.append, longest_message=1000)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(1799)
    assert not running.done()
    assert told[0]["session"]["expires_at"] == pytest.approx(time.time() + 1800, abs=60)
    await asyncio.sleep(2)
    assert running.done()
    running.result()
    assert told[-1]["type"] == "error"
    assert told[-1]["error"]["code"] == "session_expired"
    assert "30 minutes" in told[-1]["error"]["message"]


async def test_what_comes_after_the_end_begins_nothing() -> None:
    told: list[Any] = []
    connection = Connection(
        Fakes().engines(), Defaults(SessionSettings(), max_duration_s=5.0), told.append, longest_message=10**6
    )
    await connection.run()
    connection.receive_text('{"type": "response.create"}')
    connection.receive_bytes(b"\0" * 960)
    await asyncio.sleep(1.0)
    assert told[-1]["error"]["code"] == "session_expired"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_engine_that_takes_too_long_is_no_expiry() -> None:
    """A TimeoutError from within is not told as the session's end."""
    connection = Connection(Fakes().engines(), Defaults(SessionSettings()), lambda _: None, longest_message=1000)

    async def fails() -> None:
        raise TimeoutError

    connection.session.run = fails  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await connection.run()


# --- beside the conversation -----------------------------------------------------------------------------------------


def aside(**fields: Any) -> dict[str, Any]:
    return {"conversation": "none", "output_modalities": ["text"], **fields}


async def test_a_response_beside_the_conversation_leaves_no_trace_in_it() -> None:
    fakes = Fakes(llm=FakeChat(answers=["Greeting.", "Next."]))
    async with connected(fakes) as client:
        client.send("conversation.item.create", item=user("First.", id="first"))
        wanted = aside(
            input=[{"type": "item_reference", "id": "first"}, user("Which topic?")],
            instructions="Classify.",
            metadata={"topic": "yes"},
            max_output_tokens=20,
        )
        client.send("response.create", response=wanted)
        done = (await client.quiet_until("response.done"))["response"]
        assert done["status"] == "completed"
        assert (done["conversation_id"], done["metadata"], done["max_output_tokens"]) == (None, {"topic": "yes"}, 20)
        assert done["output"][0]["content"][0]["text"] == "Greeting."
        assert fakes.llm.prompts[0] == [
            {"role": "system", "content": "Classify."},
            {"role": "user", "content": "First. Which topic?"},
        ]
        kinds = client.kinds()[3:]
        assert kinds == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        item_id = done["output"][0]["id"]
        assert client.refused("conversation.item.retrieve", item_id=item_id)["code"] == "item_not_found"
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        assert fakes.llm.prompts[1] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "First."},
        ]


async def test_beside_a_response_of_the_conversation_and_cancelled_by_its_id() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with connected(fakes) as client:
        client.send("conversation.item.create", item=user("Hello"))
        client.send("response.create", response={"metadata": {"which": "main"}})
        await client.quiet_until("response.output_audio.delta")
        client.send("response.create", response=aside(metadata={"which": "aside"}, input=[]))
        beside = (await client.quiet_until("response.created", 2))["response"]
        assert beside["metadata"] == {"which": "aside"}
        await client.quiet_until("response.output_text.delta")
        client.send("response.cancel", response_id=beside["id"])
        done = client.all("response.done")[0]["response"]
        assert (done["id"], done["status"]) == (beside["id"], "cancelled")
        assert client.refused("response.cancel", response_id=beside["id"])["code"] == "response_cancel_not_active"
        done = (await client.quiet_until("response.done", 2))["response"]
        assert (done["metadata"], done["status"]) == ({"which": "main"}, "completed")


async def test_speech_does_not_stop_what_is_beside_the_conversation() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG))) as client:
        client.send("response.create", response=aside(input=[user("Sum it up.")]))
        await client.quiet_until("response.output_text.delta")
        await client.play(loud(0.6))
        await client.quiet_until("response.done")
        ended = [event["response"] for event in client.all("response.done")]
        statuses = {response["conversation_id"]: response["status"] for response in ended}
        assert statuses[None] == "completed"


async def test_sound_may_be_the_input_of_a_response() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        sound = base64.b64encode(loud(1.0).to_pcm16()).decode()
        spoken = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": sound}]}
        client.send("response.create", response=aside(input=[spoken], instructions=""))
        await client.quiet_until("response.done")
        assert fakes.llm.prompts == [[{"role": "user", "content": "word0 word1 word2 word3 word4"}]]
        assert not client.all("conversation.item.added")


async def test_a_response_of_the_conversation_may_have_its_own_input() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        client.send("conversation.item.create", item=user("Forget this."))
        client.send("response.create", response={"input": [user("Only this.")], "output_modalities": ["text"]})
        done = (await client.quiet_until("response.done"))["response"]
        assert fakes.llm.prompts[0][1:] == [{"role": "user", "content": "Only this."}]
        client.send("conversation.item.retrieve", item_id=done["output"][0]["id"])
        assert client.all("conversation.item.retrieved"), "its answer is part of the conversation"


async def test_there_are_only_so_many_beside() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG))) as client:
        for _ in range(4):
            client.send("response.create", response=aside(input=[]))
        assert client.refused("response.create", response=aside())["code"] == "too_many_responses"
        await client.quiet_until("response.done", 4)
        client.send("response.create", response=aside())
        await client.quiet_until("response.done", 5)


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"conversation": "other"}, "response.conversation"),
        ({"input": ["text"]}, "response.input.0"),
        ({"input": [{"type": "item_reference"}]}, "response.input.0.id"),
        ({"input": [{"type": "item_reference", "id": "none_such"}]}, "response.input.0.id"),
        ({"input": [user("Fine."), {"type": "message", "role": "nobody", "content": []}]}, "response.input.1.role"),
        ({"input": [{"type": "mcp_call", "name": "f", "arguments": "{}"}]}, "response.input.0.type"),
        (
            {"input": [{"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}]},
            "response.input.0.type",
        ),
        ({"conversation": "none", "tools": [{"type": "function", "name": "f"}]}, "response.tools"),
        ({"prompt": {"id": "p"}}, "response.prompt"),
    ],
)
async def test_what_cannot_be_asked_of_a_response(response: dict[str, Any], param: str) -> None:
    async with connected() as client:
        assert client.refused("response.create", response=response)["param"] == param
        client.send("response.create")
        await client.quiet_until("response.done")
        assert client.all("response.done")[0]["response"]["metadata"] is None


async def test_metadata_of_a_refused_response_goes_nowhere() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG))) as client:
        client.send("response.create", response={"metadata": {"a": "1"}})
        client.refused("response.create", response={"metadata": {"b": "2"}})
        client.send("response.cancel")
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        assert [event["response"]["metadata"] for event in client.all("response.done")] == [{"a": "1"}, None]
