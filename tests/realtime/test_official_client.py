"""The official `openai` Python client holds spoken conversations with the real engines over a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from official import calling, loudness
from serving import Server, serving
from speech import room, speech

from chinwag.bench.metrics import words
from chinwag.config import WeightsSettings
from chinwag.engines.llm.requantize import SUFFIX
from chinwag.weights.store import Store

pytestmark = pytest.mark.realtime

STORY = "Tell me a long story about an old ship."


async def test_two_turns_are_spoken_and_the_second_knows_the_first(server: Server) -> None:
    async with calling(server.realtime) as caller:
        created = await caller.until("session.created")
        assert created.session.audio.input.turn_detection.type == "semantic_vad"
        caller.say(speech("My name is Robert, and I live in France."))
        first = await caller.until("response.done")
        assert first.response.status == "completed"
        assert {"robert", "france"} <= set(words(caller.all(TRANSCRIBED)[0].transcript))
        assert loudness(caller.sound(first.response.id)) > 0.05
        await asyncio.sleep(1.0)
        caller.say(speech("What is my name?"))
        second = await caller.until("response.done", 2)
        said = second.response.output[0].content[0].transcript
        assert "robert" in words(said), said
        assert second.response.usage.input_token_details.cached_tokens > 0, "the prompt was found in the cache"
        order = [kind for kind in caller.kinds() if kind != "response.output_audio.delta"]
        assert order[:10] == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            TRANSCRIBED,
            "response.created",
            "response.output_item.added",
        ]


TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


async def test_a_barge_in_leaves_only_what_was_heard(server: Server) -> None:
    async with calling(server.realtime) as caller:
        caller.say(speech(STORY))
        await caller.until("response.output_audio.delta", 75)
        item_id = caller.all("response.output_audio.delta")[0].item_id
        caller.say(speech("But what is the capital of France?"))
        await caller.until("input_audio_buffer.speech_started", 2)
        cut = await caller.until("response.done")
        assert (cut.response.status, cut.response.status_details.reason) == ("cancelled", "turn_detected")
        kinds = [event.type for event in caller.events]
        silent_from = [i for i, kind in enumerate(kinds) if kind == "input_audio_buffer.speech_started"][1]
        late = [e for e in caller.events[silent_from:] if e.type == "response.output_audio.delta"]
        assert not [e for e in late if e.item_id == item_id]
        sent = caller.sound(cut.response.id).seconds
        await caller.connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=1000)
        await caller.until("conversation.item.truncated")
        await caller.connection.conversation.item.retrieve(item_id=item_id)
        kept = (await caller.until("conversation.item.retrieved")).item.content[0].transcript
        told = "".join(e.delta for e in caller.all("response.output_audio_transcript.delta") if e.item_id == item_id)
        assert told.startswith(kept)
        assert len(kept) < len(told) * 1.1 / sent + 15
        answered = await caller.until("response.done", 2)
        assert answered.response.status == "completed"


async def test_text_turn_by_the_official_client(server: Server) -> None:
    async with calling(server.realtime) as caller:
        await caller.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        content: Any = [{"type": "input_text", "text": "What is the capital of France?"}]
        await caller.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await caller.connection.response.create()
        done = await caller.until("response.output_text.done")
        assert "paris" in words(done.text)
        assert not caller.all("response.output_audio.delta")


async def test_bad_input_is_answered_and_the_connection_lives(server: Server) -> None:
    async with calling(server.realtime) as caller:
        raw = caller.connection._connection
        for message in ("not json", '{"type": "nothing.known"}', '{"type": "input_audio_buffer.append", "audio": "%"}'):
            await raw.send(message)
        await raw.send('{"type": "input_audio_buffer.append", "audio": "' + "A" * 20_000_000 + '"}')
        await raw.send(b"odd")
        await caller.until("error", 5)
        codes = [event.error.code for event in caller.all("error")]
        assert codes == ["invalid_json", "invalid_value", "invalid_value", "message_too_large", "invalid_value"]
        caller.say(speech("What is the capital of France?"))
        assert (await caller.until("response.done")).response.status == "completed"


async def test_two_people_talk_at_once(server: Server) -> None:
    async with calling(server.realtime) as one, calling(server.realtime) as two:
        one.say(speech("What is the capital of France?"))
        two.say(speech("What is the capital of Italy?"))
        answers = [await caller.until("response.done") for caller in (one, two)]
        said = [answer.response.output[0].content[0].transcript.lower() for answer in answers]
        assert "paris" in said[0]
        assert "rome" in said[1]


async def test_a_client_that_vanishes_frees_its_place(server: Server) -> None:
    async with calling(server.realtime) as caller:
        caller.say(speech(STORY))
        await caller.until("response.output_audio.delta")
        assert server.status()["sessions"] >= 1
        caller.connection._connection.transport.abort()
        for _ in range(100):
            if server.status()["sessions"] == 0:
                return
            await asyncio.sleep(0.1)
    raise AssertionError(server.status())


LLAMA = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), 2048
params.hostnames = ["127.0.0.1"]
server = xllamacpp.Server(params)
print("up", flush=True)
time.sleep(600)
"""


def llama_server(port: int) -> subprocess.Popen[str]:
    folder = Store(WeightsSettings()).folder("qwen2.5-coder-0.5b")
    model = next(file for file in Path(folder).glob("*.gguf") if not file.name.endswith(SUFFIX))
    process = subprocess.Popen(
        [sys.executable, "-c", LLAMA, str(model), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().strip() == "up"
    return process


def end(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    process.wait()
    assert process.stdout
    process.stdout.close()


async def test_a_model_killed_mid_reply_leaves_a_living_session(free_port: int) -> None:
    llama = llama_server(free_port)
    try:
        with serving("--llm", "openai", "--llm-base-url", f"http://127.0.0.1:{free_port}/v1") as server:
            await asyncio.to_thread(server.wait, "ready")
            async with calling(server.realtime) as caller:
                caller.say(speech(STORY))
                await caller.until("response.output_audio.delta", 5)
                await asyncio.to_thread(end, llama)
                done = await caller.until("response.done")
                assert done.response.status == "failed", "the story was cut in the middle"
                assert done.response.status_details.error.code == "response_failed"
                assert caller.all("error")
                caller.say(room(1.0))
                caller.say(speech("What is the capital of France?"))
                refused = await caller.until("response.done", 2)
                assert refused.response.status == "failed", "and now it cannot be reached"
                llama = await asyncio.to_thread(llama_server, free_port)
                caller.say(room(1.0))
                caller.say(speech("What is the capital of France?"))
                answered = await caller.until("response.done", 3)
                assert answered.response.status == "completed"
                assert "paris" in words(answered.response.output[0].content[0].transcript)
    finally:
        if llama.poll() is None:
            end(llama)
