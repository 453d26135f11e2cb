"""Silero VAD v6 on onnxruntime: hears whether somebody speaks, 31 times a second."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError

CONTEXT = 64
"""Samples of the frame before that the model hears in front of each frame at 16 kHz (silero_vad/utils_vad.py)."""

_RATE = np.array(LISTEN_RATE, np.int64)


class SileroVad:
    """Silero VAD; one model for all conversations, a state for each."""

    name: ClassVar[str] = "silero"
    about: ClassVar[About] = About("Silero VAD v6: hears whether somebody speaks", "MIT")
    frame: ClassVar[int] = 512
    """Samples of each `feed` at 16 kHz: 32 ms, the only length that the model was trained on."""

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
        return ("silero-vad",)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and hear one silent frame with it."""
        folder = weights_folder(options.weights, "silero-vad", cls.name)
        model = open_model(folder / "silero_vad_16k_op15.onnx", cls.name)
        vad = cls(model)
        SileroStream(vad, vad._worker).process_frame(np.zeros(cls.frame, np.float32))
        return vad

    def open(self) -> SileroStream:
        """Begin a stream of its own state."""
        return SileroStream(self, self._worker)

    async def close(self) -> None:
        """End the thread and let the model go."""
        self._worker.close()
        self._model = None

    def infer(self, sound: Samples, state: Samples) -> tuple[float, Samples]:
        """One step of the network. sound: (1, 576). state: (2, 1, 128). Returns P(speech) and the next state."""
        probability, following = self._model.run(None, {"input": sound, "state": state, "sr": _RATE})
        return float(probability[0, 0]), following


class SileroStream:
    """One conversation's ear."""

    def __init__(self, vad: SileroVad, worker: Worker) -> None:
        self._vad, self._worker = vad, worker
        self._state = np.zeros((2, 1, 128), np.float32)
        self._sound = np.zeros((1, CONTEXT + vad.frame), np.float32)

    async def feed(self, audio: Audio) -> float:
        """P(speech) in the next 512 samples at 16 kHz; frames are fed one after the other.

        Raises EngineError where the frame is of another length or rate.
        """
        if len(audio.pcm) != self._vad.frame or audio.rate != LISTEN_RATE:
            raise EngineError(
                f"Silero hears {self._vad.frame} samples at {LISTEN_RATE} Hz at a time,"
                f" but {len(audio.pcm)} at {audio.rate} Hz came.",
                "Cut and resample the sound first.",
                self._vad.name,
            )
        return await self._worker.run_at(Priority.NOW, self.process_frame, audio.pcm)

    def process_frame(self, pcm: Samples) -> float:
        """The work of `feed`, on the thread that calls."""
        sound = self._sound
        sound[0, :CONTEXT] = sound[0, -CONTEXT:]
        sound[0, CONTEXT:] = pcm
        probability, self._state = self._vad.infer(sound, self._state)
        return probability
