"""Smart Turn v3.2 on onnxruntime: tells from the last 8 s of sound whether the speaker has finished."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions, Message
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError

HEARD = 8 * LISTEN_RATE
"""Samples that the model hears; shorter sound is preceded by silence."""

WINDOW, HOP, MELS = 400, 160, 80
"""Whisper's log-mel features: 25 ms windows every 10 ms, 80 bands (openai/whisper audio.py)."""

LANGUAGES = (
    *("ar", "bn", "zh", "da", "nl", "de", "en", "fi", "fr", "hi", "id", "it", "ja"),
    *("ko", "mr", "no", "pl", "pt", "ru", "es", "tr", "uk", "vi"),
)
"""That it was trained on (pipecat-ai/smart-turn-v3 model card)."""


class SmartTurn:
    """Judges the melody and rhythm of what was said; knows no words."""

    name: ClassVar[str] = "smart-turn"
    about: ClassVar[About] = About("Smart Turn v3.2: hears whether they have finished", "BSD-2-Clause", LANGUAGES)

    def __init__(self, model: Any) -> None:
        self._model = model
        self._worker = Worker(self.name)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """None to choose from."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The model's catalog name."""
        return ("smart-turn",)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and judge a moment of silence with it."""
        folder = weights_folder(options.weights, "smart-turn", cls.name)
        judge = cls(open_model(folder / "smart-turn-v3.2-cpu.onnx", cls.name))
        judge._judge(np.zeros(LISTEN_RATE, np.float32))
        return judge

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """P(finished) of the last 8 s of `audio` (16 kHz), which ends in the silence after the words."""
        if audio.rate != LISTEN_RATE:
            raise EngineError(
                f"Smart Turn hears {LISTEN_RATE} samples a second, not {audio.rate}.", "Resample first.", self.name
            )
        return await self._worker.run_at(Priority.NOW, self._judge, audio.pcm[-HEARD:])

    async def close(self) -> None:
        """End the thread and let the model go."""
        self._worker.close()
        self._model = None

    def _judge(self, pcm: Samples) -> float:
        return float(self._model.run(None, {"input_features": log_mel(pcm)[None]})[0][0, 0])


def log_mel(pcm: Samples) -> Samples:
    """Whisper's features of the last 8 s, the waveform brought to mean 0 and variance 1 before.

    pcm: float32 at 16 kHz, any length. Returns float32 of shape (80, 800).
    Equal to transformers' WhisperFeatureExtractor(chunk_length=8) with do_normalize=True on left-padded sound.
    """
    sound = np.zeros(HEARD, np.float32)
    if len(pcm):
        sound[-len(pcm[-HEARD:]) :] = pcm[-HEARD:]
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
    """Triangles on Slaney's mel scale, each of the same area (librosa.filters.mel). Shape (80, 201)."""
    step = np.log(6.4) / 27.0  # above 1 kHz (15 mel) the scale is logarithmic
    mels = np.linspace(0.0, 15.0 + np.log(LISTEN_RATE / 2 / 1000.0) / step, MELS + 2)
    edges = np.where(mels < 15.0, 200.0 / 3.0 * mels, 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, LISTEN_RATE / 2, WINDOW // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    areas: Samples = (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)
    return areas
