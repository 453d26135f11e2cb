"""Piper with a real voice, and its files in every way they can be wrong."""

from __future__ import annotations

import json
import shutil
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.contract import loaded, options

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.tts.piper import PiperVoice
from chinwag.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")]

WEIGHTS = ("piper-joe",)

SENTENCE = "The train to the coast leaves at eight in the morning."


async def said(engine: PiperVoice, text: str = SENTENCE, **more: Any) -> Audio:
    async with aclosing(engine.speak(text, **more)) as pieces:
        return join([piece async for piece in pieces])


def with_speakers(folder: Path, copy: Path) -> None:
    for file in folder.glob("*.onnx*"):
        shutil.copy(file, copy)
    (described,) = copy.glob("*.json")
    about = json.loads(described.read_text("utf-8"))
    about["speaker_id_map"] = {"anna": 1, "ben": 0}
    described.write_text(json.dumps(about), "utf-8")


async def test_it_speaks_at_the_pace_it_is_told_and_a_sentence_at_a_time() -> None:
    async with loaded(PiperVoice, TtsSettings(engine="piper")) as voice:
        assert voice.languages == {"en": voice.voices}
        assert voice.rate == 22_050
        usual = await said(voice)
        assert 2.0 < usual.seconds < 5.0
        assert 0.1 < np.abs(usual.pcm).max() <= 1.0
        assert (await said(voice, speed=1.5)).seconds < usual.seconds * 0.8
        async with aclosing(voice.speak(f"{SENTENCE} {SENTENCE} {SENTENCE}")) as pieces:
            first = await anext(pieces)
            assert first.seconds < usual.seconds * 1.3
        for nothing in ("", "...", "🙂"):
            async with aclosing(voice.speak(nothing)) as pieces:
                assert sum(len(piece.pcm) for piece in [piece async for piece in pieces]) < 2 * voice.rate


async def test_another_voice_or_language_is_refused() -> None:
    async with loaded(PiperVoice, TtsSettings(engine="piper")) as voice:
        with pytest.raises(EngineError, match="piper has no voice bob"):
            await said(voice, voice="bob")
        with pytest.raises(EngineError, match="speaks English, not French"):
            await said(voice, language="fr")


async def test_a_file_of_ones_own_with_several_speakers(tmp_path: Path) -> None:
    wanted = await options(PiperVoice, TtsSettings(engine="piper"))
    (folder,) = wanted.weights.values()
    with_speakers(folder, tmp_path)
    async with loaded(PiperVoice, TtsSettings(engine="piper", model=str(tmp_path))) as voice:
        assert voice.voices == ("ben", "anna")
        assert (await said(voice, "Hello.", voice="anna")).seconds > 0.2


async def test_what_is_no_voice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str) -> None:
        PiperVoice.load(EngineOptions(TtsSettings(engine="piper", model=model)))

    with pytest.raises(EngineError, match=r"There is no Piper voice zorblax\. There are: piper-joe"):
        load("zorblax")
    with pytest.raises(EngineError, match=r"holds 0 \.onnx files"):
        load(str(tmp_path))
    (tmp_path / "a.onnx").write_bytes(b"no")
    with pytest.raises(EngineError, match=r"a\.onnx\.json is no description"):
        load(str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"en_US-lessac-medium cannot be fetched from the Hugging Face hub"):
        load("en_US-lessac-medium")
