"""A voice: each word is a chirp, the longer the word the longer the chirp."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Audio
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.worker import Worker
from chinwag.errors import EngineError

PITCH = {"polly": 900.0, "jack": 500.0}
"""Hz at the beginning of a chirp; it rises by half."""

LETTER_S, GAP_S = 0.05, 0.06


class ParrotVoice:
    """Speaks any language, as it understands none."""

    name: ClassVar[str] = "parrot"
    about: ClassVar[About] = About("A parrot's chirps", "MIT")
    rate: int = 24_000
    voices: tuple[str, ...] = tuple(PITCH)
    languages: Mapping[str, tuple[str, ...]] = {}

    def __init__(self, loudness: float) -> None:
        self._loudness = loudness
        self._worker = Worker(self.name)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """None to choose from."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """No weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Heavy imports and files belong here, and nowhere else. `tts.options` may have a `loudness`, 0 to 1."""
        loudness = options.only(cls.name, loudness=0.3)["loudness"]
        if not 0 < loudness <= 1:
            raise EngineError(
                f"A loudness of {loudness} cannot be.", "Set tts.options.loudness above 0, to 1.", cls.name
            )
        return cls(loudness)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """A piece a word, so that it can be stopped between two."""
        name = voice or self.voices[0]
        if name not in PITCH:
            raise EngineError(f"The parrot has no voice {name}.", f"There are: {', '.join(PITCH)}.", self.name)
        start = 0
        for word in text.split():
            pcm = await self._worker.run(self._chirp, len(word), PITCH[name], speed)
            yield Audio(pcm, self.rate, start)
            start += len(pcm)

    async def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def _chirp(self, letters: int, pitch: float, speed: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """On the worker's thread: the event loop must not wait for it."""
        length = round(letters * LETTER_S / speed * self.rate)
        phase = 2 * math.pi * np.cumsum(np.linspace(pitch, 1.5 * pitch, length)) / self.rate
        sound = self._loudness * np.hanning(length) * np.sin(phase)
        return np.concatenate([sound, np.zeros(round(GAP_S / speed * self.rate))]).astype(np.float32)
