"""Streamed HTTP responses, and work that is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse

from chinwag.runtime.http_errors import ApiError, error_body, to_api_error

T = TypeVar("T")

CLIENT_GONE = 499
"""nginx's status for a client that has disconnected; it appears only in logs."""


async def run_unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work. If the client disconnects first, cancel the work and raise ApiError.

    The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(CLIENT_GONE, "The client has gone.")
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def stream_response(
    request: Request, pieces: AsyncGenerator[bytes, None], media_type: str, on_error: Callable[[ApiError], bytes] | None
) -> StreamingResponse:
    """Stream the pieces. The response begins with the first piece, so that earlier errors have their own status.

    on_error: returns what a later error adds to the stream; None closes the connection, for formats without errors.
    """
    try:
        first = await run_unless_disconnected(request, _next(pieces))
    except BaseException:
        await pieces.aclose()
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece
        except Exception as error:
            explanation = to_api_error(error)
            if on_error is None:
                raise
            yield on_error(explanation)
        finally:
            await pieces.aclose()

    return StreamingResponse(body(), media_type=media_type, headers={"Cache-Control": "no-cache"})


async def stream_events(
    request: Request, events: AsyncGenerator[Any, None], *, done: bool = False
) -> StreamingResponse:
    """Stream objects as server-sent events. done: end the stream with `[DONE]`, as chat completions do."""

    async def lines() -> AsyncGenerator[bytes, None]:
        try:
            async for event in events:
                yield _line(event)
            if done:
                yield b"data: [DONE]\n\n"
        finally:
            await events.aclose()

    def on_error(error: ApiError) -> bytes:
        return _line(error_body(error.message, code=error.code, param=error.param, kind="server_error"))

    return await stream_response(request, lines(), "text/event-stream", on_error)


def _line(event: Any) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
