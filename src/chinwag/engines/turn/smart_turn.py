"""Smart Turn v3.2 on onnxruntime: an end-of-turn probability from the last 8 s of sound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.faults import require_rate
from chinwag.engines.onnx import OnnxEngine, open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions, Message
from chinwag.engines.worker import Priority

WINDOW_SAMPLES = 8 * LISTEN_RATE
"""Samples of the model's input; shorter sound is padded with silence in front."""

WINDOW, HOP, MELS = 400, 160, 80
"""Whisper's log-mel features: 25 ms windows every 10 ms, 80 bands (openai/whisper audio.py)."""

LANGUAGES = (
    *("ar", "bn", "zh", "da", "nl", "de", "en", "fi", "fr", "hi", "id", "it", "ja"),
    *("ko", "mr", "no", "pl", "pt", "ru", "es", "tr", "uk", "vi"),
)
"""Languages that it was trained on (pipecat-ai/smart-turn-v3 model card)."""


class SmartTurn(OnnxEngine):
    """End-of-turn detection from melody and rhythm alone, without words."""

    name: ClassVar[str] = "smart-turn"
    about: ClassVar[About] = About("Smart Turn v3.2: detects the end of a turn", "BSD-2-Clause", LANGUAGES)
    weights: ClassVar[str] = "smart-turn"

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and run it once on silence."""
        folder = weights_folder(options.weights, cls.weights, cls.name)
        judge = cls(open_model(folder / "smart-turn-v3.2-cpu.onnx", cls.name))
        judge._judge(np.zeros(LISTEN_RATE, np.float32))
        return judge

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """Return the end-of-turn probability of `audio` (16 kHz), which ends in the silence after the words."""
        require_rate(audio, self.name)
        return await self._worker.run_at(Priority.NOW, self._judge, audio.pcm[-WINDOW_SAMPLES:])

    def _judge(self, pcm: Samples) -> float:
        return float(self._model.run(None, {"input_features": log_mel(pcm)[None]})[0][0, 0])


def log_mel(pcm: Samples) -> Samples:
    """Compute Whisper's features of the last 8 s, after normalising the waveform to mean 0 and variance 1.

    pcm: float32 at 16 kHz, any length. Returns float32 of shape (80, 800).
    Equal to transformers' WhisperFeatureExtractor(chunk_length=8) with do_normalize=True on left-padded sound.
    """
    sound = np.zeros(WINDOW_SAMPLES, np.float32)
    if len(pcm):
        sound[-len(pcm[-WINDOW_SAMPLES:]) :] = pcm[-WINDOW_SAMPLES:]
    sound -= sound.mean()
    sound /= np.sqrt(sound.var() + 1e-7)
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    frames = sliding_window_view(padded, WINDOW)[:-1:HOP] * _window()
    spectrum = np.fft.rfft(frames)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = np.log10(np.maximum(_filters() @ power.T, 1e-10))
    scaled: Samples = (np.maximum(bands, bands.max() - 8.0) + 4.0) / 4.0
    return scaled


@cache
def _window() -> Samples:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@cache
def _filters() -> Samples:
    """Return triangular filters of equal area on Slaney's mel scale (librosa.filters.mel), shape (80, 201)."""
    step = np.log(6.4) / 27.0  # above 1 kHz (15 mel) the scale is logarithmic
    mels = np.linspace(0.0, 15.0 + np.log(LISTEN_RATE / 2 / 1000.0) / step, MELS + 2)
    edges = np.where(mels < 15.0, 200.0 / 3.0 * mels, 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, LISTEN_RATE / 2, WINDOW // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    areas: Samples = (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)
    return areas
