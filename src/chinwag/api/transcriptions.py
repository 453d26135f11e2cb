"""POST /v1/audio/transcriptions: transcribe an audio file."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message

from chinwag.api.segments import Segment, transcribe_segments
from chinwag.api.streams import run_unless_disconnected, stream_events
from chinwag.audio import LISTEN_RATE, Audio
from chinwag.audio.codecs import DecodeError, decode_file
from chinwag.engines.protocols import Engines
from chinwag.errors import ChinwagError
from chinwag.runtime.http_errors import ApiError, invalid_value, require_engines
from chinwag.runtime.runtime import Runtime

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")

FORM_BYTES = 64 * 1024
"""Maximum bytes of the form besides the file."""
DISCARD_FACTOR = 8
"""A file is read up to this multiple of its limit before the connection is closed."""


class FileTranscription:
    """The transcription of a file. seconds: audio decoded so far; segments: transcribed so far."""

    def __init__(self, engines: Engines, file: UploadFile, language: str | None) -> None:
        self.seconds = 0.0
        self.segments: list[Segment] = []
        self._engines, self._file, self._language = engines, file, language

    @property
    def text(self) -> str:
        """The text so far."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def usage(self) -> dict[str, Any]:
        """The usage as OpenAI counts it for Whisper: in started seconds."""
        return {"type": "duration", "seconds": math.ceil(self.seconds)}

    async def listen(self) -> AsyncGenerator[Segment, None]:
        """Yield each segment once it is transcribed. Raises ApiError if the file is no audio."""
        try:
            async with aclosing(transcribe_segments(self._engines, self._pieces(), self._language)) as segments:
                async for segment in segments:
                    self.segments.append(segment)
                    yield segment
        except DecodeError as error:
            raise invalid_value(str(error), "file", "invalid_file") from error

    async def _pieces(self) -> AsyncIterator[Audio]:
        pieces = decode_file(self._file.file)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            self.seconds = piece.end / LISTEN_RATE
            yield piece


def router(runtime: Runtime) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.post("/v1/audio/transcriptions", response_model=None)
    async def transcriptions(request: Request) -> Response:
        """Return the transcript in the requested format, or stream it."""
        engines = require_engines(runtime)
        form = await _limited(request, runtime.config.server.max_upload_bytes).form(max_files=1)
        is_streaming = False
        try:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise invalid_value("Send the sound as the form's file.", "file", "missing_required_parameter")
            wanted = _field(form, "response_format") or "json"
            streams = _field(form, "stream").lower() in ("true", "1")
            _check(form, wanted, streams=streams)
            language = _language(engines, form, runtime.config.stt.language)
            transcription = FileTranscription(engines, file, language)
            if streams:
                is_streaming = True
                return await stream_events(request, _events(transcription, form))
            await run_unless_disconnected(request, _all(transcription))
            return _written(transcription, wanted, language)
        finally:
            if not is_streaming:
                await form.close()

    return routes


async def _all(transcription: FileTranscription) -> None:
    async with aclosing(transcription.listen()) as segments:
        async for _ in segments:
            continue


async def _events(transcription: FileTranscription, form: FormData) -> AsyncGenerator[dict[str, Any], None]:
    try:
        async with aclosing(transcription.listen()) as segments:
            async for segment in segments:
                space = "" if len(transcription.segments) == 1 else " "
                yield {"type": "transcript.text.delta", "delta": space + segment.text}
        yield {"type": "transcript.text.done", "text": transcription.text, "usage": transcription.usage}
    finally:
        await form.close()


def _limited(request: Request, limit: int) -> Request:
    """Return the request with a limited body: reading it raises ApiError 413 if it is longer.

    The excess is read and discarded, because many clients read no response before they have sent everything.
    """
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received <= limit + FORM_BYTES:
            return message
        while message.get("more_body") and received < limit * DISCARD_FACTOR:
            message = await request.receive()
            received += len(message.get("body", b""))
        raise ApiError(
            413, f"The file is larger than {limit} bytes. Send it in pieces, or compress it.", "file_too_large", "file"
        )

    return Request(request.scope, receive)


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _language(engines: Engines, form: FormData, usual: str) -> str:
    language = _field(form, "language") or usual
    try:
        engines.stt.open(language)
    except ChinwagError as error:
        raise invalid_value(str(error), "language", "unsupported_value") from error
    return language


def _check(form: FormData, wanted: str, *, streams: bool) -> None:
    if wanted not in FORMATS:
        raise invalid_value(
            f"There is no response_format {wanted!r}. There are: {', '.join(FORMATS)}.", "response_format"
        )
    if streams and wanted not in ("json", "text"):
        raise invalid_value("A stream has response_format json or text.", "response_format")
    granularities = form.getlist("timestamp_granularities[]") + form.getlist("timestamp_granularities")
    if any(name != "segment" for name in granularities):
        message = "Only segments have timestamps; word timestamps are not supported."
        raise invalid_value(message, "timestamp_granularities", "unsupported_value")


def _written(transcription: FileTranscription, wanted: str, language: str) -> Response:
    match wanted:
        case "text":
            return PlainTextResponse(transcription.text + "\n")
        case "srt":
            return PlainTextResponse(_srt(transcription.segments), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(_vtt(transcription.segments), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(
                {
                    "task": "transcribe",
                    "language": language,
                    "duration": round(transcription.seconds, 3),
                    "text": transcription.text,
                    "segments": [_detailed(index, segment) for index, segment in enumerate(transcription.segments)],
                    "usage": transcription.usage,
                }
            )
    return JSONResponse({"text": transcription.text, "usage": transcription.usage})


def _detailed(index: int, segment: Segment) -> dict[str, Any]:
    """Return a segment in Whisper's fields, as far as other STT engines have them."""
    text = segment.text.encode()
    return {
        "id": index,
        "seek": round(segment.start * 100),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(segment.confidence, 1e-6)), 4),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4),
        "no_speech_prob": round(1 - segment.speech, 4),
    }


def _srt(segments: list[Segment]) -> str:
    return "".join(
        f"{index}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{segment.text}\n\n"
        for index, segment in enumerate(segments, 1)
    )


def _vtt(segments: list[Segment]) -> str:
    cues = "".join(
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{segment.text}\n\n" for segment in segments
    )
    return f"WEBVTT\n\n{cues}"


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"
