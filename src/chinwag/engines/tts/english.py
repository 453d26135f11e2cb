"""What the English voices share: words to phonemes to sound, sentence by sentence on a thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import ClassVar

from chinwag.audio import Audio, Samples
from chinwag.engines.worker import Worker
from chinwag.errors import EngineError


class EnglishVoice(ABC):
    """A voice engine for English. voices: names it can speak with, the first its own."""

    name: ClassVar[str]
    rate: int = 24_000

    def __init__(self, voices: tuple[str, ...]) -> None:
        self.voices = voices
        self.languages: Mapping[str, tuple[str, ...]] = {"en": voices}
        self._worker = Worker(self.name)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause at 24 kHz; a piece a sentence. Raises EngineError for an unknown voice or language."""
        name = check(self.name, self.voices, voice, language)
        start = 0
        for phonemes in await self._worker.run(self._phonemes, name, text):
            pcm = await self._worker.run(self._sound, name, phonemes, speed)
            if len(pcm):
                yield Audio(pcm, self.rate, start)
                start += len(pcm)

    @abstractmethod
    def _phonemes(self, voice: str, text: str) -> list[str]:
        """On the thread: a string for each sentence."""

    @abstractmethod
    def _sound(self, voice: str, phonemes: str, speed: float) -> Samples:
        """On the thread: float32 at 24 kHz."""


def check(engine: str, voices: Sequence[str], voice: str | None, language: str | None) -> str:
    """The voice to speak with: the one asked for, else the first. Raises EngineError for one that is not there."""
    if language is not None and language.lower().replace("_", "-").split("-")[0] != "en":
        raise EngineError(
            f"The voice engine {engine} speaks English, not {language}.", "Set another tts.engine.", engine
        )
    if not voice:
        return voices[0]
    if voice not in voices:
        raise EngineError(f"{engine} has no voice {voice}.", f"There are: {', '.join(voices)}.", engine)
    return voice
