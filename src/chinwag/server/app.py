"""The FastAPI application: the page, /api/status, /v1/realtime and the other routes of OpenAI's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chinwag import __version__
from chinwag.api import assistants, chat, client_secrets, conversations, engines, models, speech, transcriptions
from chinwag.observability.metrics import RequestMetricsMiddleware
from chinwag.runtime import http_errors
from chinwag.runtime.auth import HEADERS, PAGE, STATUS, AuthMiddleware, OriginMiddleware, is_authenticated
from chinwag.runtime.client_secrets import ClientSecrets
from chinwag.runtime.limits import BodyLimitMiddleware, RateLimitMiddleware
from chinwag.runtime.runtime import Runtime
from chinwag.runtime.state_metrics import RuntimeCollector
from chinwag.server import health
from chinwag.transport.registry import SessionRegistry
from chinwag.transport.webrtc_routes import WebRtcCalls
from chinwag.transport.websocket import serve_websocket


def create_app(runtime: Runtime, secrets: ClientSecrets | None = None) -> FastAPI:
    """Create the application of a runtime, which starts with the application.

    secrets: the client secrets, if they are shared with other servers.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(runtime.start())
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await calls.close()
            await registry.close()
            await runtime.close()

    registry = SessionRegistry(runtime)
    calls = WebRtcCalls(runtime, registry)
    # FastAPI's documentation pages would load scripts from another site
    app = FastAPI(title="Chinwag", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    settings, secrets = runtime.config.server, secrets or ClientSecrets()
    # the middleware added last runs first
    app.add_middleware(BodyLimitMiddleware, settings=settings)
    app.add_middleware(AuthMiddleware, settings=settings, secrets=secrets)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
        )
    app.add_middleware(RateLimitMiddleware, settings=settings)
    app.add_middleware(OriginMiddleware, settings=settings)
    app.add_middleware(RequestMetricsMiddleware, metrics=runtime.observers.metrics)
    app.add_middleware(_ResponseHeadersMiddleware)
    http_errors.install_error_handlers(app)
    app.state.metrics = runtime.observers.metrics
    runtime.observers.metrics.registry.register(RuntimeCollector(runtime))
    app.include_router(health.router(runtime))

    async def drain() -> None:
        """Begin no new sessions, and end each after its current sentence, within `server.drain_s`."""
        runtime.draining = True
        await registry.drain(settings.drain_s)

    app.state.drain = drain

    @app.get(STATUS)
    async def status(request: Request) -> dict[str, Any]:
        """The state of the server; without a key only its progress."""
        return runtime.status() if is_authenticated(request) else runtime.public_status()

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        """A session in the OpenAI Realtime protocol."""
        await serve_websocket(websocket, runtime, registry)

    calls.add_routes(app)
    app.include_router(client_secrets.router(runtime, secrets))
    for module in (assistants, conversations, engines, models, chat, speech, transcriptions):
        app.include_router(module.router(runtime))

    @app.api_route(
        "/v1/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    async def unknown_route(request: Request) -> None:
        """Answer 404 for unknown API routes, which would otherwise be looked up among the page's files."""
        message = f"There is no {request.method} {request.url.path} here."
        raise http_errors.ApiError(404, message, "not_found")

    app.mount("/", GZipMiddleware(StaticFiles(directory=PAGE, html=True), minimum_size=500), name="page")
    return app


class _ResponseHeadersMiddleware:
    """ASGI middleware: security headers, and no caching, as a stale module of the page would not fit a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-cache")
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
