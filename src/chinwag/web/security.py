"""Who may use the server: pages of its own or an allowed origin, and clients with a key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from chinwag.config import ServerSettings, is_loopback
from chinwag.web.api.errors import fault
from chinwag.web.secrets import PREFIX, ClientSecrets

POLICY = (
    "default-src 'self'; connect-src 'self'; img-src 'self' data:; worker-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
"""The page loads nothing from elsewhere and runs no inline script."""

SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""OpenAI's JavaScript client names its key in a subprotocol, as a browser's WebSocket takes no headers."""

ICE_SERVERS = "/v1/realtime/ice_servers"
SESSION_PATHS = ("/v1/realtime", "/v1/realtime/calls", ICE_SERVERS)
"""Where a session begins: this, and hanging up, is all that a client secret is good for."""

POLITE_CODE = 1008


def opening(connection: HTTPConnection) -> dict[str, Any]:
    """The session's settings that the client secret of this request was made with, as a checked `session.update`
    has them; empty where it came with none. Every route that begins a session lays them over the defaults."""
    held: dict[str, Any] = connection.scope.get(_OPENING, {})
    return held


def by_secret(connection: HTTPConnection) -> bool:
    """Whether this request came with a client secret, and so from somebody who has no key."""
    return _OPENING in connection.scope


_OPENING = "chinwag.opening"


class Guard:
    """ASGI middleware in front of everything, so that no route can be forgotten.

    403 under /v1 for a page of another origin, "null" among them; 403 everywhere for a Host that is not this machine's
    where the server listens on loopback, as a name of somebody else's may point there (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._origins = app, frozenset(settings.allowed_origins)
        # a proxy in front may pass on the name that the world knows it by
        self._names = {urlsplit(origin).hostname for origin in self._origins}
        self._local = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or turn it away."""
        if scope["type"] in ("http", "websocket") and (told := self._fault(HTTPConnection(scope))):
            await _refuse(scope, receive, send, JSONResponse(told, 403))
            return
        await self._app(scope, receive, send)

    def _fault(self, connection: HTTPConnection) -> dict[str, Any] | None:
        host = connection.headers.get("host")
        if self._local and host is not None and not self._knows(host):
            return fault(
                "This server listens on loopback and answers to this machine's own names alone. "
                "Use http://localhost, or name the site in server.allowed_origins.",
                code="forbidden_host",
            )
        if _guarded(connection.scope["path"]) and not self._may_ask(connection, host):
            return fault(
                "Pages of other sites may not use this server. Name the site in server.allowed_origins to let it.",
                code="forbidden_origin",
            )
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return is_loopback(name) or name in self._names

    def _may_ask(self, connection: HTTPConnection, host: str | None) -> bool:
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


class Keys:
    """ASGI middleware: 401 under /v1 for a client without a right key, before a WebSocket opens.

    A client secret is good for SESSION_PATHS; what it was made with is found by `opening`.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, secrets: ClientSecrets) -> None:
        self._app, self._secrets = app, secrets
        self._wanted = settings.wants_key
        self._keys = [_digest(key) for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or turn it away."""
        if scope["type"] in ("http", "websocket") and _guarded(scope["path"]):
            key = _key_of(HTTPConnection(scope))
            if message := self._fault(scope, key):
                refusal = JSONResponse(fault(message, code="invalid_api_key"), 401, {"WWW-Authenticate": "Bearer"})
                await _refuse(scope, receive, send, refusal)
                return
        await self._app(scope, receive, send)

    def _fault(self, scope: Scope, key: str) -> str:
        if key.startswith(PREFIX):
            path = scope["path"].rstrip("/")
            if path not in SESSION_PATHS and not path.endswith("/hangup"):
                return "A client secret is good for opening sessions only. Use an API key." if self._wanted else ""
            session = self._secrets.session(key)
            if session is None:
                return "This client secret is unknown or has expired. Ask /v1/realtime/client_secrets for another."
            scope[_OPENING] = session
            return ""
        if not self._wanted or _among(_digest(key), self._keys):
            return ""
        if not key:
            return "This server wants a key: send it as `Authorization: Bearer KEY`."
        return "The key is wrong. Use one of the server's api_keys."


def _guarded(path: str) -> bool:
    own = ("/v1", "/api/assistants", "/api/engines", "/api/conversations")
    return path in own or path.startswith(("/v1/", "/api/conversations/"))


def _key_of(connection: HTTPConnection) -> str:
    """What the client brought as its key; empty where nothing."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    offered: list[str] = connection.scope.get("subprotocols", [])
    return next((name.removeprefix(SUBPROTOCOL_KEY) for name in offered if name.startswith(SUBPROTOCOL_KEY)), "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _among(key: bytes, keys: Iterable[bytes]) -> bool:
    """Compared with each of them in constant time, so that the time taken tells nothing."""
    found = False
    for known in keys:
        found |= hmac.compare_digest(key, known)
    return found


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        await websocket.send_denial_response(answer)
    else:
        await websocket.close(POLITE_CODE)  # before the handshake: the client sees 403
