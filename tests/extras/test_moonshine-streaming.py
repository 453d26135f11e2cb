"""Moonshine's own library: Moonshine tiny's real weights heard as sound comes, and what cannot be loaded.

Its streaming models are on its makers' server alone, so they are loaded here as far as asking for them goes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from engines.contract import loaded, speech, watched, words

from chinwag.audio import Audio, join
from chinwag.config import Config, SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine_streaming import MoonshineStreaming
from chinwag.errors import EngineError
from chinwag.weights import Store

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

FILES = ("src/chinwag/engines/stt/moonshine_streaming.py",)

WEIGHTS = ("moonshine-tiny-en",)
TEXT = "Please turn off the lights in the kitchen."


def settings(model: str | Path, **options: object) -> SttSettings:
    return SttSettings(engine="moonshine-streaming", model=str(model), options=dict(options))


def tiny() -> Path:
    return Store(Config().weights).folder("moonshine-tiny-en")


async def test_real_weights_hear_as_it_comes_and_go_on() -> None:
    async with loaded(MoonshineStreaming, settings(tiny())) as stt:
        assert stt.languages == ("en",)
        audio, utterance, texts = join([speech(TEXT)]), stt.open("en-GB"), []
        async with watched("moonshine-streaming"):
            for at in range(0, len(audio.pcm), 8000):
                utterance.push(audio.between(at, at + 8000))
                texts.append((await utterance.partial()).text)
            heard = await utterance.finish()
        assert words(heard.text) == words(TEXT)
        assert (heard.final, heard.until, heard.language) == (True, audio.end, "en")
        assert set(words(texts[-1])) & set(words(TEXT))
        more = Audio(audio.pcm, audio.rate, audio.end)
        utterance.push(more)
        assert words((await utterance.finish()).text)[-2:] == words(TEXT)[-2:]
        del utterance
        with pytest.raises(EngineError, match="supports en, not fr"):
            stt.open("fr")


def test_what_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(model: str | Path, **options: object) -> str:
        with pytest.raises(EngineError) as failure:
            MoonshineStreaming.load(EngineOptions(settings(model, **options)))
        return str(failure.value)

    assert "The size of the Moonshine model in" in told(tmp_path)
    assert "cannot be loaded as tiny-streaming" in told(tmp_path, size="tiny-streaming")
    assert "cannot be loaded as small-streaming" in told(tiny(), size="small-streaming")
    assert "Moonshine has no model huge-streaming-en. There are: tiny-streaming-en," in told("huge-streaming-en")
    assert "Moonshine has no model medium-streaming-fr" in told("medium-streaming-fr")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "The model tiny-streaming-en cannot be fetched" in told("tiny-streaming-en")


def test_all_that_are_offered_are_in_the_librarys_catalog() -> None:
    from moonshine_voice.download import find_model_info
    from moonshine_voice.moonshine_api import string_to_model_arch

    for name in MoonshineStreaming.models(None):
        size, _, language = name.rpartition("-")
        assert find_model_info(language, string_to_model_arch(size))["download_url"]
