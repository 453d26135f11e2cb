"""The voices with their real weights, heard again by Moonshine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from engines.contract import loaded, words

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.tts.hibari import HibariVoice
from chinwag.engines.tts.kokoro import LONGEST, KokoroVoice, _short_enough, _to_install
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

VOICES = (HibariVoice, KokoroVoice)
Speaker = HibariVoice | KokoroVoice
CLAUSE = "Sure, I can help with that."
TWO = "The train leaves in the morning. Please bring your ticket."


@asynccontextmanager
async def speaker(kind: type[Speaker]) -> AsyncIterator[Speaker]:
    async with loaded(kind) as voice:
        yield voice


async def said(voice: Speaker, text: str, name: str | None = None, speed: float = 1.0) -> list[Audio]:
    async with aclosing(voice.speak(text, voice=name, speed=speed)) as pieces:
        return [piece async for piece in pieces]


async def heard(audio: Audio) -> list[str]:
    async with loaded(Moonshine) as stt:
        utterance = stt.open()
        utterance.push(audio.resampled(16_000))
        return words((await utterance.finish()).text)


@pytest.mark.parametrize("kind", VOICES)
async def test_its_words_can_be_heard_again(kind: type[Speaker]) -> None:
    async with speaker(kind) as voice:
        assert voice.rate == 24_000
        began = time.perf_counter()
        clause = await said(voice, CLAUSE)
        print(f"{voice.name}: {clause[0].seconds:.2f} s made in {(time.perf_counter() - began) * 1e3:.0f} ms")
        pieces = await said(voice, TWO)
        assert len(pieces) == 2
        assert pieces[0].start == 0
        assert pieces[1].start == pieces[0].end
        assert all(piece.rate == 24_000 and piece.pcm.dtype == np.float32 for piece in pieces)
        assert np.abs(join(pieces).pcm).max() < 1.5
        assert await heard(join(clause)) == words(CLAUSE)
        assert await heard(join(pieces)) == words(TWO)


async def test_hibari_never_fetches_a_voice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    monkeypatch.setattr("hibari.voices.download", lambda *_: pytest.fail("it asked the network"))
    async with loaded(HibariVoice) as voice:
        assert voice.voices == ("heart",)
        with pytest.raises(EngineError, match="no voice emma"):
            await said(voice, CLAUSE, "emma")


async def test_hibari_speaks_with_a_voice_that_is_already_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hibari.voices import ASSETS, VOICES

    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    model = Path(ASSETS) / VOICES["heart"]["file"]  # every voice is a model of the same shape
    (tmp_path / VOICES["emma"]["file"]).write_bytes(model.read_bytes())
    async with loaded(HibariVoice) as voice:
        assert voice.voices == ("heart", "emma")
        assert join(await said(voice, CLAUSE, "emma")).seconds > 1


async def test_kokoro_without_its_extra_speaks_english_and_says_how_to_get_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chinwag.engines.tts.kokoro.missing", lambda _: ("phonemizer",))
    async with loaded(KokoroVoice) as voice:
        assert len(voice.voices) == 28
        assert voice.languages == {"en": voice.voices}
        for name, language in ((None, "es-MX"), ("ef_dora", None)):
            with pytest.raises(EngineError, match=r"Spanish.*no phonemizer.*pip install 'chinwag\[kokoro\]'"):
                async with aclosing(voice.speak(CLAUSE, voice=name, language=language)) as pieces:
                    await anext(pieces)


def test_kokoro_says_which_python_its_japanese_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chinwag.engines.tts.kokoro.missing", lambda _: ("misaki",))
    monkeypatch.setattr("sys.version_info", (3, 13, 0))
    assert "Use Python 3.12 or older" in str(_to_install("ja"))
    assert "chinwag[kokoro]" in str(_to_install("es"))


@pytest.mark.parametrize("kind", VOICES)
async def test_an_option_or_a_device_it_does_not_know_is_refused(kind: type[Speaker]) -> None:
    for wrong, said_so in (
        (TtsSettings(options={"pitch": 2}), "no option pitch"),
        (TtsSettings(device="cuda"), "cuda"),
    ):
        with pytest.raises(EngineError, match=said_so):
            kind.load(EngineOptions(wrong))


async def test_kokoros_voices_differ_and_the_british_ones_speak_british() -> None:
    async with loaded(KokoroVoice) as voice:
        assert voice.voices[0] == "af_heart"
        assert len(voice.languages["en"]) == 28
        sounds = [join(await said(voice, CLAUSE, name)).pcm for name in ("af_heart", "am_michael", "bm_george")]
        assert len({len(pcm) for pcm in sounds}) == 3
        assert voice._phonemes("af_heart", "grass") != voice._phonemes("bm_george", "grass")
        assert await heard(Audio(sounds[2], 24_000)) == words(CLAUSE)


async def test_kokoro_says_what_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="chinwag models pull kokoro"):
        KokoroVoice.load(EngineOptions(None))
    with pytest.raises(EngineError, match="kokoro-voices"):
        KokoroVoice.load(EngineOptions(None, {"kokoro": tmp_path, "kokoro-voices": tmp_path}))


def test_long_phonemes_are_cut_and_none_are_lost() -> None:
    text = ", ".join(["həlˈO ðˈɛɹ"] * 80) + " " + "a" * 900 + " " + " ".join(["wˈʌn"] * 200)
    pieces = _short_enough(text)
    assert max(map(len, pieces)) <= LONGEST
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
