"""Silero VAD with its real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engines.contract import loaded, speech, then_silence

from chinwag.audio import Audio, silence
from chinwag.engines.protocols import EngineOptions, VadStream
from chinwag.engines.vad.silero import SileroVad
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

SAID = "I would like to book a table for four people, please."


async def heard(stream: VadStream, audio: Audio) -> list[float]:
    frames = range(0, len(audio.pcm) - 511, 512)
    return [await stream.feed(Audio(audio.pcm[at : at + 512], 16_000, at)) for at in frames]


async def test_speech_is_told_from_silence_and_noise() -> None:
    async with loaded(SileroVad) as vad:
        said = np.array(await heard(vad.open(), speech(SAID)))
        nothing = np.array(await heard(vad.open(), silence(1.0, 16_000)))
        noise = np.random.default_rng(1).normal(0, 0.02, 32_000).astype(np.float32)
        hiss = np.array(await heard(vad.open(), Audio(noise, 16_000)))
        assert said.max() > 0.95
        assert np.mean(said[12:-15] > 0.5) > 0.8
        assert nothing.max() < 0.2
        assert hiss.max() < 0.5


async def test_it_notices_the_end_within_150_ms_of_silence() -> None:
    async with loaded(SileroVad) as vad:
        said = speech(SAID).pcm
        loud = np.flatnonzero(np.abs(said) > 0.02)
        cut = Audio(said[: loud[-1]], 16_000)
        chances = await heard(vad.open(), then_silence(cut, 1.0))
        last = max(at for at, chance in enumerate(chances) if chance > 0.5)
        assert last * 512 - len(cut.pcm) < 0.15 * 16_000


async def test_a_frame_of_another_length_or_rate_is_refused() -> None:
    async with loaded(SileroVad) as vad:
        with pytest.raises(EngineError, match="512 samples at 16000"):
            await vad.open().feed(silence(0.01, 16_000))
        with pytest.raises(EngineError, match="at 24000"):
            await vad.open().feed(Audio(np.zeros(512, np.float32), 24_000))


def test_weights_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="chinwag models pull silero-vad"):
        SileroVad.load(EngineOptions(None))
    (tmp_path / "silero_vad_16k_op15.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineError, match="models verify") as failure:
        SileroVad.load(EngineOptions(None, {"silero-vad": tmp_path}))
    assert failure.value.engine == "silero"
