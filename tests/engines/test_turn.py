"""Smart Turn with its real weights."""

from __future__ import annotations

import numpy as np
import pytest
from engines.contract import loaded, speech, then_silence

from chinwag.engines.turn.smart_turn import SmartTurn, log_mel

pytestmark = pytest.mark.engines

WHOLE = "What is the capital of France?"


def test_the_features_are_whispers() -> None:
    """Figures of transformers' WhisperFeatureExtractor(chunk_length=8) for this very tone, do_normalize=True."""
    time = np.arange(32_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time) * np.linspace(0, 1, 32_000)).astype(np.float32)
    features = log_mel(tone)
    assert features.shape == (80, 800)
    assert features.dtype == np.float32
    band = features[:, 790]
    assert int(band.argmax()) == 11
    assert np.allclose(
        [features.mean(), features.max(), features.min(), features[10, 700]],
        [-0.045756, 1.931586, -0.068414, 1.69379],
        atol=1e-4,
    )
    assert np.ptp(features[:, :590]) == 0.0  # the silence put in front


def test_longer_sound_counts_by_its_last_8_seconds() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 200_000).astype(np.float32)
    assert np.array_equal(log_mel(noise), log_mel(noise[-128_000:]))
    assert np.isfinite(log_mel(np.zeros(0, np.float32))).all()


async def test_an_end_is_told_from_a_word_cut_short() -> None:
    async with loaded(SmartTurn) as judge:
        for text in (WHOLE, "I would like to book a table for four people tomorrow evening."):
            assert await judge.judge(then_silence(speech(text), 0.2), "", []) > 0.9
        said = speech("I would like to book a table for four people tomorrow evening.")
        loud = np.flatnonzero(np.abs(said.pcm) > 0.01)
        for share in (0.3, 0.9):
            cut = said.between(0, int(loud[0] + share * (loud[-1] - loud[0])))
            assert await judge.judge(then_silence(cut, 0.2), "", []) < 0.3
