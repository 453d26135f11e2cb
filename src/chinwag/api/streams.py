"""Answers that are made as they are sent, and work that ends when its client has gone."""

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
"""nginx's status for a client that went; nobody reads it."""


async def run_unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; it is cancelled, and ApiError raised, where the client goes first.

    The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
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
    request: Request, pieces: AsyncGenerator[bytes, None], media_type: str, told: Callable[[ApiError], bytes] | None
) -> StreamingResponse:
    """The pieces as a response, begun once the first is there, so that what fails before it has its own status.

    told: what a failure behind that adds to the stream; None breaks the connection off, where the form has no errors.
    """
    try:
        first = await run_unless_disconnected(request, _next(pieces))
    except BaseException:
        await pieces.aclose()
        raise

    async def all_of_them() -> AsyncIterator[bytes]:
        try:
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece
        except Exception as error:
            explanation = to_api_error(error)
            if told is None:
                raise
            yield told(explanation)
        finally:
            await pieces.aclose()

    return StreamingResponse(all_of_them(), media_type=media_type, headers={"Cache-Control": "no-cache"})


async def stream_events(
    request: Request, events: AsyncGenerator[Any, None], *, done: bool = False
) -> StreamingResponse:
    """Objects as server-sent events. done: the stream ends with `[DONE]`, as a chat's does."""

    async def lines() -> AsyncGenerator[bytes, None]:
        try:
            async for event in events:
                yield _line(event)
            if done:
                yield b"data: [DONE]\n\n"
        finally:
            await events.aclose()

    def told(error: ApiError) -> bytes:
        return _line(error_body(error.message, code=error.code, param=error.param, kind="server_error"))

    return await stream_response(request, lines(), "text/event-stream", told)


def _line(event: Any) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
