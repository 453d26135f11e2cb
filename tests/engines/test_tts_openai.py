"""The OpenAI-compatible voice against servers that behave well and badly, and against another Chinwag."""

from __future__ import annotations

import asyncio
import io
import socket
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from engines.chat_servers import ChatServer, Connection, Handler, serving
from engines.contract import loaded, words
from serving import Server

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.tts.openai_compatible import OpenAIVoice
from chinwag.engines.tts.wav import WavReader
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

TONE = (np.sin(np.arange(24_000) * 0.06) * 12_000).astype("<i2")
SOUND = TONE.tobytes()
LISTED = {"voices": ["af_heart", {"id": "bm_george", "name": "George"}]}


def sends(*pieces: bytes, kind: str = "audio/pcm", ends: bool = True) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.begin(kind)
        for piece in pieces:
            await connection.piece(piece)
            await asyncio.sleep(0.02)
        if ends:
            await connection.end()

    return handler


def refuses(status: int, message: str) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.answer({"error": {"message": message, "type": "x", "code": None}}, status)

    return handler


async def silent(connection: Connection) -> None:
    await asyncio.sleep(60)


async def hangs(connection: Connection) -> None:
    await connection.begin("audio/pcm")
    await connection.piece(SOUND)
    await asyncio.sleep(60)


def wav(rate: int, channels: int, bits: int = 16) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(bits // 8)
        out.setframerate(rate)
        out.writeframes(bytes(rate * channels * bits // 8))
    return file.getvalue()


@asynccontextmanager
async def speaking(
    handler: Handler, voices: object = None, models: object = None, **settings: Any
) -> AsyncIterator[tuple[OpenAIVoice, ChatServer]]:
    async def route(connection: Connection) -> None:
        lists = {"/v1/audio/voices": voices, "/v1/models": models}
        if connection.path not in lists:
            await handler(connection)
        elif lists[connection.path] is None:
            await connection.answer({"detail": "Not Found"}, 404)
        else:
            await connection.answer(lists[connection.path])

    async with serving(route) as server:
        wanted = TtsSettings(**{"engine": "openai", "base_url": f"{server.address}/v1", "timeout_s": 2, **settings})
        voice = await asyncio.to_thread(OpenAIVoice.load, EngineOptions(wanted))
        server.asked.clear()
        try:
            yield voice, server
        finally:
            await voice.close()
            await voice.close()


async def said(engine: OpenAIVoice, text: str = "Hello there.", **more: Any) -> list[Audio]:
    async with aclosing(engine.speak(text, **more)) as pieces:
        return [piece async for piece in pieces]


async def test_sound_is_passed_on_as_it_comes_and_bytes_may_part_a_sample() -> None:
    async with speaking(sends(SOUND[:4801], SOUND[4801:9000], SOUND[9000:]), api_key="k", voice="marin") as (
        voice,
        server,
    ):
        pieces = await said(voice)
        assert len(pieces) == 3
        assert [piece.start for piece in pieces] == [0, 2400, 4500]
        assert np.array_equal(join(pieces).pcm, TONE.astype(np.float32) / 32768)
        asked = server.asked[0]
        assert asked.headers["authorization"] == "Bearer k"
        assert asked.body == {"model": "tts-1", "voice": "marin", "input": "Hello there.", "response_format": "pcm"}
        assert await said(voice, "  ") == []
        assert len(server.asked) == 1


async def test_pace_instructions_and_model_are_asked_for() -> None:
    options = {"instructions": "Whisper."}
    async with speaking(sends(SOUND), models={"data": [{"id": "orpheus"}]}, options=options) as (voice, server):
        await said(voice, speed=1.5, voice="tara")
        body = server.asked[0].body
        assert (body["model"], body["speed"], body["instructions"], body["voice"]) == (
            "orpheus",
            1.5,
            "Whisper.",
            "tara",
        )
        assert voice.voices[0] == "alloy"


async def test_the_server_tells_its_voices_and_another_is_refused_unasked() -> None:
    async with speaking(sends(SOUND), voices=LISTED) as (voice, server):
        assert voice.voices == ("af_heart", "bm_george")
        with pytest.raises(EngineError, match=r"no voice nobody.*af_heart, bm_george"):
            await said(voice, voice="nobody")
        assert server.asked == []
    with pytest.raises(EngineError, match="no voice nobody"):
        async with speaking(sends(SOUND), voices=LISTED, voice="nobody"):
            pass


async def test_a_server_that_sends_wav_all_the_same_is_read() -> None:
    whole = wav(48_000, 2)
    async with speaking(sends(whole[:7], whole[7:30], whole[30:41], whole[41:], kind="audio/wav")) as (voice, _):
        pieces = await said(voice)
        assert join(pieces).seconds == pytest.approx(1.0, abs=0.01)
        assert {piece.rate for piece in pieces} == {24_000}


def test_other_sound_than_16_bit_is_refused() -> None:
    for data in (wav(24_000, 1, bits=8), b"ID3\x04", b"OggS\x00"):
        with pytest.raises(EngineError, match="16-bit PCM was asked for"):
            WavReader(24_000).push(data)


@pytest.mark.parametrize(
    ("handler", "message", "fix"),
    [
        (refuses(401, "no"), "does not accept the key", "tts.api_key"),
        (refuses(404, "model gone"), "does not know the model tts-1: model gone", "tts.model"),
        (refuses(400, "There is no voice 'alloy'"), "refuses the voice alloy", "tts.voice"),
        (refuses(429, "slow down"), "slow down", "Wait"),
        (refuses(500, "oops"), r"failed \(500\): oops", "log"),
        (sends(SOUND, ends=False), "broke off in the middle of speaking", "log"),
        (sends(), "sent no audio", "log"),
        (sends(b"<html>", kind="text/html"), "text/html, which is not audio", "tts.base_url"),
        (silent, "sent nothing for 0.5 s", "tts.timeout_s"),
        (hangs, "sent nothing for 0.5 s", "tts.timeout_s"),
    ],
)
async def test_each_fault_is_one_sentence_and_a_next_step(handler: Handler, message: str, fix: str) -> None:
    async with speaking(handler, timeout_s=0.5) as (voice, _):
        with pytest.raises(EngineError, match=message) as caught:
            await said(voice)
        assert fix in caught.value.fix
        assert "llm." not in str(caught.value)
        assert caught.value.engine == "openai"


async def test_closing_hangs_up_and_the_next_clause_is_spoken() -> None:
    turns = [hangs, sends(SOUND)]

    async def in_turn(connection: Connection) -> None:
        await turns.pop(0)(connection)

    async with speaking(in_turn) as (voice, server):
        async with aclosing(voice.speak("Hello.")) as pieces:
            assert len((await anext(pieces)).pcm) > 0
        await asyncio.wait_for(server.hung_up.wait(), 2)
        assert join(await said(voice)).seconds == 1.0


async def test_what_cannot_be_reached_or_is_not_set_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = TtsSettings(base_url=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        for wrong, message in (
            (nobody, "cannot be reached.*tts.base_url"),
            (TtsSettings(), r"neither a key.*tts\.api_key"),
            (TtsSettings(base_url="http://127.0.0.1:9/v1", options={"pitch": 1}), "no option pitch.*instructions"),
        ):
            with pytest.raises(EngineError, match=message):
                await asyncio.to_thread(OpenAIVoice.load, EngineOptions(wrong))


async def test_another_chinwag_lends_its_voice(server: Server) -> None:
    base_url = server.url.replace("localhost", "127.0.0.1") + "/v1"
    async with loaded(OpenAIVoice, TtsSettings(engine="openai", base_url=base_url)) as voice:
        sound = join(await said(voice, "Sure, I can help with that."))
        with pytest.raises(EngineError, match=r"has no voice nobody\. There are: heart"):
            await said(voice, voice="nobody")
    async with loaded(Moonshine) as stt:
        utterance = stt.open()
        utterance.push(sound.resampled(16_000))
        assert words((await utterance.finish()).text) == words("Sure, I can help with that.")
