"""Speech to text by OpenAI or any server with its API: speaches, vLLM, LocalAI, another Chinwag."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.faults import require_rate
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
"""Parts of the names of transcription models; a server's list often contains other models."""

EVERY = 0.8
"""Least new sound between two requests for partial transcripts, in seconds: each sends the whole utterance."""


class OpenAITranscriber:
    """A transcription model behind an OpenAI-compatible address."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI's transcription, or any server with its API", "the server's")
    languages: tuple[str, ...] = ("*",)

    def __init__(self, client: AsyncOpenAI, model: str, settings: Any) -> None:
        self._client, self.model, self._settings = client, model, settings
        self._verbose = not model.startswith("gpt-")

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the server's transcription models by their names; all models if no name matches."""
        return _transcription_models(list_models("stt", *address_and_key("stt", settings), settings.model))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Connect to the server; choose its first transcription model if none is configured."""
        settings = options.settings
        options.only(cls.name)
        base_url, key = address_and_key("stt", settings)
        names = _transcription_models(list_models("stt", base_url, key, settings.model))
        usual = OPENAIS_MODEL if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname else ""
        model = settings.model or usual or next(iter(names), "")
        if not model:
            message = f"{server_name('stt', base_url)} has no model loaded."
            raise EngineError(message, "Load one there, or set stt.model.", cls.name)
        return cls(open_client(base_url, key, settings.timeout_s), model, settings)

    def open(self, language: str | None = None) -> OpenAIUtterance:
        """Open an utterance. The language is not checked: the server decides if it supports it."""
        return OpenAIUtterance(self, language)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def transcribe(self, audio: Audio, language: str | None) -> tuple[str, str | None]:
        """Return the text of sound at 16 kHz, and its language if the server sends it. Raises EngineError."""
        from openai import BadRequestError

        request: dict[str, Any] = {"model": self.model, "file": ("speech.wav", audio.to_wav(), "audio/wav")}
        if language:
            request["language"] = primary_subtag(language)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                try:
                    response = await self._send_request(request)
                except BadRequestError:
                    if not self._verbose:
                        raise
                    self._verbose = False  # newer models have no verbose_json, which contains the language
                    response = await self._send_request(request)
        except Exception as error:
            server = server_name("stt", str(self._client.base_url))
            raise to_engine_error(error, "stt", self.name, server, self.model, self._settings.timeout_s) from error
        text, detected = getattr(response, "text", None), getattr(response, "language", None)
        if not isinstance(text, str):
            message = f"{server_name('stt', str(self._client.base_url))} sent no transcript."
            raise EngineError(message, "Check that stt.base_url is right: most end in /v1.", self.name)
        return text.strip(), language or language_tag(detected if isinstance(detected, str) else None)

    async def _send_request(self, request: Mapping[str, Any]) -> Any:
        return await self._client.audio.transcriptions.create(
            **request, response_format="verbose_json" if self._verbose else "json"
        )


def _transcription_models(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if any(part in name.lower() for part in HEARS)) or tuple(names)


class OpenAIUtterance:
    """One utterance. Each request sends all of its sound."""

    def __init__(self, engine: OpenAITranscriber, language: str | None) -> None:
        self._engine, self._language = engine, language
        self._sound = GrowingSound()
        self._sent = self._transcribed = 0
        self._last = Transcript("", final=False, until=0, language=language)

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        require_rate(audio, OpenAITranscriber.name)
        self._sound.push(audio)

    async def partial(self) -> Transcript:
        """Return the partial transcript; the previous one if little sound is new."""
        if self._sound.length - self._sent < EVERY * LISTEN_RATE:
            return self._last
        return await self._transcribe(final=False)

    async def finish(self) -> Transcript:
        """Return the final transcript; costs nothing if no sound was added since the last one."""
        if self._last.final and self._transcribed == self._sound.length:
            return self._last
        return await self._transcribe(final=True)

    async def _transcribe(self, *, final: bool) -> Transcript:
        length, until = self._sound.length, self._sound.until
        pcm = self._sound.view(0, length)
        self._sent = length
        text, language = "", self._language
        if length >= SHORTEST and abs(pcm).max() >= SILENT_PEAK:
            text, language = await self._engine.transcribe(Audio(pcm, LISTEN_RATE), self._language)
        transcript = Transcript(text, final, until, language=language)
        if length >= self._transcribed:  # the response to an earlier request may arrive later
            self._transcribed, self._last = length, transcript
        return transcript
