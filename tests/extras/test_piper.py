"""Piper with a real voice, heard again by Moonshine, and with a model of many speakers that the test makes."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.contract import loaded, options, watched, words

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.tts.piper import PiperVoice
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

FILES = ("src/chinwag/engines/tts/piper.py",)

WEIGHTS = ("piper-joe", "moonshine-tiny-en")

CLAUSE = "Sure, I can help with that."
SPEAKERS = {"ann": 0, "bob": 1}
TWO = "The train leaves in the morning. Please bring your ticket."


async def said(voice: PiperVoice, text: str, name: str | None = None, speed: float = 1.0) -> list[Audio]:
    async with aclosing(voice.speak(text, voice=name, speed=speed)) as pieces:
        return [piece async for piece in pieces]


async def joe() -> Path:
    """The folder of the real voice."""
    return (await options(PiperVoice, None)).weights["piper-joe"]


async def test_it_speaks_sentence_by_sentence_and_is_understood() -> None:
    async with loaded(PiperVoice) as voice, loaded(Moonshine) as stt:
        assert voice.voices == ("en_US-joe-medium",)
        assert voice.languages == {"en": voice.voices}
        began = time.perf_counter()
        clause = join(await said(voice, CLAUSE))
        print(f"{clause.seconds:.2f} s made in {(time.perf_counter() - began) * 1e3:.0f} ms")
        async with watched("piper"):
            pieces = await said(voice, TWO)
        assert [piece.start for piece in pieces] == [0, len(pieces[0].pcm)]
        assert all(piece.rate == 24_000 and piece.pcm.dtype == np.float32 for piece in pieces)
        for sound, text in ((clause, CLAUSE), (join(pieces), TWO)):
            utterance = stt.open()
            utterance.push(sound.resampled(16_000))
            assert words((await utterance.finish()).text) == words(text)
        usual, fast = clause.seconds, join(await said(voice, CLAUSE, speed=1.5)).seconds
        assert 0.55 < fast / usual < 0.85


async def test_stopping_early_odd_text_and_unknown_voices_leave_it_usable() -> None:
    async with loaded(PiperVoice) as voice:
        async with aclosing(voice.speak(TWO)) as pieces:
            assert (await anext(pieces)).seconds > 0.5
        for odd in ("", " \n ", "...", "🙂", "日本語", "x" * 100, "[[ 3.14 €5", "[a](/b/)"):
            for piece in await said(voice, odd):
                assert np.isfinite(piece.pcm).all()
        with pytest.raises(EngineError, match=r"no voice nobody.*en_US-joe-medium"):
            await said(voice, CLAUSE, "nobody")
        with pytest.raises(EngineError, match="speaks English, not French"):
            async with aclosing(voice.speak("Bonjour.", language="fr")) as pieces:
                await anext(pieces)
        assert join(await said(voice, CLAUSE)).seconds > 1


async def test_a_file_or_a_folder_of_ones_own_is_taken(tmp_path: Path) -> None:
    folder = await joe()
    settings = json.loads((folder / "en_US-joe-medium.onnx.json").read_text("utf-8"))
    for name, code in (("en_US-joe-medium", "en_US"), ("de_DE-joe-medium", "de_DE")):
        (tmp_path / f"{name}.onnx").symlink_to(folder / "en_US-joe-medium.onnx")
        described = {**settings, "language": {"code": code}, "espeak": {"voice": code[:2]}}
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(described), "utf-8")
    one = TtsSettings(model=str(tmp_path / "de_DE-joe-medium.onnx"))
    async with loaded(PiperVoice, one) as voice:
        assert voice.languages == {"de": ("de_DE-joe-medium",)}
    async with loaded(PiperVoice, TtsSettings(model=str(tmp_path), voice="en_US-joe-medium")) as voice:
        assert set(voice.languages) == {"de", "en"}
        assert voice.choose(None, "en-GB") == "en_US-joe-medium"
        german = voice._phonemes("de_DE-joe-medium", "Ich weiß nicht.")
        assert german != voice._phonemes("en_US-joe-medium", "Ich weiß nicht.")
        assert join(await said(voice, "Ich weiß nicht.", "de_DE-joe-medium")).seconds > 0.5


class TwoLevels:
    """In the place of a model with two speakers: the one is louder."""

    def run(self, _: None, feeds: dict[str, Any]) -> list[Any]:
        return [np.full((1, 1, 1, 256 * feeds["input"].shape[1]), 0.1 + 0.5 * feeds["sid"][0], np.float32)]


async def test_the_speakers_of_one_model_are_its_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads((await joe() / "en_US-joe-medium.onnx.json").read_text("utf-8"))
    (tmp_path / "two.onnx.json").write_text(json.dumps({**settings, "num_speakers": 2, "speaker_id_map": SPEAKERS}))
    (tmp_path / "two.onnx").touch()
    monkeypatch.setattr("chinwag.engines.tts.piper.open_model", lambda *_: TwoLevels())
    async with loaded(PiperVoice, TtsSettings(model=str(tmp_path))) as voice:
        assert voice.voices == ("two#ann", "two#bob")
        assert voice.languages == {"en": voice.voices}
        levels = [float(np.median(join(await said(voice, TWO, name)).pcm)) for name in voice.voices]
        assert levels == pytest.approx([0.1, 0.6], abs=0.01)


async def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    folder = await joe()

    def told(model: str, **more: object) -> str:
        with pytest.raises(EngineError) as caught:
            PiperVoice.load(EngineOptions(TtsSettings.model_validate({"model": model, **more})))
        return str(caught.value)

    assert "no Piper voice in" in told(str(tmp_path))
    assert "no Piper voice" in told(str(tmp_path / "none.onnx"))
    (tmp_path / "a.onnx").symlink_to(folder / "en_US-joe-medium.onnx")
    assert "no a.onnx.json beside it" in told(str(tmp_path))
    (tmp_path / "a.onnx.json").write_text("{}", "utf-8")
    assert "a.onnx.json of a Piper voice is damaged" in told(str(tmp_path / "a.onnx"))
    (tmp_path / "a.onnx.json").write_bytes((folder / "en_US-joe-medium.onnx.json").read_bytes())
    (tmp_path / "a.onnx").unlink()
    (tmp_path / "a.onnx").write_bytes(b"no model")
    assert "cannot be loaded" in told(str(tmp_path))
    assert "chinwag models pull piper-joe" in told("")
    assert "no option pitch" in told("", options={"pitch": 1})
    assert "cannot run on cuda" in told("", device="cuda")
    await asyncio.sleep(0)
