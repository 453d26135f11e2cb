"""The API family and its keys in the hands of the stock `openai` client, with the real engines."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError
from serving import Server, serving
from speech import speech
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from chinwag.audio import Audio
from chinwag.audio.codecs import StreamEncoder
from chinwag.client_sdk.client import ClientError
from chinwag.client_sdk.connect import connect as connect_client

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]  # starting a server counts

KEY = "a-key-for-this-test"
SENTENCE = "The train to the city leaves at seven in the morning."


@pytest.fixture(scope="module")
def keyed() -> Iterator[Server]:
    """A server that listens to the whole network, so it wants a key."""
    env = {"CHINWAG_SERVER__API_KEYS": KEY, "CHINWAG_SERVER__HTTPS": "off"}
    with serving("--llm", "embedded", "--host", "0.0.0.0", env=env) as running:
        running.wait("ready")
        yield running


@asynccontextmanager
async def client_of(server: Server, key: str = KEY) -> AsyncIterator[AsyncOpenAI]:
    base = server.realtime.removesuffix("/realtime")
    http = base.replace("ws", "http", 1)
    async with AsyncOpenAI(api_key=key, base_url=http, websocket_base_url=base, max_retries=0) as client:
        yield client


def file_of(sound: Audio, form: str) -> tuple[str, bytes]:
    encoder = StreamEncoder(form)
    return f"speech.{form}", encoder.push(sound) + encoder.finish()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower().replace("7", "seven"))


async def test_models_and_a_wrong_key(keyed: Server) -> None:
    async with client_of(keyed) as client:
        names = [model.id async for model in await client.models.list()]
        assert names[0] == keyed.status(KEY)["engines"]["llm"]["detail"]
        assert (await client.models.retrieve(names[0])).id == names[0]
    async with client_of(keyed, "a-key-of-somebody-else") as client:
        with pytest.raises(AuthenticationError, match="The key is wrong"):
            await client.models.list()
        with pytest.raises(InvalidStatus, match="401"):
            async with client.realtime.connect(model="chinwag"):
                pass
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    with connect(keyed.realtime, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
    assert KEY not in "\n".join(keyed.lines)


async def test_a_client_secret_opens_a_session_and_nothing_else(keyed: Server) -> None:
    async with client_of(keyed) as client:
        secret = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "instructions": "Answer with one word.", "output_modalities": ["text"]},
        )
    assert secret.value.startswith("ek_")
    async with client_of(keyed, secret.value) as client:
        with pytest.raises(AuthenticationError, match="can only open sessions"):
            await client.models.list()
        async with client.realtime.connect(model="chinwag") as connection:
            created = await connection.recv()
            assert created.type == "session.created"
            assert created.session.model_dump()["instructions"] == "Answer with one word."
            assert created.session.model_dump()["output_modalities"] == ["text"]


@pytest.mark.parametrize("form", ["wav", "mp3"])
async def test_real_speech_is_transcribed(keyed: Server, form: str) -> None:
    async with client_of(keyed) as client:
        heard = await client.audio.transcriptions.create(model="whisper-1", file=file_of(speech(SENTENCE), form))
        assert words(heard.text) == words(SENTENCE)


async def test_what_is_spoken_is_understood_again(keyed: Server) -> None:
    async with client_of(keyed) as client:
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=f"{SENTENCE} Bring a warm coat.", response_format="wav"
        ) as answer:
            data = b"".join([piece async for piece in answer.iter_bytes()])
        with wave.open(io.BytesIO(data)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        stream = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", data), stream=True)
        (said,) = [event.text async for event in stream if event.type == "transcript.text.done"]
        assert words(said) == words(f"{SENTENCE} Bring a warm coat.")


async def test_chat_streamed_and_not(keyed: Server) -> None:
    async with client_of(keyed) as client:
        asked = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
        whole = await client.chat.completions.create(model="chinwag", messages=asked, max_tokens=20)  # type: ignore[arg-type]
        assert "Paris" in (whole.choices[0].message.content or "")
        assert whole.usage
        assert whole.usage.prompt_tokens > 0
        text, costs = "", []
        async for chunk in await client.chat.completions.create(  # type: ignore[call-overload]
            model="chinwag", messages=asked, max_tokens=20, stream=True, stream_options={"include_usage": True}
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            costs += [chunk.usage] if chunk.usage else []
        assert text == whole.choices[0].message.content
        assert len(costs) == 1
        with pytest.raises(BadRequestError) as refused:
            await client.chat.completions.create(
                model="chinwag", messages=[{"role": "user", "content": "word " * 5000}]
            )
        assert refused.value.code == "context_length_exceeded"


async def test_one_chinwag_is_the_model_of_another(keyed: Server) -> None:
    base = keyed.realtime.removesuffix("/realtime").replace("ws", "http", 1)
    with serving("--llm", "openai", "--llm-base-url", base, env={"CHINWAG_LLM__API_KEY": KEY}) as second:
        assert second.wait("ready")["engines"]["llm"]["detail"] == keyed.status(KEY)["engines"]["llm"]["detail"]
        async with client_of(second) as client:
            answer = await client.chat.completions.create(
                model="chinwag", messages=[{"role": "user", "content": "What is the capital of Italy? One word."}]
            )
            assert "Rome" in (answer.choices[0].message.content or "")


async def test_the_terminals_call_brings_the_key(keyed: Server) -> None:
    async with connect_client(keyed.realtime, api_key=KEY) as line:
        assert line
    with pytest.raises(ClientError, match=r"401.*--api-key"):
        async with connect_client(keyed.realtime, api_key="a-key-of-somebody-else"):
            pass


def test_listening_elsewhere_without_a_key_is_an_error_at_the_start() -> None:
    with pytest.raises(AssertionError) as ended, serving("--host", "0.0.0.0"):
        pass
    assert "CHINWAG_SERVER__API_KEYS" in str(ended.value)
    assert "CHINWAG_SERVER__AUTH=off" in str(ended.value)
    assert "Traceback" not in str(ended.value)
