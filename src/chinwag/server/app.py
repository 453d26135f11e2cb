"""The FastAPI application: the page, its status, /v1/realtime and the rest of OpenAI's API."""

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
from chinwag.observability.metrics import Counted
from chinwag.runtime import http_errors as errors
from chinwag.runtime.auth import HEADERS, PAGE, STATUS, Guard, Keys, has_key
from chinwag.runtime.client_secrets import ClientSecrets
from chinwag.runtime.limits import Bodies, Rates
from chinwag.runtime.runtime import Runtime
from chinwag.server import health as operating
from chinwag.transport.live_session import SessionRegistry
from chinwag.transport.webrtc_routes import WebRtcCalls
from chinwag.transport.websocket import converse


def create_app(host: Runtime, secrets: ClientSecrets | None = None) -> FastAPI:
    """An application for a host, which begins to get ready as the application starts.

    secrets: client secrets, where others make them too.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        getting_ready = asyncio.create_task(host.start())
        try:
            yield
        finally:
            getting_ready.cancel()
            await asyncio.gather(getting_ready, return_exceptions=True)
            await calls.close()
            await talks.close()
            await host.close()

    talks = SessionRegistry(host)
    calls = WebRtcCalls(host, talks)
    # its pages of documentation would load scripts from elsewhere
    app = FastAPI(title="Chinwag", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    settings, secrets = host.config.server, secrets or ClientSecrets()
    # the one that was added last is asked first
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(Keys, settings=settings, secrets=secrets)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
        )
    app.add_middleware(Rates, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counted, metrics=host.watching.metrics)
    app.add_middleware(_Headers)
    errors.install(app)
    app.state.metrics = host.watching.metrics
    app.include_router(operating.router(host))

    async def drain() -> None:
        """Begin nothing new, and let each conversation come to the end of a sentence; `server.drain_s` at most."""
        host.draining = True
        await talks.drain(settings.drain_s)

    app.state.drain = drain

    @app.get(STATUS)
    async def status(request: Request) -> dict[str, Any]:
        """How far the server is, what it runs on, and what is wrong; without a key only how far it is."""
        return host.status() if has_key(request) else host.progress_alone()

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        """A conversation in the OpenAI Realtime protocol."""
        await converse(websocket, host, talks)

    calls.add_routes(app)
    app.include_router(client_secrets.router(host, secrets))
    for module in (assistants, conversations, engines, models, chat, speech, transcriptions):
        app.include_router(module.router(host))

    @app.api_route(
        "/v1/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    async def nothing(request: Request) -> None:
        """What no route above has: the page's files would answer otherwise."""
        message = f"There is no {request.method} {request.url.path} here."
        raise errors.ApiError(404, message, "not_found")

    app.mount("/", GZipMiddleware(StaticFiles(directory=PAGE, html=True), minimum_size=500), name="page")
    return app


class _Headers:
    """The page is asked for anew each time, as a stale module beside a new one breaks it; and it loads only itself."""

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
