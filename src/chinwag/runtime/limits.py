"""How much one client may ask of the server: bodies, requests, messages and tries at a key.

Limits are counted by address, and never against this machine's own: who is on it could stop the server anyway, and a
proxy there that is not named in `server.trusted_proxies` would make all its callers one.
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
"""A body is to be here by then, so that nobody holds a request open for hours."""

FREE_ATTEMPTS = 10
"""At a key, before an address has to wait; each further one doubles the wait, up to LONGEST_WAIT_S."""
MAX_WAIT_S = 60.0
FORGIVEN_AFTER_S = 600.0

BURST_S = 10.0
"""A client may send so many seconds' worth of messages at once: what waited while its network was away."""

MAX_ADDRESSES = 10_000
"""That are remembered; the one that asked longest ago is forgotten."""

DISCARD_FACTOR = 8
"""Times the limit that is read of a body too large: a client hears no answer before it has sent all."""

UPLOADS = "/v1/audio/transcriptions"
"""It counts the bytes of its body itself, as they come, against a limit of its own."""

Clock = Callable[[], float]


class TokenBucket:
    """A token bucket: rate, of what may be had in a second; burst, of what may be had at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> float:
        """One of them; how many seconds it comes too early, 0 where it does not."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._left / self._rate)

    def give_back(self) -> None:
        """It was not used."""
        self._left += 1


def address_of(connection: HTTPConnection) -> str:
    """Whom limits are counted against; empty where against nobody. A network of IPv6 (/64) is one."""
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
    """Wrong keys, by address. clock: seconds that never go back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tried: OrderedDict[str, _AddressFailures] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Until that address may try again."""
        tried = self._tried.get(address)
        if tried is None or tried.failures < FREE_ATTEMPTS:
            return 0.0
        wait = min(2.0 ** (tried.failures - FREE_ATTEMPTS), MAX_WAIT_S)
        return max(0.0, tried.at + wait - self._clock())

    def record(self, address: str, key: bytes) -> None:
        """It has brought a wrong one. key: its hash; the same one again, as of a page that kept it, is no new guess."""
        known = self._tried.get(address)
        if not address or (known and known.last == key):
            return
        now, tried = self._clock(), self._tried.pop(address, _AddressFailures())
        if now - tried.at > FORGIVEN_AFTER_S:
            tried.failures = 0
        tried.failures, tried.at, tried.last = tried.failures + 1, now, key
        self._tried[address] = tried
        if len(self._tried) > MAX_ADDRESSES:
            self._tried.popitem(last=False)


class RateLimitMiddleware:
    """ASGI middleware: 429 for an address that asks too often."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._rate = app, settings.requests_per_minute / 60
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or refuse it."""
        asked = scope["type"] in ("http", "websocket")
        if asked and (early_s := self._early_s(address_of(HTTPConnection(scope)))):
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
    """ASGI middleware, behind the keys: 413 for a body that is too large, 408 for one that does not end."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._largest = app, settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on with its whole body, or refuse it."""
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await self._body(HTTPConnection(scope), receive)
        except TimeoutError:
            message = f"The body was not here within {BODY_WITHIN_S:.0f} s."
            await _closing_error(error_body(message, code="body_too_slow"), 408)(scope, receive, send)
            return
        if body is None:
            message = f"The body has more than {self._largest} bytes (server.max_body_bytes)."
            await _closing_error(error_body(message, code="body_too_large"), 413)(scope, receive, send)
            return
        await self._app(scope, _BufferedBody(body, receive), send)

    async def _body(self, connection: HTTPConnection, receive: Receive) -> bytes | None:
        """All of it; None where it is too large."""
        told = connection.headers.get("content-length", "")
        if told.isdecimal() and len(told) < 20 and int(told) > self._largest * DISCARD_FACTOR:
            return None
        body, taken = bytearray(), 0
        while taken <= self._largest * DISCARD_FACTOR:
            message = await receive()
            piece = message.get("body", b"")
            taken += len(piece)
            if taken <= self._largest:
                body += piece
            if message["type"] != "http.request" or not message.get("more_body"):  # all, or the client has gone
                return bytes(body) if taken <= self._largest else None
        return None


class _BufferedBody:
    """A request's `receive` whose body is here already."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._body: bytes | None = body
        self._rest = rest

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._rest()


def too_many_requests(message: str, wait_s: float, code: str) -> JSONResponse:
    """429, with when to ask again."""
    told = error_body(message, code=code, kind="rate_limit_error")
    return JSONResponse(told, 429, {"Retry-After": str(max(1, math.ceil(wait_s)))})


def _closing_error(told: object, status: int) -> JSONResponse:
    return JSONResponse(told, status, {"Connection": "close"})  # what is left of the body is not read


async def send_refusal(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Turn a request away, or a WebSocket before it opens."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        start = {"type": "websocket.http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before the handshake: it sees 403
