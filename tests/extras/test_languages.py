"""Spoken turns in eight languages with real weights: heard without being told which, and answered in the same."""

from __future__ import annotations

import pytest
from serving import serving

from chinwag.bench import languages, make_corpus
from chinwag.config import WeightsSettings
from chinwag.weights import Store

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

WEIGHTS = ("silero-vad", "smart-turn", "whisper-base", "qwen2.5-coder-0.5b", "kokoro", "kokoro-voices")


async def test_a_turn_in_each_language_is_understood_and_answered_in_it() -> None:
    store = Store(WeightsSettings())
    recordings = await make_corpus.languages(store, print)
    with serving(env=languages.ENGINES) as server:
        server.wait("ready")
        async with languages.judge(store, print) as ear:
            result = await languages.run(server.realtime, recordings, 1, ear, on_turn=print)
    held = result["languages"]
    assert set(held) == {"en", "es", "fr", "it", "pt", "hi", "ja", "zh"}
    for language, figures in held.items():
        assert figures["failed"] == 0, language
        assert figures["wer"] <= 0.5, (language, figures)
        assert figures["reply_language"] == 1.0, (language, figures)
    assert sum(figures["wer"] for figures in held.values()) / len(held) <= 0.2
