"""POST /v1/audio/speech: synthesise text, and stream the audio."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from chinwag.api.streams import stream_events, stream_response
from chinwag.audio import Audio
from chinwag.audio.codecs import MEDIA_TYPES, StreamEncoder
from chinwag.engines.protocols import Voice
from chinwag.language import requested_language
from chinwag.realtime.session_config import OPENAI_VOICES
from chinwag.runtime.http_errors import invalid_value, require_engines
from chinwag.runtime.runtime import Runtime
from chinwag.speech.synthesis import Style, synthesise
from chinwag.text.clauses import ClauseSplitter
from chinwag.text.speakable.speakable import Speakable
from chinwag.text.speakable.symbols import symbol_names_for

LONGEST_INPUT = 4096
"""Characters, as OpenAI's limit."""

READING_VOICES = OPENAI_VOICES | {"fable", "onyx", "nova"}
"""OpenAI's voices for speech; each of them selects the server's own voice."""


class SpeechRequest(BaseModel):
    """The body. `model` and `instructions` are ignored: the server has one TTS engine without instructions."""

    input: str = Field(min_length=1, max_length=LONGEST_INPUT)
    voice: str | dict[str, Any] | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float | None = Field(None, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"


def router(runtime: Runtime) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.post("/v1/audio/speech", response_model=None)
    async def speech(asked: SpeechRequest, request: Request) -> Response:
        """Return the audio, mono at 24 kHz."""
        voice = require_engines(runtime).tts
        settings = runtime.config.tts
        named = _voice(asked.voice, voice) or settings.voice or None
        style = Style(
            named, asked.speed or settings.speed, None if named else requested_language(runtime.config.stt.language)
        )
        sound = _encoded(_spoken(voice, asked.input, style), asked.response_format)
        if asked.stream_format == "sse":
            return await stream_events(request, _events(sound, len(asked.input)))
        return await stream_response(request, sound, MEDIA_TYPES[asked.response_format], None)

    @routes.get("/v1/audio/voices")
    async def voices() -> dict[str, Any]:
        """List the voices, in the form of other OpenAI-compatible servers."""
        voice = require_engines(runtime).tts
        spoken = {name: language for language, names in voice.languages.items() for name in names}
        return {"voices": [{"id": name, "name": name, "language": spoken.get(name)} for name in voice.voices]}

    return routes


def _voice(asked: str | dict[str, Any] | None, voice: Voice) -> str | None:
    name = asked.get("id") if isinstance(asked, dict) else asked
    if name in voice.voices:
        return str(name)
    if not name or name in READING_VOICES:
        return None
    raise invalid_value(f"There is no voice {name!r}. There are: {', '.join(voice.voices)}.", "voice")


async def _spoken(voice: Voice, text: str, style: Style) -> AsyncGenerator[Audio, None]:
    speakable, splitter = Speakable(symbol_names_for(style.language)), ClauseSplitter()
    clauses = [*splitter.push(speakable.push(text) + speakable.finish()), *splitter.finish()]
    for clause in clauses:
        async with aclosing(synthesise(voice, clause, style)) as sound:
            async for frame in sound:
                yield frame


async def _encoded(sound: AsyncGenerator[Audio, None], form: str) -> AsyncGenerator[bytes, None]:
    encoder = StreamEncoder(form)
    try:
        async with aclosing(sound) as pieces:
            async for piece in pieces:
                if data := await asyncio.to_thread(encoder.push, piece):
                    yield data
        if data := await asyncio.to_thread(encoder.finish):
            yield data
    finally:
        encoder.close()


async def _events(sound: AsyncGenerator[bytes, None], characters: int) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(sound) as pieces:
        async for piece in pieces:
            yield {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
    # TTS engines count characters, not tokens
    usage = {"input_tokens": characters, "output_tokens": 0, "total_tokens": characters}
    yield {"type": "speech.audio.done", "usage": usage}
