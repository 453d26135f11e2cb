"""What voices share that speak a sentence at a time: words to phonemes to sound, on a thread."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from chinwag.audio import Audio, Samples
from chinwag.engines.worker import Worker
from chinwag.errors import EngineError
from chinwag.language import language_name as called
from chinwag.language import primary_subtag

SHOWN = 60
"""Voices that an error names: some engines have hundreds."""

ENDS = re.compile(r"(?<=[.!?…])\s+(?=[^\sa-z])|(?<=[。！？।])")
"""Behind what ends a sentence, where what follows does not go on in lower case."""


class SentenceVoice(ABC):
    """A voice engine that makes a sentence of sound in one step.

    languages: for each its voices, the best first. voices: all of them, the first its own; one that is in no language
    speaks any.
    """

    name: ClassVar[str]
    rate: int = 24_000

    def __init__(self, languages: Mapping[str, tuple[str, ...]], voices: Iterable[str] = ()) -> None:
        self.languages = languages
        named = [name for names in languages.values() for name in names]
        self.voices = tuple(dict.fromkeys([*voices, *named]))
        self._worker = Worker(self.name)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause; a piece a sentence. Raises EngineError for a voice it has not, or not in that language."""
        name = self.choose(voice, language)
        start = 0
        for phonemes in await self._worker.run(self._phonemes, name, text):
            pcm = await self._worker.run(self._sound, name, phonemes, speed)
            if len(pcm):
                yield Audio(pcm, self.rate, start)
                start += len(pcm)

    def choose(self, voice: str | None, language: str | None) -> str:
        """The voice to speak with: the one asked for, else the language's first, else the engine's."""
        return choose(self.name, self.voices, self.languages, voice, language)

    @abstractmethod
    def _phonemes(self, voice: str, text: str) -> list[Any]:
        """On the thread: what `_sound` takes, for each sentence."""

    @abstractmethod
    def _sound(self, voice: str, phonemes: Any, speed: float) -> Samples:
        """On the thread: float32 at `rate`."""


def choose(
    engine: str,
    voices: Sequence[str],
    languages: Mapping[str, tuple[str, ...]],
    voice: str | None,
    language: str | None,
) -> str:
    """The voice to speak with: the one asked for, else the language's first, else the engine's first.

    Raises EngineError for one that is not there, or does not speak the language. Where there are no languages, any
    voice speaks what it is given.
    """
    if voice and voice not in voices:
        there = ", ".join(voices[:SHOWN]) + " …" * (len(voices) > SHOWN)
        raise EngineError(f"{engine} has no voice {voice}.", f"There are: {there}.", engine)
    if not language or not languages:
        return voice or voices[0]
    fitting = languages.get(primary_subtag(language))
    if fitting is None:
        known = ", ".join(called(one) for one in languages)
        raise EngineError(
            f"The voice engine {engine} speaks {known}, not {called(language)}.",
            "Set another tts.engine: `chinwag engines` lists the languages of each.",
            engine,
        )
    if voice and voice not in fitting:
        raise EngineError(
            f"The voice {voice} does not speak {called(language)}.",
            f"For {called(language)} there are: {', '.join(fitting[:SHOWN])}.",
            engine,
        )
    return voice or fitting[0]


def sentences(text: str) -> list[str]:
    """The sentences of a clause, each with what ends it; none of nothing. "3.14" and "e.g. this" are in one piece."""
    return [part.strip() for part in ENDS.split(text) if part.strip()]


def refuse(
    engine: str,
    settings: Any,
    options: Iterable[str] = (),
    devices: Iterable[str] = ("auto", "cpu"),
    *,
    any_model: bool = False,
) -> None:
    """Raise EngineError for an option, a device or a model that the engine cannot do anything with.

    options: those it takes. any_model: there is a choice, and the engine looks at it itself.
    """
    model = getattr(settings, "model", "")
    if model and not any_model:
        message = f"The voice engine {engine} has no model {model}: there is only one."
        raise EngineError(message, "Leave tts.model empty.", engine)
    known = tuple(options)
    unknown = [key for key in getattr(settings, "options", {}) if key not in known]
    if unknown:
        fix = f"It takes: {', '.join(known)}." if known else "Leave tts.options empty: it takes none."
        raise EngineError(f"The voice engine {engine} takes no option {unknown[0]}.", fix, engine)
    device = getattr(settings, "device", "auto")
    if device not in devices:
        raise EngineError(f"The voice engine {engine} cannot run on {device}.", 'Set tts.device to "auto".', engine)
