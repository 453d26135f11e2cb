"""RealtimeTTS: its Piper with a real voice, its OpenAI engine against another chinwag, and what cannot be loaded."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import time
from collections.abc import Iterator
from contextlib import aclosing

import psutil
import pytest
from engines.contract import loaded, watched, words
from serving import Server, serving

from chinwag.audio import LISTEN_RATE, Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.tts.realtimetts import CLASSES, RealtimeTtsVoice
from chinwag.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

FILES = ("src/chinwag/engines/tts/realtimetts.py",)

WEIGHTS = ("piper-joe", "moonshine-tiny-en", "silero-vad", "smart-turn", "qwen2.5-coder-0.5b")
NEEDS = ("piper-tts",)

CLAUSE = "Sure, I can help with that."
TWO = "The train leaves in the morning. Please bring your ticket."


def settings(model: str, **more: object) -> TtsSettings:
    return TtsSettings.model_validate({"engine": "realtimetts", "model": model, **more})


async def said(speaker: RealtimeTtsVoice, text: str, **how: object) -> list[Audio]:
    async with aclosing(speaker.speak(text, **how)) as pieces:  # type: ignore[arg-type]
        return [piece async for piece in pieces]


async def heard(audio: Audio) -> list[str]:
    async with loaded(Moonshine) as ear:
        utterance = ear.open()
        utterance.push(audio.resampled(LISTEN_RATE))
        return words((await utterance.finish()).text)


async def test_its_piper_speaks_and_is_stopped_between_sentences() -> None:
    async with loaded(RealtimeTtsVoice, settings("piper")) as voice:
        assert (voice.voices, voice.languages) == ((), {})
        async with watched("realtimetts"):
            pieces = await said(voice, TWO)
        assert [piece.start for piece in pieces] == [
            sum(len(one.pcm) for one in pieces[:at]) for at in range(len(pieces))
        ]
        assert await heard(join(pieces)) == words(TWO)
        async with aclosing(voice.speak(f"{TWO} {TWO} {TWO}")) as rest:
            assert (await anext(rest)).seconds > 0.5
        assert join(await said(voice, CLAUSE)).seconds > 1


@pytest.fixture(scope="module")
def other() -> Iterator[Server]:
    """Another chinwag, whose hibari speaks."""
    with serving() as server:
        server.wait("ready")
        yield server


async def test_its_openai_engine_speaks_through_a_server(other: Server) -> None:
    address = f"{other.url.replace('localhost', '127.0.0.1')}/v1"
    usual = settings("openai", base_url=address, api_key="none", options={"voice": "heart"})
    async with loaded(RealtimeTtsVoice, usual) as voice:
        sound = join(await said(voice, CLAUSE))
        assert sound.rate == voice.rate == 24_000
        assert await heard(sound) == words(CLAUSE)
    nobody = settings("openai", base_url="http://127.0.0.1:9/v1", api_key="none")
    async with loaded(RealtimeTtsVoice, nobody) as voice:
        with pytest.raises(EngineError, match="engine openai could not speak: Connection error"):
            await said(voice, CLAUSE)
        with pytest.raises(EngineError, match=r"tts\.base_url"):
            await said(voice, CLAUSE)


async def test_the_systems_voices_speak_their_languages() -> None:
    try:
        ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        with pytest.raises(EngineError) as failure:
            RealtimeTtsVoice.load(EngineOptions(settings("system")))
        assert failure.value.fix == "Install it: apt-get install espeak-ng ffmpeg."
        return
    if shutil.which("ffprobe") is None:
        pytest.skip("no ffprobe here: apt-get install ffmpeg")
    async with loaded(RealtimeTtsVoice, settings("system")) as voice:
        assert voice.voices[0] == "English (America)"
        assert {"en", "es", "fr", "hi", "it", "ja", "pt"} <= set(voice.languages)
        began = time.perf_counter()
        sound = join(await said(voice, "Please turn off the lights in the kitchen.", language="en"))
        print(f"system: {sound.seconds:.2f} s made in {time.perf_counter() - began:.2f} s")
        assert len(set(await heard(sound)) & {"please", "turn", "off", "the", "lights", "in", "kitchen"}) >= 4
        with pytest.raises(EngineError, match="does not speak French"):
            await said(voice, CLAUSE, voice=voice.voices[0], language="fr")


def test_what_cannot_be_loaded_is_told_with_the_command_and_nothing_runs_on() -> None:
    def told(model: str, **more: object) -> str:
        with pytest.raises(EngineError) as failure:
            RealtimeTtsVoice.load(EngineOptions(settings(model, **more)))
        return str(failure.value)

    before = set(psutil.Process().children(recursive=True))
    assert "has no engine espeak. There are: system, piper," in told("espeak")
    assert "pip install 'azure-cognitiveservices-speech" in told("azure", api_key="k", options={"service_region": "x"})
    assert "pip install 'elevenlabs" in told("elevenlabs")
    assert "has no option pitch. It takes: model, voice," in told("openai", options={"pitch": 1})
    assert "chinwag models pull piper-joe" in told("piper")
    assert "There is no Piper voice /none.onnx" in told("piper:/none.onnx")
    assert not set(psutil.Process().children(recursive=True)) - before


async def test_every_engine_of_the_list_is_one_of_realtimetts() -> None:
    from RealtimeTTS import engines

    known = {name for name in engines.__all__ if name.endswith("Engine")} - {"BaseEngine"}
    assert set(CLASSES.values()) == known
    await asyncio.sleep(0)
