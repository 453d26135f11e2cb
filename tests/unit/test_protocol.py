"""The wire, sans-IO: what a client sends, and what it is told, checked against the `openai` package's types."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from openai.types.realtime import RealtimeSessionCreateResponse
from wire import LONG, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import FakeChat, Fakes, loud
from chinwag.realtime.client_events import CLIENT_EVENTS

pytestmark = pytest.mark.unit

PAUSE = {"type", "event_id", "item_id", "speech_end_ms", "silence_ms", "finished", "wait_ms", "looks"}


async def test_a_spoken_turn_is_told_in_the_official_order() -> None:
    async with connected() as client:
        await client.play(loud(1.0))
        done = await client.quiet_until("response.done")
        assert client.kinds() == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert len({event["event_id"] for event in client.told}) == len(client.told)
        user_id = client.all("input_audio_buffer.speech_started")[0]["item_id"]
        assert {event["item_id"] for event in client.told if "input_audio" in event["type"]} == {user_id}
        added, answered = client.all("conversation.item.added")
        assert added["item"]["id"] == user_id
        assert added["item"]["content"][0]["type"] == "input_audio"
        assert answered["previous_item_id"] == user_id
        item_id = answered["item"]["id"]
        response_id = client.all("response.created")[0]["response"]["id"]
        parts = [event for event in client.told if "content_index" in event and "response_id" in event]
        assert {(e["response_id"], e["item_id"], e["output_index"]) for e in parts} == {(response_id, item_id, 0)}
        response = done["response"]
        assert (response["id"], response["status"]) == (response_id, "completed")
        assert response["output"][0]["content"][0]["transcript"] == FakeChat().answer
        assert response["usage"]["output_tokens"] == 8
        said = "".join(event["delta"] for event in client.all("response.output_audio_transcript.delta"))
        assert said == client.all("response.output_audio_transcript.done")[0]["transcript"] == FakeChat().answer
        sound = b"".join(base64.b64decode(event["delta"]) for event in client.all("response.output_audio.delta"))
        assert np.abs(np.frombuffer(sound, "<i2")).max() > 10_000


async def test_only_who_asks_gets_events_of_our_own() -> None:
    for extended, binary in ((False, False), (True, False), (False, True)):
        ours = extended or binary
        async with connected(extended=extended, binary=binary) as client:
            await client.play(loud(1.0), binary=binary)
            await client.quiet_until("response.done")
            assert bool(client.all("chinwag.transcript.partial")) is ours
            assert len(client.all("chinwag.trace")) == ours
            assert bool(client.all("chinwag.pause")) is ours
            assert bool(client.bytes) is binary
            assert bool(client.all("response.output_audio.delta")) is not binary
            if ours:
                speech = client.all("input_audio_buffer.speech_started")[0]["item_id"]
                pause = client.all("chinwag.pause")[-1]
                assert pause.keys() == PAUSE
                assert pause["item_id"] == speech
                assert pause["speech_end_ms"] == pytest.approx(1000, abs=10)
                assert 0.9 < pause["finished"] < 1
                assert pause["looks"] == {"sense": 0.97, "sure": 1.0}
                assert 50 <= pause["silence_ms"] <= pause["wait_ms"] < 200
                stages = client.all("chinwag.trace")[0]["stages_ms"]
                assert set(stages) == {
                    "last_words",
                    "transcript_final",
                    "draft_started",
                    "turn_decided",
                    "first_token",
                    "first_clause",
                    "first_audio",
                }
                assert 50 <= stages["transcript_final"] <= stages["turn_decided"] <= stages["first_audio"] < 500


@pytest.mark.parametrize("extended", [False, True])
async def test_an_interruption_is_told_silence_first(extended: bool) -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG)), extended=extended) as client:
        await client.play(loud(0.6))
        await client.quiet_until("response.output_audio.delta", 50)
        reply = client.all("response.output_audio.delta")[0]
        item_id = reply["item_id"]
        before = len(client.told)
        await client.play(loud(1.0))
        after = [event["type"] for event in client.told[before:] if not event["type"].startswith("response.output_")]
        assert after[:2] == (["chinwag.duck"] if extended else []) + after[extended:2]
        assert after[extended] == "input_audio_buffer.speech_started", "once it is known to be an interruption"
        assert after[-1] != "response.output_audio.delta"
        ducked = client.all("chinwag.duck")
        assert [(e["response_id"], e["item_id"]) for e in ducked] == [(reply["response_id"], item_id)] * extended
        assert not client.all("chinwag.resume")
        place = next(i for i, event in enumerate(client.told) if i > before and "speech_started" in event["type"])
        assert not [event for event in client.told[place:] if event["type"] == "response.output_audio.delta"]
        done = client.all("response.done")[0]["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
        assert done["output"][0]["status"] == "incomplete"
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
        truncated = client.all("conversation.item.truncated")[0]
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, 500)
        client.send("conversation.item.retrieve", item_id=item_id)
        item = client.all("conversation.item.retrieved")[0]["item"]
        assert item["content"][0]["transcript"] == "This is"
        await client.quiet_until("response.done", 2)


async def test_a_backchannel_is_told_only_to_who_asked_and_nothing_else_comes_of_it() -> None:
    for extended in (False, True):
        fakes = Fakes(llm=FakeChat(answer=LONG, sentence_end=lambda words: 0.97 if words.endswith("word2") else 0.0))
        async with connected(fakes, extended=extended) as client:
            await client.play(loud(0.6))
            await client.quiet_until("response.output_audio.delta", 60)
            fakes.stt.words = ["Mm-hmm."] * 9
            before = len(client.told)
            await client.play(loud(0.4))
            await client.play(silence(1.0, WIRE_RATE))
            after = {event["type"] for event in client.told[before:] if not event["type"].startswith("response.")}
            assert after - {"chinwag.pause"} == ({"chinwag.duck", "chinwag.resume"} if extended else set())
            assert len(client.all("chinwag.duck")) == len(client.all("chinwag.resume")) == extended
            assert len(client.all("input_audio_buffer.speech_started")) == 1
            assert (await client.quiet_until("response.done"))["response"]["status"] == "completed"


async def test_who_goes_on_before_the_answer_is_heard_has_their_item_taken_back() -> None:
    async with connected(Fakes(llm=FakeChat(first_token_s=1.0))) as client:
        await client.play(loud(0.6))
        await client.quiet_until("response.created")
        before = len(client.told)
        await client.play(loud(0.6))
        kinds = [event["type"] for event in client.told[before:]]
        assert kinds == ["input_audio_buffer.speech_started", "response.done", "conversation.item.deleted"]
        first, second = (event["item_id"] for event in client.all("input_audio_buffer.speech_started"))
        assert client.all("conversation.item.deleted")[0]["item_id"] == first
        assert client.refused("conversation.item.retrieve", item_id=first)["code"] == "item_not_found"
        await client.quiet_until("response.done", 2)
        told = client.all("conversation.item.input_audio_transcription.completed")
        assert [event["item_id"] for event in told] == [first, second]
        assert told[1]["transcript"] == "word0 word1 word2 word3 word4 word5"


async def test_a_detector_may_be_chosen_for_comparisons() -> None:
    async with connected(extended=True) as client:

        def detector() -> str:
            return client.connection.session.settings.listening.detector

        client.send("chinwag.detector", detector="ear")
        assert detector() == "ear"
        client.send("session.update", session={"instructions": "Be kind."})
        assert detector() == "ear", "an update leaves it as it is"
        await client.play(loud(0.6))
        await client.quiet_until("response.created")
        assert client.all("chinwag.pause")[-1]["wait_ms"] == 200
        assert client.refused("chinwag.detector", detector="nose")["param"] == "detector"
        client.send("chinwag.detector", detector="all")
        assert detector() == "all"
    fakes = Fakes()
    fakes.turn.probability = 0.4
    async with connected(fakes, extended=True) as client:
        client.send("chinwag.detector", detector="ear")
        await client.play(loud(0.6))
        await client.play(silence(2.9, WIRE_RATE))
        assert not client.all("response.created")
        await client.play(silence(0.3, WIRE_RATE))
        assert client.all("response.created")


async def test_after_a_long_silence_the_server_speaks_and_says_why() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    async with connected() as client:
        client.send("session.update", session={"audio": {"input": {"turn_detection": detection}}})
        assert client.connection.session.settings.idle_s == 5.0
        told = client.all("session.updated")[0]["session"]["audio"]["input"]["turn_detection"]
        assert told.items() > {**detection, "silence_duration_ms": 500, "create_response": True}.items()
        await client.play(loud(0.6))
        await client.quiet_until("response.created", 2)
        told = client.all("input_audio_buffer.timeout_triggered")
        assert len(told) == 1
        assert told[0]["audio_end_ms"] - told[0]["audio_start_ms"] == 5000
        for wrong in (4999, 30_001):
            error = client.refused(
                "session.update",
                session={"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": wrong}}}},
            )
            assert error["param"] == "session.audio.input.turn_detection.idle_timeout_ms"


async def test_playback_reports_decide_what_was_heard() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG)), extended=True) as client:
        await client.play(loud(0.6))
        await client.quiet_until("response.output_audio.delta", 90)
        item_id = client.all("response.output_audio.delta")[0]["item_id"]
        await client.play(loud(0.4))
        client.send("chinwag.playback", item_id=item_id, played_ms=500)
        assert client.connection.session.history.prompt("")[1]["content"] == "This is"
        assert client.refused("chinwag.playback", item_id=5)["message"]
        await client.quiet_until("response.done", 2)


async def test_text_in_text_out() -> None:
    async with connected() as client:
        client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        assert client.all("session.updated")[0]["session"]["output_modalities"] == ["text"]
        client.send("conversation.item.create", item=user("Hello", id="item_of_mine"))
        client.send("response.create", response={"metadata": {"for": "me"}, "instructions": "Be odd."})
        done = await client.quiet_until("response.done")
        assert done["response"]["metadata"] == {"for": "me"}
        assert client.kinds()[2:] == [
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert client.all("conversation.item.added")[1]["previous_item_id"] == "item_of_mine"
        assert client.all("response.output_text.done")[0]["text"] == FakeChat().answer


async def test_push_to_talk() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        detection = {"audio": {"input": {"turn_detection": None}}}
        client.send("session.update", session={"type": "realtime", **detection})
        assert client.all("session.updated")[0]["session"]["audio"]["input"]["turn_detection"] is None
        await client.play(loud(0.5))
        client.send("input_audio_buffer.clear")
        await client.play(loud(1.0))
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        await client.quiet_until("response.done")
        kinds = client.kinds()
        assert kinds[2:6] == [
            "input_audio_buffer.cleared",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert "input_audio_buffer.speech_started" not in kinds
        assert fakes.llm.prompts[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_push_to_talk_in_one_burst() -> None:
    """The next messages need not wait for an answer to the session.update."""
    fakes = Fakes()
    async with connected(fakes) as client:
        await client.play(silence(1.0, WIRE_RATE))
        detection = {"audio": {"input": {"turn_detection": None}}}
        client.send("session.update", session={"type": "realtime", **detection})
        error = client.refused("input_audio_buffer.commit")
        assert error["code"] == "input_audio_buffer_commit_empty"  # what came before it does not count
        sound = base64.b64encode(loud(1.0).to_pcm16()).decode()
        client.send("input_audio_buffer.append", audio=sound)
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        await client.quiet_until("response.done")
        assert len(client.all("error")) == 1
        assert fakes.llm.prompts[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_a_switch_in_the_middle_of_speech_forgets_it() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        await client.play(loud(1.0))
        begun = client.all("input_audio_buffer.speech_started")[0]
        client.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await client.play(loud(0.4))
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        await client.quiet_until("response.done")
        assert client.all("input_audio_buffer.committed")[0]["item_id"] != begun["item_id"]
        assert not client.all("input_audio_buffer.speech_stopped")
        assert fakes.llm.prompts[-1][-1]["content"] == "word0 word1"
        automatic = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
        client.send("session.update", session={"type": "realtime", **automatic})
        await client.play(loud(1.0))
        await client.quiet_until("response.done", 2)
        assert len(client.all("input_audio_buffer.speech_started")) == 2


async def test_items_are_put_in_retrieved_and_deleted() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        sound = base64.b64encode(loud(1.0).to_pcm16()).decode()
        spoken = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": sound}], "id": "said"}
        system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Rhyme."}], "id": "s"}
        answer = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Yes."}],
            "id": "a",
        }
        client.send("conversation.item.create", item=spoken)
        client.send("conversation.item.create", item=system, previous_item_id="root")
        client.send("conversation.item.create", item=answer, previous_item_id="s")
        client.send("response.create")
        await client.quiet_until("response.done")
        assert fakes.llm.prompts[0][1:] == [
            {"role": "system", "content": "Rhyme."},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "word0 word1 word2 word3 word4"},
        ]
        client.send("conversation.item.retrieve", item_id="said")
        content = client.all("conversation.item.retrieved")[0]["item"]["content"][0]
        assert len(base64.b64decode(content["audio"])) == pytest.approx(48_000, abs=100)
        client.send("conversation.item.delete", item_id="said")
        assert client.all("conversation.item.deleted")[0]["item_id"] == "said"
        assert client.refused("conversation.item.retrieve", item_id="said")["code"] == "item_not_found"


async def test_cancel() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG))) as client:
        client.send("conversation.item.create", item=user("Hello"))
        client.send("response.create")
        await client.quiet_until("response.output_audio.delta")
        assert client.refused("response.create")["code"] == "conversation_already_has_active_response"
        assert client.refused("response.cancel", response_id="other")["code"] == "response_cancel_not_active"
        client.send("response.cancel")
        assert client.all("response.done")[0]["response"]["status_details"]["reason"] == "client_cancelled"
        assert client.refused("response.cancel")["code"] == "response_cancel_not_active"


async def test_a_failed_engine_is_an_error_and_a_failed_response() -> None:
    from chinwag.errors import EngineError

    fakes = Fakes(llm=FakeChat(failure=EngineError("The model is gone.", "Start it again."), fails_after=3))
    async with connected(fakes) as client:
        await client.play(loud(0.6))
        done = await client.quiet_until("response.done")
        assert done["response"]["status"] == "failed"
        error = client.all("error")[0]["error"]
        assert (error["type"], error["message"]) == ("server_error", "The model is gone. Start it again.")
        fakes.llm.failure = None
        await client.play(loud(0.6))
        assert (await client.quiet_until("response.done", 2))["response"]["status"] == "completed"


async def test_the_session_object_is_the_official_one_and_follows_updates() -> None:
    async with connected() as client:
        session = client.all("session.created")[0]["session"]
        RealtimeSessionCreateResponse.model_validate(session, strict=True)
        assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
        changes: list[tuple[dict[str, Any], Callable[[SessionSettings], bool]]] = [
            ({"instructions": "Be kind."}, lambda s: s.instructions == "Be kind."),
            ({"max_output_tokens": 7}, lambda s: s.max_tokens == 7 and s.instructions == "Be kind."),
            ({"audio": {"output": {"voice": "two", "speed": 1.2}}}, lambda s: s.style.voice == "two"),
            ({"audio": {"output": {"voice": "marin"}}}, lambda s: s.style.voice is None and s.style.speed == 1.2),
            (
                {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}}}},
                lambda s: s.listening.endpointer.fixed_s == 0.7 and s.listening.padding_s == 0.3,
            ),
            (
                {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}},
                lambda s: s.listening.endpointer.patience == 1 and s.listening.endpointer.fixed_s is None,
            ),
            (
                {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "interrupt_response": True}}}},
                lambda s: s.interruption == "words",
            ),
            (
                {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "interrupt_response": False}}}},
                lambda s: s.interruption == "off" and s.create_response,
            ),
        ]
        for number, (change, holds) in enumerate(changes):
            client.send("session.update", session=change)
            assert holds(client.connection.session.settings), change
            RealtimeSessionCreateResponse.model_validate(client.all("session.updated")[number]["session"], strict=True)


async def test_no_transcripts_for_who_turns_them_off() -> None:
    async with connected() as client:
        client.send("session.update", session={"audio": {"input": {"transcription": None}}})
        await client.play(loud(0.6))
        await client.quiet_until("response.done")
        assert not [kind for kind in client.kinds() if "transcription" in kind]


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("hello", "invalid_json"),
        ("{", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("[1]", "invalid_json"),
        ("null", "invalid_json"),
        ("{}", "missing_required_parameter"),
        ('{"type": 5}', "invalid_type"),
        ('{"type": "no.such.event"}', "invalid_value"),
    ],
)
async def test_what_is_not_an_event(data: str, code: str) -> None:
    async with connected() as client:
        assert client.raw(data)["code"] == code
        client.send("session.update", session={"instructions": "Still here."})
        assert client.all("session.updated")


async def test_a_misspelt_event_is_met_with_the_right_one() -> None:
    async with connected() as client:
        error = client.refused("input_audio_buffer.apend", audio="")
        assert "input_audio_buffer.append" in error["message"]
        assert error["param"] == "type"


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("input_audio_buffer.append", {}, "audio"),
        ("input_audio_buffer.append", {"audio": 5}, "audio"),
        ("input_audio_buffer.append", {"audio": "not base64!"}, "audio"),
        ("input_audio_buffer.append", {"audio": "AAAA"}, "audio"),
        ("session.update", {}, "session"),
        ("session.update", {"session": 5}, "session"),
        ("session.update", {"session": {"type": "opera"}}, "session.type"),
        ("session.update", {"session": {"instructions": 5}}, "session.instructions"),
        ("session.update", {"session": {"max_output_tokens": "many"}}, "session.max_output_tokens"),
        ("session.update", {"session": {"audio": {"output": {"speed": "fast"}}}}, "session.audio.output.speed"),
        ("session.update", {"session": {"audio": {"output": {"speed": 9}}}}, "session.audio.output.speed"),
        ("session.update", {"session": {"audio": {"output": {"voice": "nobody"}}}}, "session.audio.output.voice"),
        (
            "session.update",
            {"session": {"audio": {"input": {"format": {"type": "audio/opus"}}}}},
            "session.audio.input.format.type",
        ),
        (
            "session.update",
            {"session": {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 7}}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        ("conversation.item.create", {}, "item"),
        ("conversation.item.create", {"item": {"type": "mcp_call"}}, "item.type"),
        ("conversation.item.create", {"item": {"type": "message", "role": "king", "content": []}}, "item.role"),
        ("conversation.item.create", {"item": user("")}, "item.content"),
        ("conversation.item.create", {"item": user("x"), "previous_item_id": "none"}, "previous_item_id"),
        ("conversation.item.truncate", {"item_id": "x", "content_index": 0}, "audio_end_ms"),
        ("conversation.item.truncate", {"item_id": "x", "content_index": 0, "audio_end_ms": 0}, "item_id"),
        ("conversation.item.delete", {"item_id": "x"}, "item_id"),
        ("conversation.item.retrieve", {"item_id": "x"}, "item_id"),
        ("response.create", {"response": {"conversation": "other"}}, "response.conversation"),
        ("response.create", {"response": 5}, "response"),
        ("output_audio_buffer.clear", {}, "type"),
    ],
)
async def test_wrong_fields_are_named_and_nothing_is_taken(kind: str, fields: dict[str, Any], param: str) -> None:
    async with connected() as client:
        before = client.connection.session.settings
        error = client.refused(kind, **fields)
        assert error["param"] == param
        assert client.connection.session.settings == before
        assert not list(client.connection.session.history)
        await client.play(loud(0.6))
        assert (await client.quiet_until("response.done"))["response"]["status"] == "completed"


async def test_half_a_sample_is_refused_in_a_binary_frame_too() -> None:
    async with connected(binary=True) as client:
        client.connection.receive_bytes(b"abc")
        assert "odd" in client.told[-1]["error"]["message"]


async def test_a_message_too_large_is_refused_and_the_connection_lives() -> None:
    async with connected() as client:
        audio = "A" * (20 * 1024 * 1024)
        error = client.raw(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        assert error["code"] == "message_too_large"
        client.connection.receive_bytes(bytes(20 * 1024 * 1024))
        assert client.told[-1]["error"]["code"] == "message_too_large"
        client.send("input_audio_buffer.clear")
        assert client.all("input_audio_buffer.cleared")


def test_every_client_event_of_the_protocol_is_known() -> None:
    assert len(CLIENT_EVENTS) == 11
