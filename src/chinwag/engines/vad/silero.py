"""Silero VAD v6 on onnxruntime: a speech probability 31 times a second."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.onnx import OnnxEngine, open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError

CONTEXT = 64
"""Samples of the previous frame that precede each frame in the model's input (silero_vad/utils_vad.py)."""

_RATE = np.array(LISTEN_RATE, np.int64)


class SileroVad(OnnxEngine):
    """Silero VAD: one model for all conversations, with a state for each."""

    name: ClassVar[str] = "silero"
    about: ClassVar[About] = About("Silero VAD v6: detects speech", "MIT")
    weights: ClassVar[str] = "silero-vad"
    frame: ClassVar[int] = 512
    """Samples of each `feed` at 16 kHz: 32 ms, the only length that the model was trained on."""

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and run it once on a silent frame."""
        folder = weights_folder(options.weights, cls.weights, cls.name)
        model = open_model(folder / "silero_vad_16k_op15.onnx", cls.name)
        vad = cls(model)
        SileroStream(vad, vad._worker).process_frame(np.zeros(cls.frame, np.float32))
        return vad

    def open(self) -> SileroStream:
        """Open a stream with its own state."""
        return SileroStream(self, self._worker)

    def infer(self, sound: Samples, state: Samples) -> tuple[float, Samples]:
        """Run the network once. sound: (1, 576). state: (2, 1, 128). Returns P(speech) and the next state."""
        probability, next_state = self._model.run(None, {"input": sound, "state": state, "sr": _RATE})
        return float(probability[0, 0]), next_state


class SileroStream:
    """Voice activity detection of one conversation."""

    def __init__(self, vad: SileroVad, worker: Worker) -> None:
        self._vad, self._worker = vad, worker
        self._state = np.zeros((2, 1, 128), np.float32)
        self._sound = np.zeros((1, CONTEXT + vad.frame), np.float32)

    async def feed(self, audio: Audio) -> float:
        """Return P(speech) of the next 512 samples at 16 kHz; frames must be fed in order.

        Raises EngineError for a frame of another length or rate.
        """
        if len(audio.pcm) != self._vad.frame or audio.rate != LISTEN_RATE:
            raise EngineError(
                f"Silero takes frames of {self._vad.frame} samples at {LISTEN_RATE} Hz,"
                f" but got {len(audio.pcm)} at {audio.rate} Hz.",
                "Cut and resample the sound first.",
                self._vad.name,
            )
        return await self._worker.run_at(Priority.NOW, self.process_frame, audio.pcm)

    def process_frame(self, pcm: Samples) -> float:
        """Do the work of `feed` on the calling thread."""
        sound = self._sound
        sound[0, :CONTEXT] = sound[0, -CONTEXT:]
        sound[0, CONTEXT:] = pcm
        probability, self._state = self._vad.infer(sound, self._state)
        return probability
