"""Smart Turn with its real weights."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from engines.contract import loaded, speech, then_silence, watched

from chinwag.audio import Audio, silence
from chinwag.engines.turn.smart_turn import SmartTurn, log_mel
from chinwag.errors import EngineError

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


async def test_calls_at_once_do_not_mix_and_the_loop_stays_free() -> None:
    async with loaded(SmartTurn) as judge:
        whole = speech(WHOLE)
        cut = whole.between(0, len(whole.pcm) // 2)
        alone = [await judge.judge(whole, "", []), await judge.judge(cut, "", [])]
        async with watched("smart turn"):
            together = await asyncio.gather(*(judge.judge(audio, "", []) for audio in (whole, cut) * 4))
        assert together == alone * 4


async def test_cancelling_leaves_the_engine_usable() -> None:
    async with loaded(SmartTurn) as judge:
        before = await judge.judge(speech(WHOLE), "", [])
        tasks = [asyncio.create_task(judge.judge(silence(1.0, 16_000), "", [])) for _ in range(20)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await judge.judge(speech(WHOLE), "", []) == before


async def test_another_rate_is_refused() -> None:
    async with loaded(SmartTurn) as judge:
        with pytest.raises(EngineError, match="16000"):
            await judge.judge(Audio(np.zeros(100, np.float32), 24_000), "", [])
        await judge.close()
        with pytest.raises(EngineError, match="closed"):
            await judge.judge(silence(1.0, 16_000), "", [])
