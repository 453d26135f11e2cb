"""Speech servers with OpenAI's API: OpenAI, Kokoro-FastAPI, Orpheus-FastAPI, LocalAI, another Chinwag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from chinwag.audio import Audio, Resampler
from chinwag.engines.openai_server import (
    LOOK_AT_ITS_LOG,
    OPENAI,
    address_and_key,
    open_blocking_client,
    open_client,
    server_name,
    to_engine_error,
)
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import check_settings
from chinwag.engines.tts.wav import WavReader
from chinwag.errors import EngineError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_MODEL, COMPATIBLE_MODEL = "gpt-4o-mini-tts", "tts-1"
"""Default model of OpenAI, and the model name that compatible servers accept."""

VOICES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
"""OpenAI's voices, which many compatible servers accept."""

LIST_TIMEOUT_S = 10.0
"""Limit for the lists of models and voices."""


class OpenAIVoice:
    """A voice behind an OpenAI-compatible address; its audio is streamed."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI, or any speech server with its API", "the server's")
    rate: int = 24_000

    def __init__(self, client: AsyncOpenAI, model: str, voices: tuple[str, ...], listed: bool, settings: Any) -> None:
        self._client, self._model, self._settings = client, model, settings
        self.voices, self._listed = voices, listed
        self.languages: Mapping[str, tuple[str, ...]] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the models that the server lists, the one in use first."""
        base_url, key = address_and_key("tts", settings)
        names = _models(base_url, key, settings)
        first = settings.model or _default_model(base_url, names)
        return tuple(dict.fromkeys([first, *names]))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Connect to the server, list its voices and choose a model if none is set."""
        settings = options.settings
        check_settings(cls.name, settings, options=("instructions",), devices=("auto", "cpu", "cuda"), any_model=True)
        base_url, key = address_and_key("tts", settings)
        model = settings.model or _default_model(base_url, _models(base_url, key, settings))
        listed = _voices(base_url, key, settings)
        if listed and settings.voice and settings.voice not in listed:
            raise _no_voice(server_name("tts", base_url), settings.voice, listed)
        first = [settings.voice] if settings.voice else []
        voices = tuple(dict.fromkeys([*first, *(listed or VOICES)]))
        return cls(open_client(base_url, key, settings.timeout_s), model, voices, bool(listed), settings)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause at 24 kHz, in the pieces that the server sends. Closing the generator ends the request."""
        name = voice or self.voices[0]
        if self._listed and name not in self.voices:
            raise _no_voice(self._server_name, name, self.voices)
        if not text.strip():
            return
        request: dict[str, Any] = {"model": self._model, "voice": name, "input": text, "response_format": "pcm"}
        if speed != 1.0:  # some servers and models refuse the field
            request["speed"] = speed
        if instructions := self._settings.options.get("instructions"):
            request["instructions"] = instructions
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    request_context = self._client.audio.speech.with_streaming_response.create(**request)
                    response = await stack.enter_async_context(request_context)
            except Exception as error:
                raise self._to_engine_error(error, name) from error
            pieces = await stack.enter_async_context(aclosing(self._stream_audio(response)))
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def _stream_audio(self, response: Any) -> AsyncGenerator[Audio, None]:
        kind = response.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            raise EngineError(
                f"{self._server_name} sent {kind.split(';')[0]}, which is not audio.",
                "Check that tts.base_url is right: most end in /v1.",
                self.name,
            )
        reader, sent_samples, start = WavReader(self.rate), 0, 0
        resampler: Resampler | None = None
        chunks = response.iter_bytes()
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    data = await anext(chunks, None)
            except Exception as error:
                raise self._stream_error(error) from error
            pcm = reader.push(data or b"")
            if len(pcm) or resampler:  # the rate is known
                resampler = resampler or Resampler(reader.rate, self.rate)
                piece = resampler.push(Audio(pcm, reader.rate, start), last=data is None)
                start += len(pcm)
                if len(piece.pcm):
                    yield piece
                    sent_samples += len(piece.pcm)
            if data is None:
                break
        if not sent_samples:
            raise EngineError(f"{self._server_name} sent no audio.", LOOK_AT_ITS_LOG, self.name)

    @property
    def _server_name(self) -> str:
        return server_name("tts", str(self._client.base_url))

    def _stream_error(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return self._to_engine_error(TimeoutError(), "")
        return EngineError(
            f"{self._server_name} broke off in the middle of speaking.",
            LOOK_AT_ITS_LOG,
            self.name,
        )

    def _to_engine_error(self, error: Exception, voice: str) -> EngineError:
        text = str(error)
        status = getattr(error, "status_code", None)
        if status in {400, 404, 422} and "voice" in text.lower() and "model" not in text.lower():
            body = getattr(error, "body", None)
            message = (body.get("message") if isinstance(body, dict) else None) or text
            return EngineError(
                f"{self._server_name} refuses the voice {voice}: {str(message).rstrip('.')}.",
                "Set tts.voice to one it has.",
                self.name,
            )
        return _request_error(error, self._server_name, self._model, self._settings.timeout_s)


def _request_error(error: Exception, server: str, model: str, timeout_s: float) -> EngineError:
    return to_engine_error(error, "tts", OpenAIVoice.name, server, model, timeout_s)


def _no_voice(server: str, voice: str, listed: tuple[str, ...]) -> EngineError:
    return EngineError(f"{server} has no voice {voice}.", f"There are: {', '.join(listed)}.", OpenAIVoice.name)


def _default_model(base_url: str, names: tuple[str, ...]) -> str:
    if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
        return OPENAI_MODEL
    return COMPATIBLE_MODEL if not names or COMPATIBLE_MODEL in names else names[0]


def _models(base_url: str, key: str, settings: Any) -> tuple[str, ...]:
    """Return the server's models; none if it has no list."""
    body = _get(base_url, key, "/models", settings)
    models = body.get("data") if isinstance(body, dict) else None
    return tuple(str(model["id"]) for model in models or () if isinstance(model, dict) and "id" in model)


def _voices(base_url: str, key: str, settings: Any) -> tuple[str, ...]:
    """Return the server's voices, in the form of Kokoro-FastAPI and similar servers; none if it has no list."""
    if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
        return ()
    body = _get(base_url, key, "/audio/voices", settings)
    voices = body.get("voices", body.get("data")) if isinstance(body, dict) else body
    names = []
    for voice in voices if isinstance(voices, list) else ():
        name = (voice.get("id") or voice.get("voice_id") or voice.get("name")) if isinstance(voice, dict) else voice
        if isinstance(name, str):
            names.append(name)
    return tuple(names)


def _get(base_url: str, key: str, path: str, settings: Any) -> Any:
    """Return the JSON of a path, None if the server does not have it. Raises EngineError for every other fault."""
    from openai import APIStatusError

    limit = min(LIST_TIMEOUT_S, settings.timeout_s)
    with open_blocking_client(base_url, key, limit) as client:
        try:
            return client.get(path, cast_to=object)
        except Exception as error:
            if isinstance(error, APIStatusError) and error.status_code in {400, 404, 405, 501}:
                return None
            raise _request_error(error, server_name("tts", base_url), settings.model, limit) from error
