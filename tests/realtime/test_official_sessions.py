"""Push to talk, transcription, responses beside the conversation, the telephone's sound: by the official client."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from official import calling, loudness
from openai import AsyncOpenAI
from serving import Server, serving
from speech import room, speech
from websockets.exceptions import ConnectionClosedOK

from chinwag.audio import WIRE_RATE, Audio, join
from chinwag.bench.metrics import words
from chinwag.realtime.audio_format import FORMATS

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]  # starting a server counts

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
FRANCE = "What is the capital of France?"


def item(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def test_push_to_talk(server: Server) -> None:
    async with calling(server.realtime, microphone=False) as caller:
        session: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await caller.connection.session.update(session=session)
        await caller.until("session.updated")
        data = speech(FRANCE).to_pcm16()
        for at in range(0, len(data), 9600):
            await caller.connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 9600]).decode())
        await caller.connection.input_audio_buffer.commit()
        await caller.connection.response.create()
        done = await caller.until("response.done")
        assert "paris" in words(done.response.output[0].content[0].transcript)
        assert not caller.all("input_audio_buffer.speech_started")
        assert not caller.all("error")


async def test_a_transcription_session(server: Server) -> None:
    async with calling(server.realtime, intent="transcription") as caller:
        created = await caller.until("session.created")
        assert created.session.type == "transcription"
        caller.say(speech(FRANCE))
        heard = await caller.until(TRANSCRIBED)
        assert {"capital", "france"} <= set(words(heard.transcript))
        await asyncio.sleep(1)
        assert not [event for event in caller.events if event.type.startswith("response.")]
        assert not caller.all("error")


async def test_a_response_beside_a_spoken_one(server: Server) -> None:
    async with calling(server.realtime) as caller:
        caller.say(speech("Tell me a long story about an old ship."))
        first = await caller.until("response.output_audio.delta", 40)  # of one that was begun too early there are fewer
        response: Any = {
            "conversation": "none",
            "input": [item("What is the capital of Italy? Answer with one word.")],
            "instructions": "",
            "output_modalities": ["text"],
            "metadata": {"about": "Italy"},
        }
        await caller.connection.response.create(response=response)
        aside = await caller.until("response.done")
        assert aside.response.id != first.response_id, "it is done while the story is told"
        assert aside.response.metadata == {"about": "Italy"}
        assert aside.response.conversation_id is None
        assert "rome" in words(aside.response.output[0].content[0].text)
        await caller.connection.response.cancel(response_id=first.response_id)
        assert (await caller.until("response.done", 2)).response.id == first.response_id


async def test_a_turn_by_telephone(server: Server) -> None:
    """Moonshine hears 4 kHz of it, and what comes back is a voice."""
    async with calling(server.realtime, microphone=False) as caller:
        formats: Any = {
            "input": {"format": {"type": "audio/pcmu"}},
            "output": {"format": {"type": "audio/pcma"}},
        }
        await caller.connection.session.update(session={"type": "realtime", "audio": formats})
        await caller.until("session.updated")
        data = FORMATS["audio/pcmu"].encode(join([speech(FRANCE), room(2.0)]))
        for at in range(0, len(data), 160):
            await caller.connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 160]).decode())
            await asyncio.sleep(0.02)
        done = await caller.until("response.done")
        assert done.response.status == "completed"
        assert {"capital", "france"} <= set(words(caller.all(TRANSCRIBED)[0].transcript))
        said = done.response.output[0].content[0].transcript
        assert "paris" in words(said)
        deltas = caller.all("response.output_audio.delta")
        sound = FORMATS["audio/pcma"].decode_samples(b"".join(base64.b64decode(event.delta) for event in deltas), "")
        assert sound.seconds == pytest.approx(len(said) / 14, rel=0.6)
        assert loudness(Audio(sound.pcm, WIRE_RATE)) > 0.05


async def test_a_session_ends_with_a_word_and_a_clean_close() -> None:
    with serving("--llm", "embedded", env={"CHINWAG_SERVER__MAX_SESSION_MINUTES": "0.02"}) as server:
        await asyncio.to_thread(server.wait, "ready")
        base = server.realtime.removesuffix("/realtime")
        client = AsyncOpenAI(api_key="none", base_url=base.replace("ws", "http", 1), websocket_base_url=base)
        async with client, client.realtime.connect(model="chinwag") as connection:
            created: Any = await connection.recv()
            assert created.session.expires_at
            ended: Any = await connection.recv()
            assert ended.error.code == "session_expired"
            with pytest.raises(ConnectionClosedOK) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000
        assert server.status()["sessions"] == 0
