"""Any server that speaks as OpenAI's does: OpenAI, Kokoro-FastAPI, Orpheus-FastAPI, LocalAI, another Chinwag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from chinwag.audio import Audio, Resampler
from chinwag.engines.openai_server import LOOPBACK, OPENAI, address_and_key, open_client, server_name, to_engine_error
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import refuse
from chinwag.engines.tts.wav import WavReader
from chinwag.errors import EngineError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MODEL, USUAL_MODEL = "gpt-4o-mini-tts", "tts-1"
"""OpenAI's own choice, and the name that compatible servers know their one model by."""

VOICES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
"""OpenAI's, which many compatible servers take for their own."""

REACH_S = 10.0
"""How long a server may take to say what it has."""


class OpenAIVoice:
    """A voice behind an OpenAI-compatible address; its sound is passed on as it comes."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI, or any speech server that is spoken to as it is", "the server's")
    rate: int = 24_000

    def __init__(self, client: AsyncOpenAI, model: str, voices: tuple[str, ...], listed: bool, settings: Any) -> None:
        self._client, self._model, self._settings = client, model, settings
        self.voices, self._listed = voices, listed
        self.languages: Mapping[str, tuple[str, ...]] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Those the server lists, the one that is used first."""
        base_url, key = address_and_key("tts", settings)
        names = _models(base_url, key, settings)
        first = settings.model or _usual(base_url, names)
        return tuple(dict.fromkeys([first, *names]))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Reach the server, learn its voices and choose a model where none is set."""
        settings = options.settings
        refuse(cls.name, settings, options=("instructions",), devices=("auto", "cpu", "cuda"), any_model=True)
        base_url, key = address_and_key("tts", settings)
        model = settings.model or _usual(base_url, _models(base_url, key, settings))
        listed = _voices(base_url, key, settings)
        if listed and settings.voice and settings.voice not in listed:
            raise _no_voice(server_name("tts", base_url), settings.voice, listed)
        named = [settings.voice] if settings.voice else []
        voices = tuple(dict.fromkeys([*named, *(listed or VOICES)]))
        return cls(open_client(base_url, key, settings.timeout_s), model, voices, bool(listed), settings)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause at 24 kHz, a piece for each that the server sends. Closing hangs up on it."""
        name = voice or self.voices[0]
        if self._listed and name not in self.voices:
            raise _no_voice(self._who, name, self.voices)
        if not text.strip():
            return
        asked: dict[str, Any] = {"model": self._model, "voice": name, "input": text, "response_format": "pcm"}
        if speed != 1.0:  # some servers and models take none
            asked["speed"] = speed
        if instructions := self._settings.options.get("instructions"):
            asked["instructions"] = instructions
        async with AsyncExitStack() as open_ones:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    answer = self._client.audio.speech.with_streaming_response.create(**asked)
                    response = await open_ones.enter_async_context(answer)
            except Exception as error:
                raise self._explained(error, name) from error
            sound = await open_ones.enter_async_context(aclosing(self._sound(response)))
            async for piece in sound:
                yield piece

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def _sound(self, response: Any) -> AsyncGenerator[Audio, None]:
        kind = response.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            raise EngineError(
                f"{self._who} sent {kind.split(';')[0]}, which is no sound.",
                "Check that tts.base_url is right: most end in /v1.",
                self.name,
            )
        reader, made, start = WavReader(self.rate), 0, 0
        resampler: Resampler | None = None
        chunks = response.iter_bytes()
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    data = await anext(chunks, None)
            except Exception as error:
                raise self._broken(error) from error
            pcm = reader.push(data or b"")
            if len(pcm) or resampler:  # the rate is known
                resampler = resampler or Resampler(reader.rate, self.rate)
                piece = resampler.push(Audio(pcm, reader.rate, start), last=data is None)
                start += len(pcm)
                if len(piece.pcm):
                    yield piece
                    made += len(piece.pcm)
            if data is None:
                break
        if not made:
            raise EngineError(f"{self._who} sent no sound.", "Look at that server's log, then ask again.", self.name)

    @property
    def _who(self) -> str:
        return server_name("tts", str(self._client.base_url))

    def _broken(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return self._explained(TimeoutError(), "")
        return EngineError(
            f"{self._who} broke off in the middle of speaking.",
            "Look at that server's log, then ask again.",
            self.name,
        )

    def _explained(self, error: Exception, voice: str) -> EngineError:
        said = str(error)
        status = getattr(error, "status_code", None)
        if status in {400, 404, 422} and "voice" in said.lower() and "model" not in said.lower():
            body = getattr(error, "body", None)
            told = (body.get("message") if isinstance(body, dict) else None) or said
            return EngineError(
                f"{self._who} refuses the voice {voice}: {str(told).rstrip('.')}.",
                "Set tts.voice to one it has.",
                self.name,
            )
        return _told(error, self._who, self._model, self._settings.timeout_s)


def _told(error: Exception, server: str, model: str, timeout_s: float) -> EngineError:
    return to_engine_error(error, "tts", OpenAIVoice.name, server, model, timeout_s)


def _no_voice(server: str, voice: str, listed: tuple[str, ...]) -> EngineError:
    return EngineError(f"{server} has no voice {voice}.", f"There are: {', '.join(listed)}.", OpenAIVoice.name)


def _usual(base_url: str, names: tuple[str, ...]) -> str:
    if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
        return MODEL
    return USUAL_MODEL if not names or USUAL_MODEL in names else names[0]


def _models(base_url: str, key: str, settings: Any) -> tuple[str, ...]:
    """The server's; none where it keeps no list."""
    answer = _asked(base_url, key, "/models", settings)
    found = answer.get("data") if isinstance(answer, dict) else None
    return tuple(str(one["id"]) for one in found or () if isinstance(one, dict) and "id" in one)


def _voices(base_url: str, key: str, settings: Any) -> tuple[str, ...]:
    """The server's, as Kokoro-FastAPI and those that follow it list them; none where it keeps no list."""
    if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
        return ()
    answer = _asked(base_url, key, "/audio/voices", settings)
    found = answer.get("voices", answer.get("data")) if isinstance(answer, dict) else answer
    names = []
    for one in found if isinstance(found, list) else ():
        named = (one.get("id") or one.get("voice_id") or one.get("name")) if isinstance(one, dict) else one
        if isinstance(named, str):
            names.append(named)
    return tuple(names)


def _asked(base_url: str, key: str, path: str, settings: Any) -> Any:
    """What the server says there; None where it knows no such path. Raises EngineError for every other fault."""
    from openai import APIStatusError, DefaultHttpxClient, OpenAI

    http = DefaultHttpxClient(trust_env=urlsplit(base_url).hostname not in LOOPBACK)
    limit = min(REACH_S, settings.timeout_s)
    with OpenAI(base_url=base_url, api_key=key or "none", max_retries=0, timeout=limit, http_client=http) as client:
        try:
            return client.get(path, cast_to=object)
        except Exception as error:
            if isinstance(error, APIStatusError) and error.status_code in {400, 404, 405, 501}:
                return None
            raise _told(error, server_name("tts", base_url), settings.model, limit) from error
