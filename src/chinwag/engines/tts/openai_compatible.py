"""A voice of any server that speaks OpenAI's language: Kokoro-FastAPI, Orpheus's servers, another Chinwag, OpenAI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from urllib.parse import urlsplit

from chinwag.audio import Audio
from chinwag.engines.openai_server import LOOPBACK, OPENAI, connect, explain, listed, where, who
from chinwag.engines.protocols import About, EngineOptions
from chinwag.errors import EngineError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAIS_MODEL = "gpt-4o-mini-tts"
OPENAIS_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse")

SPEAKS = ("tts", "kokoro", "orpheus", "speech", "voice", "hibari", "piper", "xtts")
"""What the names of models that speak have in them: a server's list often has others as well."""

NO_PCM = ("mpeg", "mp3", "wav", "ogg", "opus", "flac", "aac", "json", "html")


class OpenAIVoice:
    """A speech model behind an OpenAI-compatible address; its sound is taken as it comes."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI's voices, or any server that speaks its language", "the server's")
    rate: int = 24_000
    """OpenAI's `pcm`: 16 bits, little-endian, mono, at 24 kHz."""

    def __init__(self, client: AsyncOpenAI, model: str, voices: tuple[str, ...], settings: Any) -> None:
        self._client, self.model, self.voices, self._settings = client, model, voices, settings
        self.languages: Mapping[str, tuple[str, ...]] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Those of the server's that seem to speak; all of them where none does."""
        return _speaking(listed("tts", *where("tts", settings), settings.model))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Nothing: the weights are the server's."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Reach the server; choose its first model that speaks where none is set, and note its voices."""
        settings = options.settings
        options.only(cls.name)
        base_url, key = where("tts", settings)
        names = _speaking(listed("tts", base_url, key, settings.model))
        usual = OPENAIS_MODEL if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname else ""
        model = settings.model or usual or next(iter(names), "")
        if not model:
            message = f"{who('tts', base_url)} has no model loaded."
            raise EngineError(message, "Load one there, or set tts.model.", cls.name)
        voices = _voices(base_url, key) or OPENAIS_VOICES
        chosen = settings.voice
        ordered = (chosen, *(voice for voice in voices if voice != chosen)) if chosen else voices
        return cls(connect(base_url, key, settings.timeout_s), model, ordered, settings)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak one clause, piece by piece as it comes; closing hangs up. The language is the server's to find out."""
        if voice and voice not in self.voices:
            raise EngineError(f"openai has no voice {voice}.", f"There are: {', '.join(self.voices)}.", self.name)
        if not text.strip():  # which OpenAI refuses
            return
        asked: dict[str, Any] = {"model": self.model, "voice": voice or self.voices[0], "input": text}
        if speed != 1.0:
            asked["speed"] = speed
        start, rest = 0, b""
        async with aclosing(self._bytes(asked)) as pieces:
            async for piece in pieces:
                data = rest + piece
                rest = data[len(data) // 2 * 2 :]
                audio = Audio.from_pcm16(data[: len(data) // 2 * 2], self.rate, start)
                start += len(audio.pcm)
                if len(audio.pcm):
                    yield audio
        if not start:
            message = f"{self._who} sent no sound."
            raise EngineError(message, "Look at that server's log, or set another tts.voice.", self.name)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @property
    def _who(self) -> str:
        return who("tts", str(self._client.base_url))

    async def _bytes(self, asked: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """What the server sends; every failure is an EngineError."""
        stream = self._client.audio.speech.with_streaming_response.create(**asked, response_format="pcm")
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                response = await stream.__aenter__()
        except Exception as error:
            raise self._explained(error) from error
        try:
            kind = response.headers.get("content-type", "")
            if any(part in kind for part in NO_PCM):
                raise EngineError(
                    f"{self._who} sends {kind} where raw PCM was asked for.",
                    "Use a server that knows response_format pcm.",
                    self.name,
                )
            async with aclosing(cast("AsyncGenerator[bytes, None]", response.iter_bytes(4096))) as pieces:
                while True:
                    try:
                        async with asyncio.timeout(self._settings.timeout_s):
                            piece = await anext(pieces, None)
                    except Exception as error:
                        raise self._explained(error) from error
                    if piece is None:
                        return
                    yield piece
        finally:
            await stream.__aexit__(None, None, None)

    def _explained(self, error: Exception) -> EngineError:
        if type(error).__module__.startswith("httpx"):  # a body is read without the client's own errors
            if "Timeout" not in type(error).__name__:
                message = f"{self._who} broke off in the middle of its speech."
                return EngineError(message, "Look at that server's log, then ask again.", self.name)
            error = TimeoutError()
        return explain(error, "tts", self.name, self._who, self.model, self._settings.timeout_s)


def _speaking(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if any(part in name.lower() for part in SPEAKS)) or tuple(names)


def _voices(base_url: str, key: str) -> tuple[str, ...]:
    """As the server lists them, which OpenAI's own does not: `{"voices": [...]}`, names or objects with one."""
    import httpx

    here = urlsplit(base_url).hostname in LOOPBACK
    try:
        answer = httpx.get(
            f"{base_url.rstrip('/')}/audio/voices",
            headers={"Authorization": f"Bearer {key or 'none'}"},
            timeout=5.0,
            trust_env=not here,
        )
        told = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return ()
    listed_ = told.get("voices", told.get("data", ())) if isinstance(told, dict) else told
    if not isinstance(listed_, list):
        return ()
    names = (one.get("id") or one.get("name") if isinstance(one, dict) else one for one in listed_)
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))
