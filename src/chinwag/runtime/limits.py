"""Limits of one client address: body size, request rate, message rate and wrong keys.

Loopback addresses have no limits: a local user could stop the server anyway, and all clients of a local proxy that is
not in `server.trusted_proxies` would share one limit.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chinwag.config import ServerSettings
from chinwag.reach import is_loopback
from chinwag.runtime.http_errors import error_body

BODY_WITHIN_S = 30.0
"""Time limit for a request body, so that no client keeps a request open for hours."""

FREE_ATTEMPTS = 10
"""Wrong keys before an address has to wait; each further one doubles the wait, up to MAX_WAIT_S."""
MAX_WAIT_S = 60.0
FORGIVEN_AFTER_S = 600.0

BURST_S = 10.0
"""Seconds of messages that a client may send at once, for example after a network interruption."""

MAX_ADDRESSES = 10_000
"""Addresses that are remembered; the least recently used one is dropped."""

DISCARD_FACTOR = 8
"""A body is read up to this multiple of its limit: many clients read no response before they have sent everything."""

UPLOADS = "/v1/audio/transcriptions"
"""This route applies its own limit while it receives the body."""

Clock = Callable[[], float]


class TokenBucket:
    """A token bucket. rate: tokens per second; burst: tokens available at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> float:
        """Take one token. Return the seconds until it is available; 0 if it is now."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._left / self._rate)

    def give_back(self) -> None:
        """Return a token that was not used."""
        self._left += 1


def address_of(connection: HTTPConnection) -> str:
    """Return the address that limits apply to; empty for loopback. An IPv6 /64 network counts as one address."""
    host = connection.client.host if connection.client else ""
    if not host or is_loopback(host):
        return ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return "" if address.ipv4_mapped.is_loopback else str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host


@dataclass
class _AddressFailures:
    failures: int = 0
    at: float = 0.0
    last: bytes = b""


class FailedKeyAttempts:
    """Counts wrong keys by address. clock: monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _AddressFailures] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return the seconds until that address may try again."""
        entry = self._failures.get(address)
        if entry is None or entry.failures < FREE_ATTEMPTS:
            return 0.0
        wait = min(2.0 ** (entry.failures - FREE_ATTEMPTS), MAX_WAIT_S)
        return max(0.0, entry.at + wait - self._clock())

    def record(self, address: str, key: bytes) -> None:
        """Record a wrong key. key: its hash; a repetition, as of a page that stored the key, is no new guess."""
        previous = self._failures.get(address)
        if not address or (previous and previous.last == key):
            return
        now, entry = self._clock(), self._failures.pop(address, _AddressFailures())
        if now - entry.at > FORGIVEN_AFTER_S:
            entry.failures = 0
        entry.failures, entry.at, entry.last = entry.failures + 1, now, key
        self._failures[address] = entry
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)


class RateLimitMiddleware:
    """ASGI middleware: 429 for an address with too many requests."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._rate = app, settings.requests_per_minute / 60
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or refuse it."""
        is_request = scope["type"] in ("http", "websocket")
        if is_request and (early_s := self._early_s(address_of(HTTPConnection(scope)))):
            message = f"Too many requests: at most {self._rate * 60:.0f} a minute come from one address."
            await send_refusal(scope, receive, send, too_many_requests(message, early_s, "rate_limit_exceeded"))
            return
        await self._app(scope, receive, send)

    def _early_s(self, address: str) -> float:
        if not address or not self._rate:
            return 0.0
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.pop(address, None) or TokenBucket(self._rate, self._rate * 60, now)
        self._buckets[address] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if early_s := bucket.take(now):
            bucket.give_back()
        return early_s


class BodyLimitMiddleware:
    """ASGI middleware behind the key check: 413 for a body that is too large, 408 for one that does not end."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._max_bytes = app, settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request with its whole body, or refuse it."""
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await self._read_body(HTTPConnection(scope), receive)
        except TimeoutError:
            message = f"The body did not arrive within {BODY_WITHIN_S:.0f} s."
            await _closing_error(error_body(message, code="body_too_slow"), 408)(scope, receive, send)
            return
        if body is None:
            message = f"The body has more than {self._max_bytes} bytes (server.max_body_bytes)."
            await _closing_error(error_body(message, code="body_too_large"), 413)(scope, receive, send)
            return
        await self._app(scope, _BufferedBody(body, receive), send)

    async def _read_body(self, connection: HTTPConnection, receive: Receive) -> bytes | None:
        """Return the whole body; None if it is too large."""
        length = connection.headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > self._max_bytes * DISCARD_FACTOR:
            return None
        body, received = bytearray(), 0
        while received <= self._max_bytes * DISCARD_FACTOR:
            message = await receive()
            piece = message.get("body", b"")
            received += len(piece)
            if received <= self._max_bytes:
                body += piece
            if message["type"] != "http.request" or not message.get("more_body"):  # complete, or the client has gone
                return bytes(body) if received <= self._max_bytes else None
        return None


class _BufferedBody:
    """A request's `receive` that returns a body which was read before."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._body: bytes | None = body
        self._rest = rest

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._rest()


def too_many_requests(message: str, wait_s: float, code: str) -> JSONResponse:
    """Return a 429 response with a Retry-After header."""
    body = error_body(message, code=code, kind="rate_limit_error")
    return JSONResponse(body, 429, {"Retry-After": str(max(1, math.ceil(wait_s)))})


def _closing_error(body: object, status: int) -> JSONResponse:
    return JSONResponse(body, status, {"Connection": "close"})  # the rest of the request body is not read


async def send_refusal(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Refuse a request, or a WebSocket before it opens."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        start = {"type": "websocket.http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before the handshake: HTTP 403
