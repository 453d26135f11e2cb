"""Kokoro in the languages that its extra brings, with real weights."""

from __future__ import annotations

import time
from contextlib import aclosing

import numpy as np
import pytest
from engines.contract import loaded

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.tts.kokoro import LONGEST, KokoroVoice
from chinwag.engines.tts.phonemes import missing, sentences
from chinwag.errors import EngineError
from chinwag.speech.synthesis import Style, synthesise

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")]

FILES = (
    "src/chinwag/engines/tts/kokoro.py",
    "src/chinwag/engines/tts/phonemes.py",
    "src/chinwag/speech/synthesis.py",
)

WEIGHTS = ("kokoro", "kokoro-voices")

SAID = {
    "en": ("The train leaves at eight.", "ðə tɹˈAn lˈivz æt ˈAt."),
    "es": ("El tren sale a las ocho.", "el tɾˈen sˈale a las ˈoʧo."),
    "fr": ("Le train part à huit heures.", "lə tʁˈɛ̃ pˈaʁ a yˈit ˈœʁ."),
    "it": ("Il treno parte alle otto.", "il trˈɛno pˈarte ˌalle ˈɔtːo."),
    "pt": ("O trem sai às oito.", "ʊ trˈAŋ sˈI aːz ˈoɪtʊ."),
    "hi": ("बच्चे पार्क में खेलते हैं।", "bˈʌcːeː pˈaːɾk me\u0303ː kʰˈeːltˌeː hɛ\u0303."),
    "ja": ("東京に住んでいます。", "toːkʲoː ɲi sɨnde imasɨ."),
    "zh": ("今天天气很好。", "ʨi→ntʰjɛ→ntʰjɛ→nʨʰi↘ xə↓n xau↓."),
}
"""Each with the phonemes that misaki's own converters give, as Kokoro's pipeline has them."""

ODD = (
    "",
    " \n ",
    "...",
    "🙂",
    "½ ² ① ～ 々",
    "3.14 €5 50% 2026-11-24 1,000,000",
    "[a](/b/)",
    "ー",
    "゛っ",
    "x" * 300,
    "日" * 300,
)


async def said(voice: KokoroVoice, text: str, name: str | None = None, language: str | None = None) -> list[Audio]:
    async with aclosing(voice.speak(text, voice=name, language=language)) as pieces:
        return [piece async for piece in pieces]


async def test_every_language_speaks_with_its_own_phonemes_and_at_a_human_pace() -> None:
    assert not [language for language in SAID if language != "en" and missing(language)]
    async with loaded(KokoroVoice) as voice:
        assert set(voice.languages) == set(SAID)
        assert len(voice.voices) == 54
        for language, (text, phonemes) in SAID.items():
            first = voice.languages[language][0]
            assert voice.choose(None, language) == first
            assert " ".join(voice._phonemes(first, text)) == phonemes
            assert set(phonemes) <= set(voice._vocabulary)
            began = time.perf_counter()
            sound = join(await said(voice, text, language=language))
            print(f"{language}: {sound.seconds:.2f} s made in {time.perf_counter() - began:.2f} s")
            assert 1.2 < sound.seconds < 4.5
            assert 0.02 < float(np.sqrt(np.mean(sound.pcm**2))) < 0.5


async def test_a_voice_speaks_its_own_language_unasked_and_no_other() -> None:
    async with loaded(KokoroVoice) as voice:
        spanish = SAID["es"][0]
        alone = join(await said(voice, spanish, "em_alex"))
        assert np.allclose(alone.pcm, join(await said(voice, spanish, "em_alex", "es-MX")).pcm, atol=1e-3)
        with pytest.raises(EngineError, match=r"af_heart does not speak Spanish.*ef_dora, em_alex, em_santa"):
            await said(voice, spanish, "af_heart", "es")
        with pytest.raises(EngineError, match="not German"):
            await said(voice, "Guten Tag.", language="de")
        assert voice.choose(None, "en-GB").startswith("b")


async def test_another_voice_takes_over_where_the_language_is_another() -> None:
    async with loaded(KokoroVoice) as voice:
        async with aclosing(synthesise(voice, SAID["fr"][0], Style(voice="af_heart", language="fr"))) as sound:
            pieces = [frame async for frame in sound]
        assert 1.0 < join(pieces).seconds < 4.0


async def test_the_voice_that_is_set_is_warm() -> None:
    async with loaded(KokoroVoice, TtsSettings(engine="kokoro", voice="zf_xiaobei")) as voice:
        assert "z" in voice._g2p


async def test_odd_text_harms_no_language() -> None:
    async with loaded(KokoroVoice) as voice:
        for names in voice.languages.values():
            for odd in ODD:
                pieces = voice._phonemes(names[0], odd)
                assert all(len(piece) <= LONGEST for piece in pieces)
            for piece in await said(voice, "3.14 €5, 50% 🙂 [a]", names[0]):
                assert np.isfinite(piece.pcm).all()


async def test_english_words_among_chinese_and_japanese_are_english() -> None:
    async with loaded(KokoroVoice) as voice:
        (coffee,) = voice._phonemes("af_heart", "coffee")
        assert coffee.strip(" .") in " ".join(voice._phonemes("zf_xiaobei", "我喜欢喝 coffee。"))
        assert coffee.strip(" .") in " ".join(voice._phonemes("jf_alpha", "coffee が好きです。"))


def test_sentences_of_every_script_are_cut() -> None:
    assert sentences("Vive en S. Pedro. ¿Sí? Claro.") == ["Vive en S. Pedro.", "¿Sí?", "Claro."]
    assert sentences("मैं हूँ। तुम हो।") == ["मैं हूँ।", "तुम हो।"]
    assert sentences("「はい。」と言った。次に！") == ["「はい。」と言った。", "次に！"]
    assert sentences("你好。你在哪里？") == ["你好。", "你在哪里？"]
