"""Who may use the server: pages of its own or an allowed origin, and clients with a key."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chinwag.config import ServerSettings
from chinwag.reach import is_local_name, is_loopback
from chinwag.runtime.client_secrets import PREFIX, ClientSecrets
from chinwag.runtime.http_errors import error_body
from chinwag.runtime.limits import FailedKeyAttempts, address_of, send_refusal, too_many_requests

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; img-src 'self' data:; worker-src 'self';"
    " object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer. The page loads nothing from elsewhere, runs no inline script or style, and is in nobody's frame."""

PAGE = Path(__file__).parent.parent / "page"
PAGE_PATHS = frozenset({"/", *(f"/{file.relative_to(PAGE).as_posix()}" for file in PAGE.rglob("*") if file.is_file())})
PROBES = frozenset({"/healthz", "/readyz"})
METRICS = "/metrics"
STATUS = "/api/status"
"""What needs no key: the page's files, which hold nothing of anybody's; whether the server lives; and how far it is,
which tells less without one. METRICS asks for a key itself (`server/health.py`).
All else is closed, what no route has as well, so that no route can be forgotten."""

OPEN = PAGE_PATHS | PROBES | {METRICS}

SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""OpenAI's JavaScript client names its key in a subprotocol, as a browser's WebSocket takes no headers."""

ICE_SERVERS = "/v1/realtime/ice_servers"
SESSION_PATHS = ("/v1/realtime", "/v1/realtime/calls", ICE_SERVERS)
"""Where a session begins: this, and hanging up, is all that a client secret is good for."""


def secret_session_settings(connection: HTTPConnection) -> dict[str, Any]:
    """The session's settings that the client secret of this request was made with, as a checked `session.update`
    has them; empty where it came with none. Every route that begins a session lays them over the defaults."""
    held: dict[str, Any] = connection.scope.get(_SECRET_SETTINGS, {})
    return held


def uses_client_secret(connection: HTTPConnection) -> bool:
    """Whether this request came with a client secret, and so from somebody who has no key."""
    return _SECRET_SETTINGS in connection.scope


def is_authenticated(connection: HTTPConnection) -> bool:
    """Whether this request came with a right key, or none is wanted."""
    return bool(connection.scope.get(_AUTHENTICATED))


_SECRET_SETTINGS, _AUTHENTICATED = "chinwag.opening", "chinwag.known"


class OriginMiddleware:
    """ASGI middleware in front of everything.

    403 for a page of another origin, "null" among them, from all but the page's files and the probes; 403 everywhere
    for a Host that may be a stranger's name pointed here (DNS rebinding): on loopback for one that is not this
    machine's; elsewhere, where no key is asked for, for one that is not nearby.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._origins = app, frozenset(settings.allowed_origins)
        # a proxy in front may pass on the name that the world knows it by
        self._names = {*(urlsplit(origin).hostname for origin in self._origins), *settings.allowed_hosts}
        self._local = is_loopback(settings.host)
        self._any_name = settings.requires_key and not self._local  # a rebound page has no key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or turn it away."""
        if scope["type"] in ("http", "websocket") and (told := self._fault(HTTPConnection(scope))):
            await send_refusal(scope, receive, send, JSONResponse(told, 403))
            return
        await self._app(scope, receive, send)

    def _fault(self, connection: HTTPConnection) -> dict[str, Any] | None:
        host = connection.headers.get("host")
        if not self._any_name and host is not None and not self._is_known_host(host):
            own = "Use http://localhost" if self._local else "Use its address"
            message = f"This server does not answer to that name. {own}, or put the name in server.allowed_hosts."
            return error_body(message, code="forbidden_host")
        path = connection.scope["path"]
        if path not in PAGE_PATHS and path not in PROBES and not self._is_allowed_origin(connection, host):
            return error_body(
                "Pages of other sites may not use this server. Name the site in server.allowed_origins to let it.",
                code="forbidden_origin",
            )
        return None

    def _is_known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return is_loopback(name) or name in self._names or (not self._local and is_local_name(name))

    def _is_allowed_origin(self, connection: HTTPConnection, host: str | None) -> bool:
        """A browser tells the page's Origin, or at least whether it is another site's; programs tell neither."""
        origin = connection.headers.get("origin")
        if origin is None:
            return connection.headers.get("sec-fetch-site") not in ("cross-site", "same-site")
        if origin.lower() in self._origins:
            return True
        try:
            asking = urlsplit(origin.lower()).netloc
        except ValueError:
            return False
        return bool(asking) and asking == (host or "").lower()


class AuthMiddleware:
    """ASGI middleware: 401 without a right key, before a WebSocket opens; 429 for who tries too often.

    A client secret is good for SESSION_PATHS; what it was made with is found by `opening`.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, secrets: ClientSecrets) -> None:
        self._app, self._secrets = app, secrets
        self._wanted = settings.requires_key
        self._keys = [_digest(key) for key in settings.api_keys]
        self._failed_attempts = FailedKeyAttempts(lambda: asyncio.get_running_loop().time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or turn it away."""
        if scope["type"] in ("http", "websocket") and scope["path"] not in OPEN:
            connection = HTTPConnection(scope)
            key, address = _key_of(connection), address_of(connection)
            wait_s = self._failed_attempts.wait_s(address) if key else 0.0
            if wait_s and scope["path"] != STATUS:
                message = f"Too many wrong keys came from this address. Try again in {wait_s:.0f} s."
                await send_refusal(scope, receive, send, too_many_requests(message, wait_s, "too_many_wrong_keys"))
                return
            if message := self._fault(scope, "" if wait_s else key):
                if key and not wait_s:
                    self._failed_attempts.record(address, _digest(key))
                if scope["path"] != STATUS:
                    answer = JSONResponse(
                        error_body(message, code="invalid_api_key"), 401, {"WWW-Authenticate": "Bearer"}
                    )
                    await send_refusal(scope, receive, send, answer)
                    return
            else:
                scope[_AUTHENTICATED] = True
        await self._app(scope, receive, send)

    def _fault(self, scope: Scope, key: str) -> str:
        if key.startswith(PREFIX):
            path = scope["path"].rstrip("/")
            if path not in SESSION_PATHS and not path.endswith("/hangup"):
                return "A client secret is good for opening sessions only. Use an API key." if self._wanted else ""
            session = self._secrets.session_settings(key)
            if session is None:
                return "This client secret is unknown or has expired. Ask /v1/realtime/client_secrets for another."
            scope[_SECRET_SETTINGS] = session
            return ""
        if not self._wanted or _contains(_digest(key), self._keys):
            return ""
        if not key:
            return "This server wants a key: send it as `Authorization: Bearer KEY`."
        return "The key is wrong. Use one of the server's api_keys."


def _key_of(connection: HTTPConnection) -> str:
    """What the client brought as its key; empty where nothing."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    offered: list[str] = connection.scope.get("subprotocols", [])
    return next((name.removeprefix(SUBPROTOCOL_KEY) for name in offered if name.startswith(SUBPROTOCOL_KEY)), "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _contains(key: bytes, keys: Iterable[bytes]) -> bool:
    """Compared with each of them in constant time, so that the time taken tells nothing."""
    found = False
    for known in keys:
        found |= hmac.compare_digest(key, known)
    return found
