"""Speech to text by any server that speaks OpenAI's language: speaches, vLLM, LocalAI, another Chinwag, OpenAI."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.openai_server import (
    OPENAI,
    address_and_key,
    list_models,
    open_client,
    server_name,
    to_engine_error,
)
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.engines.stt.growing import SHORTEST, SILENT_PEAK, GrowingSound
from chinwag.errors import EngineError
from chinwag.language import language_tag, primary_subtag

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAIS_MODEL = "gpt-4o-mini-transcribe"

HEARS = ("whisper", "transcri", "moonshine", "parakeet", "asr", "stt", "voxtral", "canary")
"""What the names of models that hear have in them: a server's list often has others as well."""

EVERY = 0.8
"""Seconds of new sound between two requests for live words: each sends all of the utterance."""


class OpenAITranscriber:
    """A transcription model behind an OpenAI-compatible address."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI's transcription, or any server that speaks its language", "the server's")
    languages: tuple[str, ...] = ("*",)

    def __init__(self, client: AsyncOpenAI, model: str, settings: Any) -> None:
        self._client, self.model, self._settings = client, model, settings
        self._verbose = not model.startswith("gpt-")

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Those of the server's that seem to hear; all of them where none does."""
        return _hearing(list_models("stt", *address_and_key("stt", settings), settings.model))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Reach the server, and choose its first model that hears where none is set."""
        settings = options.settings
        options.only(cls.name)
        base_url, key = address_and_key("stt", settings)
        names = _hearing(list_models("stt", base_url, key, settings.model))
        usual = OPENAIS_MODEL if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname else ""
        model = settings.model or usual or next(iter(names), "")
        if not model:
            message = f"{server_name('stt', base_url)} has no model loaded."
            raise EngineError(message, "Load one there, or set stt.model.", cls.name)
        return cls(open_client(base_url, key, settings.timeout_s), model, settings)

    def open(self, language: str | None = None) -> OpenAIUtterance:
        """Begin an utterance; whether the language is known only the server can tell."""
        return OpenAIUtterance(self, language)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def transcribe(self, audio: Audio, language: str | None) -> tuple[str, str | None]:
        """The words of some sound (16 kHz), and the language where the server tells it. Raises EngineError."""
        from openai import BadRequestError

        asked: dict[str, Any] = {"model": self.model, "file": ("speech.wav", audio.to_wav(), "audio/wav")}
        if language:
            asked["language"] = primary_subtag(language)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                try:
                    answer = await self._ask(asked)
                except BadRequestError:
                    if not self._verbose:
                        raise
                    self._verbose = False  # the newer models tell no language
                    answer = await self._ask(asked)
        except Exception as error:
            server = server_name("stt", str(self._client.base_url))
            raise to_engine_error(error, "stt", self.name, server, self.model, self._settings.timeout_s) from error
        text, heard = getattr(answer, "text", None), getattr(answer, "language", None)
        if not isinstance(text, str):
            message = f"{server_name('stt', str(self._client.base_url))} sent something that is no transcript."
            raise EngineError(message, "Check that stt.base_url is right: most end in /v1.", self.name)
        return text.strip(), language or language_tag(heard if isinstance(heard, str) else None)

    async def _ask(self, asked: Mapping[str, Any]) -> Any:
        return await self._client.audio.transcriptions.create(
            **asked, response_format="verbose_json" if self._verbose else "json"
        )


def _hearing(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if any(part in name.lower() for part in HEARS)) or tuple(names)


class OpenAIUtterance:
    """One utterance on its way to words: all of it is sent for each hearing, and only one live one at a time."""

    def __init__(self, engine: OpenAITranscriber, language: str | None) -> None:
        self._engine, self._language = engine, language
        self._sound = GrowingSound()
        self._asked = self._known = 0
        self._last = Transcript("", final=False, until=0, language=language)

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        if audio.rate != LISTEN_RATE:
            message = f"The engine openai hears {LISTEN_RATE} samples a second, not {audio.rate}."
            raise EngineError(message, "Resample first.", OpenAITranscriber.name)
        self._sound.push(audio)

    async def partial(self) -> Transcript:
        """The words so far; those of the last time while there is little new."""
        if self._sound.length - self._asked < EVERY * LISTEN_RATE:
            return self._last
        return await self._hear(final=False)

    async def finish(self) -> Transcript:
        """The final words; free where nothing was pushed since they were asked for."""
        if self._last.final and self._known == self._sound.length:
            return self._last
        return await self._hear(final=True)

    async def _hear(self, *, final: bool) -> Transcript:
        length, until = self._sound.length, self._sound.until
        pcm = self._sound.view(0, length)
        self._asked = length
        text, language = "", self._language
        if length >= SHORTEST and abs(pcm).max() >= SILENT_PEAK:
            text, language = await self._engine.transcribe(Audio(pcm, LISTEN_RATE), self._language)
        transcript = Transcript(text, final, until, language=language)
        if length >= self._known:  # a request of less sound may be answered later
            self._known, self._last = length, transcript
        return transcript
