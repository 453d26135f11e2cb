"""RealtimeSTT: its faster-whisper with real weights, a turn between it and RealtimeTTS, what cannot be loaded."""

from __future__ import annotations

import psutil
import pytest
from engines.contract import loaded, speech, watched, words
from serving import serving

from benchmarks import languages
from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, join, silence
from chinwag.bench.corpus import Recording, Truth
from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.realtimestt import TRANSCRIBERS, RealtimeStt
from chinwag.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

FILES = ("src/chinwag/engines/stt/realtimestt.py",)

TORCH = True
WEIGHTS = ("whisper-base", "moonshine-tiny-en", "silero-vad", "smart-turn", "qwen2.5-coder-0.5b", "piper-joe")
FREE = ("websockets",)
NEEDS = ("RealtimeTTS>=0.8.10,<0.9", "pyttsx3>=2.99", "piper-tts")
BOTH = {"CHINWAG_STT__ENGINE": "realtimestt", "CHINWAG_TTS__ENGINE": "realtimetts", "CHINWAG_TTS__MODEL": "piper"}
SENTENCES = ("What is the capital of France?", "Please turn off the lights in the kitchen.")


def settings(model: str = "", **options: object) -> SttSettings:
    return SttSettings(engine="realtimestt", model=model, device="cpu", language="auto", options=dict(options))


async def test_its_faster_whisper_hears_live_and_tells_the_language() -> None:
    async with loaded(RealtimeStt, settings()) as stt:
        assert {"en", "es", "hi"} <= set(stt.languages)
        for text, told in zip(SENTENCES, ("en-GB", None), strict=True):
            audio, utterance = join([speech(text)]), stt.open(told)
            half = len(audio.pcm) // 2
            utterance.push(audio.between(0, half))
            assert not (await utterance.partial()).final
            utterance.push(audio.between(half, len(audio.pcm)))
            async with watched("realtimestt"):
                heard = await utterance.finish()
            assert words(heard.text) == words(text)
            assert (heard.final, heard.until, heard.language) == (True, audio.end, "en")
        silent = stt.open()
        silent.push(silence(1.0, LISTEN_RATE))
        assert (await silent.finish()).text == ""
        with pytest.raises(EngineError, match="not xx"):
            stt.open("xx")
        with pytest.raises(EngineError, match="16000"):
            stt.open().push(Audio(silence(0.1, 24_000).pcm, 24_000))


async def test_a_turn_is_spoken_between_it_and_realtimetts() -> None:
    question = speech(SENTENCES[0]).resampled(WIRE_RATE)
    truth = Truth(text=SENTENCES[0], speech_end_ms=question.seconds * 1000)
    recording = Recording(name="question", audio=question, truth=truth)
    with serving("--llm", "embedded", env=BOTH) as server:
        engines = server.wait("ready")["engines"]
        assert {engines[task]["name"] for task in ("stt", "tts")} == {"realtimestt", "realtimetts"}
        async with loaded(RealtimeStt, settings()) as ear:
            held = await languages.run(server.realtime, [recording], 1, ear, on_turn=print)
    (turn,) = held["languages"]["en"]["per_turn"]
    assert (turn["error"], turn["word_errors"]) == (None, 0)
    assert len(words(turn["reply_heard"])) >= 2, "the answer can be understood"


def test_what_cannot_be_loaded_is_told_and_nothing_runs_on() -> None:
    def told(model: str, **options: object) -> str:
        with pytest.raises(EngineError) as failure:
            RealtimeStt.load(EngineOptions(settings(model, **options)))
        return str(failure.value)

    before = set(psutil.Process().children(recursive=True))
    assert "has no transcriber vosk. There are: faster_whisper," in told("vosk")
    assert "has no option pitch" in told("", pitch=1)
    assert "chinwag models pull whisper-base" in told("")
    assert "Set stt.model = kroko_onnx:FOLDER" in told("kroko_onnx")
    assert "pip install funasr" in told("funasr")
    assert "cannot load the model /none on cpu" in told("faster_whisper:/none")
    with pytest.raises(EngineError, match="finds no CUDA device"):
        RealtimeStt.load(EngineOptions(settings("faster_whisper:tiny").model_copy(update={"device": "cuda"})))
    assert not set(psutil.Process().children(recursive=True)) - before


def test_every_transcriber_is_one_of_realtimestts() -> None:
    from RealtimeSTT.transcription_engines import get_supported_transcription_engines

    assert set(TRANSCRIBERS) <= set(get_supported_transcription_engines())
