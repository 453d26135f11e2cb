"""An ear: it hears how often somebody whistled."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.errors import EngineError

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
LOUD = 0.05
BLOCK = LISTEN_RATE // 50
"""20 ms."""


class ParrotEar:
    """Counts in English."""

    name: ClassVar[str] = "parrot"
    about: ClassVar[About] = About("Counts whistles", "MIT", ("en",))
    languages: tuple[str, ...] = ("en",)

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
        """There is nothing to load; an option it does not know is refused all the same."""
        options.only(cls.name)
        return cls()

    def open(self, language: str | None = None) -> Whistles:
        """What belongs to one utterance is an object of its own."""
        if language and language.split("-")[0].lower() != "en":
            raise EngineError(f"The parrot counts in English, not in {language}.", "Set stt.language = en.", self.name)
        return Whistles()

    async def close(self) -> None:
        """Nothing to give back."""


class Whistles:
    """One utterance."""

    def __init__(self) -> None:
        self._count, self._loud, self._until = 0, False, 0
        self._rest = np.zeros(0, np.float32)

    def push(self, audio: Audio) -> None:
        """Add sound, 16 kHz."""
        self._until = audio.end
        pcm = np.concatenate([self._rest, audio.pcm])
        whole = len(pcm) // BLOCK * BLOCK
        self._rest = pcm[whole:]
        for block in pcm[:whole].reshape(-1, BLOCK):
            loud = bool(np.sqrt((block**2).mean()) > LOUD)
            self._count += loud and not self._loud
            self._loud = loud

    async def partial(self) -> Transcript:
        """The count so far."""
        return self._transcript(final=False)

    async def finish(self) -> Transcript:
        """The count; more sound may still come."""
        return self._transcript(final=True)

    def _transcript(self, *, final: bool) -> Transcript:
        return Transcript(" ".join(NUMBERS[: self._count]), final, self._until, language="en")
