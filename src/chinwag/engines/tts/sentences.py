"""Base class of voices that synthesize a sentence at a time on a thread, and checks that TTS engines share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from chinwag.audio import Audio, Samples
from chinwag.engines.worker import Worker
from chinwag.errors import EngineError
from chinwag.language import language_name, primary_subtag

MAX_LISTED = 60
"""Most voices in an error message: some engines have hundreds."""

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[^\sa-z])|(?<=[。！？।])")
"""The end of a sentence, unless lower case follows."""


class SentenceVoice(ABC):
    """A TTS engine that synthesizes a sentence in one step.

    languages: the voices of each language, the best first. voices: all voices, the default first; a voice of no
    language speaks any.
    """

    name: ClassVar[str]
    rate: int = 24_000

    def __init__(self, languages: Mapping[str, tuple[str, ...]], voices: Iterable[str] = ()) -> None:
        self.languages = languages
        by_language = [name for names in languages.values() for name in names]
        self.voices = tuple(dict.fromkeys([*voices, *by_language]))
        self._worker = Worker(self.name)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause, one piece for each sentence. Raises EngineError for an unknown voice or a wrong language."""
        name = self.choose(voice, language)
        start = 0
        for phonemes in await self._worker.run(self._phonemes, name, text):
            pcm = await self._worker.run(self._synthesize, name, phonemes, speed)
            if len(pcm):
                yield Audio(pcm, self.rate, start)
                start += len(pcm)

    def choose(self, voice: str | None, language: str | None) -> str:
        """Return the requested voice, else the language's first, else the default; see `choose_voice`."""
        return choose_voice(self.name, self.voices, self.languages, voice, language)

    @abstractmethod
    def _phonemes(self, voice: str, text: str) -> list[Any]:
        """Return the phonemes of each sentence; called on the thread."""

    @abstractmethod
    def _synthesize(self, voice: str, phonemes: Any, speed: float) -> Samples:
        """Return float32 samples at `rate`; called on the thread."""

    def _warm_up(self, voice: str, text: str) -> None:
        """Synthesize a text on the caller's thread and discard it."""
        for phonemes in self._phonemes(voice, text):
            self._synthesize(voice, phonemes, 1.0)


def choose_voice(
    engine: str,
    voices: Sequence[str],
    languages: Mapping[str, tuple[str, ...]],
    voice: str | None,
    language: str | None,
) -> str:
    """Return the requested voice, else the language's first, else the engine's first.

    Without `languages` any voice speaks any language. Raises EngineError for an unknown voice or a wrong language.
    """
    if voice and voice not in voices:
        known = ", ".join(voices[:MAX_LISTED]) + " …" * (len(voices) > MAX_LISTED)
        raise EngineError(f"{engine} has no voice {voice}.", f"There are: {known}.", engine)
    if not language or not languages:
        return voice or voices[0]
    fitting = languages.get(primary_subtag(language))
    if fitting is None:
        known = ", ".join(language_name(code) for code in languages)
        raise EngineError(
            f"The voice engine {engine} speaks {known}, not {language_name(language)}.",
            "Set another tts.engine: `chinwag engines` lists the languages of each.",
            engine,
        )
    if voice and voice not in fitting:
        raise EngineError(
            f"The voice {voice} does not speak {language_name(language)}.",
            f"For {language_name(language)} there are: {', '.join(fitting[:MAX_LISTED])}.",
            engine,
        )
    return voice or fitting[0]


def sentences(text: str) -> list[str]:
    """Split a clause into sentences with their punctuation. "3.14" and "e.g. this" are not split."""
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


def check_settings(
    engine: str,
    settings: Any,
    options: Iterable[str] = (),
    devices: Iterable[str] = ("auto", "cpu"),
    *,
    any_model: bool = False,
) -> None:
    """Raise EngineError for an option, a device or a model that the engine does not support.

    options: supported ones. any_model: do not check the model; the engine does.
    """
    model = getattr(settings, "model", "")
    if model and not any_model:
        message = f"The voice engine {engine} has no model {model}: there is only one."
        raise EngineError(message, "Leave tts.model empty.", engine)
    known = tuple(options)
    unknown = [key for key in getattr(settings, "options", {}) if key not in known]
    if unknown:
        fix = f"It takes: {', '.join(known)}." if known else "Leave tts.options empty."
        raise EngineError(f"The voice engine {engine} takes no option {unknown[0]}.", fix, engine)
    device = getattr(settings, "device", "auto")
    if device not in devices:
        raise EngineError(f"The voice engine {engine} cannot run on {device}.", 'Set tts.device to "auto".', engine)
