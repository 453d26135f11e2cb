"""Hearing through servers that speak OpenAI's language: a real one, and some that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from engines.chat_servers import ChatServer, Connection, Handler, serving
from serving import Server
from serving import serving as chinwag_serving
from speech import speech

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.bench.metrics import word_errors
from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions, Transcript
from chinwag.engines.stt.openai_compatible import OpenAITranscriber
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

SENTENCE = "What is the capital of France?"
KEY = "a-key-of-twenty-letters"


@pytest.fixture(scope="module")
def chinwag() -> Iterator[Server]:
    with chinwag_serving(env={"CHINWAG_SERVER__API_KEYS": KEY}) as server:
        server.wait("ready")
        yield server


def address(server: Server) -> str:
    return server.url.replace("localhost", "127.0.0.1") + "/v1"


def at(listed: Any, handler: Handler, voices: Any = None) -> Handler:
    """A server with that list of models."""

    async def route(connection: Connection) -> None:
        if connection.path == "/v1/models":
            await connection.answer({"object": "list", "data": [{"id": name, "object": "model"} for name in listed]})
        elif connection.path == "/v1/audio/voices":
            await connection.answer({"voices": voices} if voices else {"detail": "none"}, 200 if voices else 404)
        else:
            await handler(connection)

    return route


def refuses(status: int, message: str = "no") -> Handler:
    async def answer(connection: Connection) -> None:
        await connection.answer({"error": {"message": message}}, status)

    return answer


def says(body: object) -> Handler:
    async def answer(connection: Connection) -> None:
        await connection.answer(body)

    return answer


def sounds(data: bytes) -> Handler:
    async def answer(connection: Connection) -> None:
        await connection.begin("audio/pcm")
        if data:
            await connection.piece(data)
        await connection.end()

    return answer


async def never(connection: Connection) -> None:
    await asyncio.sleep(60)


async def hangs_up(connection: Connection) -> None:
    connection.writer.close()


@asynccontextmanager
async def hearing(handler: Handler, **settings: Any) -> AsyncIterator[tuple[OpenAITranscriber, ChatServer]]:
    async with serving(at(["gpt-oss", "whisper-1"], handler)) as server:
        wanted = SttSettings(**{"engine": "openai", "base_url": f"{server.address}/v1", "timeout_s": 2, **settings})
        engine = await asyncio.to_thread(OpenAITranscriber.load, EngineOptions(wanted))
        server.asked.clear()
        try:
            yield engine, server
        finally:
            await engine.close()


async def heard(engine: OpenAITranscriber, language: str | None = None, seconds: float = 1.0) -> Transcript:
    utterance = engine.open(language)
    utterance.push(Audio(np.full(round(seconds * LISTEN_RATE), 0.1, np.float32), LISTEN_RATE))
    return await utterance.finish()


# --- another Chinwag ------------------------------------------------------------------------------------------------


async def test_another_chinwag_hears(chinwag: Server) -> None:
    settings = SttSettings(engine="openai", base_url=address(chinwag), api_key=KEY)
    engine = await asyncio.to_thread(OpenAITranscriber.load, EngineOptions(settings))
    try:
        assert engine.model == "moonshine"
        sound = speech(SENTENCE).resampled(LISTEN_RATE)
        utterance = engine.open("en")
        half = len(sound.pcm) * 2 // 3
        utterance.push(sound.between(0, half))
        live = await utterance.partial()
        assert live.text
        assert not live.final
        utterance.push(sound.between(half, sound.end))
        final = await utterance.finish()
        assert word_errors(SENTENCE, final.text)[0] <= 1
        assert (final.final, final.until, final.language) == (True, sound.end, "en")
        assert await utterance.finish() is final
    finally:
        await engine.close()


async def test_a_wrong_key_is_told_at_the_start(chinwag: Server) -> None:
    settings = SttSettings(engine="openai", base_url=address(chinwag), api_key="wrong")
    with pytest.raises(EngineError, match=r"does not accept the key\. Set stt\.api_key"):
        await asyncio.to_thread(OpenAITranscriber.load, EngineOptions(settings))


# --- what is asked for ------------------------------------------------------------------------------------------------


async def test_the_model_that_hears_is_chosen_and_the_language_is_told_and_heard() -> None:
    async with hearing(says({"text": " Hola. ", "language": "spanish"})) as (engine, server):
        assert engine.model == "whisper-1"
        transcript = await heard(engine)
        assert (transcript.text, transcript.language) == ("Hola.", "es")
        assert (await heard(engine, "pt-BR")).language == "pt-BR"
        first, second = (asked.body for asked in server.asked)
        assert b'name="language"' not in first
        assert b'name="language"\r\n\r\npt\r\n' in second
        assert b"RIFF" in first


async def test_a_model_that_tells_no_language_is_asked_plainly_from_then_on() -> None:
    async def answer(connection: Connection) -> None:
        plain = b"verbose_json" not in connection.body
        await connection.answer(
            {"text": "Hi."} if plain else {"error": {"message": "response_format"}}, 200 if plain else 400
        )

    async with hearing(answer) as (engine, server):
        assert (await heard(engine)).text == "Hi."
        assert (await heard(engine)).text == "Hi."
        assert len(server.asked) == 3


async def test_silence_is_not_sent_and_live_words_are_asked_for_seldom() -> None:
    async with hearing(says({"text": "Hi."})) as (engine, server):
        utterance = engine.open()
        utterance.push(Audio(np.zeros(LISTEN_RATE, np.float32), LISTEN_RATE))
        assert (await utterance.finish()).text == ""
        assert not server.asked
        for _ in range(10):
            utterance.push(Audio(np.full(LISTEN_RATE // 5, 0.1, np.float32), LISTEN_RATE))
            await utterance.partial()
        assert len(server.asked) == 2


# --- faults -------------------------------------------------------------------------------------------------------


FAULTS: list[tuple[Handler, str, str]] = [
    (refuses(401), "does not accept the key", ".api_key"),
    (refuses(404, "model gone"), "does not know the model", ".model"),
    (refuses(429, "slow down"), "refuses more requests for now: slow down", "Wait"),
    (refuses(500, "oops"), r"has failed \(500\): oops", "log"),
    (never, r"sent nothing for 2 s", ".timeout_s"),
    (hangs_up, "broke off", "log"),
]


@pytest.mark.parametrize(("handler", "message", "fix"), FAULTS)
async def test_every_fault_of_hearing_is_told_with_a_way_out(handler: Handler, message: str, fix: str) -> None:
    async with hearing(handler) as (engine, _):
        with pytest.raises(EngineError, match=message) as failure:
            await heard(engine)
        assert fix in failure.value.fix
        assert failure.value.message.startswith("The transcription server at 127.0.0.1")


async def test_what_is_no_transcript_is_told() -> None:
    async with hearing(says({"words": 3})) as (engine, _):
        with pytest.raises(EngineError, match=r"no transcript.*stt\.base_url"):
            await heard(engine)


def test_nobody_there_and_no_key_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(**settings: Any) -> None:
        OpenAITranscriber.load(EngineOptions(SttSettings(engine="openai", **settings)))

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match=r"cannot be reached\. Start it, or correct stt\.base_url"):
        load(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match=r"neither a key nor.*stt\.base_url"):
        load()
    with pytest.raises(EngineError, match=r"openai has no option beam\. It takes none"):
        load(base_url="http://127.0.0.1:9/v1", options={"beam": 1})
