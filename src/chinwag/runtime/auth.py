"""Access to the server: ASGI middleware that checks origins, host names, API keys and client secrets."""

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
"""Headers of every response. The page loads nothing from elsewhere, runs no inline code and cannot be framed."""

PAGE = Path(__file__).parent.parent / "page"
PAGE_PATHS = frozenset({"/", *(f"/{file.relative_to(PAGE).as_posix()}" for file in PAGE.rglob("*") if file.is_file())})
PROBES = frozenset({"/healthz", "/readyz"})
METRICS = "/metrics"
STATUS = "/api/status"
"""The server's status. A request without a key gets less of it."""

OPEN = PAGE_PATHS | PROBES | {METRICS}
"""Paths that need no key here; METRICS checks its own key (`server/health.py`). All others are closed, even paths
without a route, so that no route can be forgotten."""

SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""OpenAI's JavaScript client sends its key as a subprotocol, because a browser's WebSocket sends no headers."""

ICE_SERVERS = "/v1/realtime/ice_servers"
SESSION_PATHS = ("/v1/realtime", "/v1/realtime/calls", ICE_SERVERS)
"""Paths that begin a session. A client secret is valid only for these and for hanging up."""


def secret_session_settings(connection: HTTPConnection) -> dict[str, Any]:
    """Return the session settings of the request's client secret, in the form of a checked `session.update`.

    Empty if the request has no client secret. Every route that begins a session applies them over the defaults.
    """
    settings: dict[str, Any] = connection.scope.get(_SECRET_SETTINGS, {})
    return settings


def uses_client_secret(connection: HTTPConnection) -> bool:
    """Return whether the request has a client secret; such a client has no API key."""
    return _SECRET_SETTINGS in connection.scope


def is_authenticated(connection: HTTPConnection) -> bool:
    """Return whether the request has a valid key, or the server requires none."""
    return bool(connection.scope.get(_AUTHENTICATED))


_SECRET_SETTINGS, _AUTHENTICATED = "chinwag.opening", "chinwag.known"


class OriginMiddleware:
    """ASGI middleware that answers 403 to other origins and to unknown host names.

    Pages of another origin ("null" included) get only the page's files and the probes. An unknown Host may be DNS
    rebinding: on loopback every name that is not this machine's is refused. On other addresses a name outside of the
    local network is refused if the server requires no key.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._origins = app, frozenset(settings.allowed_origins)
        # a reverse proxy may forward its public name
        self._names = {*(urlsplit(origin).hostname for origin in self._origins), *settings.allowed_hosts}
        self._local = is_loopback(settings.host)
        self._any_name = settings.requires_key and not self._local  # a page that uses DNS rebinding has no key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or refuse it."""
        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(HTTPConnection(scope))):
            await send_refusal(scope, receive, send, JSONResponse(refusal, 403))
            return
        await self._app(scope, receive, send)

    def _refusal(self, connection: HTTPConnection) -> dict[str, Any] | None:
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
        """Browsers send Origin, or at least Sec-Fetch-Site; programs send neither and are allowed."""
        origin = connection.headers.get("origin")
        if origin is None:
            return connection.headers.get("sec-fetch-site") not in ("cross-site", "same-site")
        if origin.lower() in self._origins:
            return True
        try:
            origin_host = urlsplit(origin.lower()).netloc
        except ValueError:
            return False
        return bool(origin_host) and origin_host == (host or "").lower()


class AuthMiddleware:
    """ASGI middleware: 401 without a valid key, before a WebSocket opens; 429 after too many wrong keys.

    A client secret is valid for SESSION_PATHS; `secret_session_settings` returns its settings.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, secrets: ClientSecrets) -> None:
        self._app, self._secrets = app, secrets
        self._requires_key = settings.requires_key
        self._keys = [_digest(key) for key in settings.api_keys]
        self._failed_attempts = FailedKeyAttempts(lambda: asyncio.get_running_loop().time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or refuse it."""
        if scope["type"] in ("http", "websocket") and scope["path"] not in OPEN:
            connection = HTTPConnection(scope)
            key, address = _key_of(connection), address_of(connection)
            wait_s = self._failed_attempts.wait_s(address) if key else 0.0
            if wait_s and scope["path"] != STATUS:
                message = f"Too many wrong keys came from this address. Try again in {wait_s:.0f} s."
                await send_refusal(scope, receive, send, too_many_requests(message, wait_s, "too_many_wrong_keys"))
                return
            if message := self._key_error(scope, "" if wait_s else key):
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

    def _key_error(self, scope: Scope, key: str) -> str:
        if key.startswith(PREFIX):
            path = scope["path"].rstrip("/")
            if path not in SESSION_PATHS and not path.endswith("/hangup"):
                return "A client secret can only open sessions. Use an API key." if self._requires_key else ""
            session = self._secrets.session_settings(key)
            if session is None:
                return "This client secret is unknown or has expired. Ask /v1/realtime/client_secrets for another."
            scope[_SECRET_SETTINGS] = session
            return ""
        if not self._requires_key or _contains(_digest(key), self._keys):
            return ""
        if not key:
            return "This server requires a key: send it as `Authorization: Bearer KEY`."
        return "The key is wrong. Use one of the server's api_keys."


def _key_of(connection: HTTPConnection) -> str:
    """Return the key that the client sent; empty if it sent none."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    offered: list[str] = connection.scope.get("subprotocols", [])
    return next((name.removeprefix(SUBPROTOCOL_KEY) for name in offered if name.startswith(SUBPROTOCOL_KEY)), "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _contains(key: bytes, keys: Iterable[bytes]) -> bool:
    """Compare the key with every key in constant time, so that the duration reveals nothing."""
    found = False
    for valid_key in keys:
        found |= hmac.compare_digest(key, valid_key)
    return found
