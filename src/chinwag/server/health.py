"""What whoever runs the server asks it: does it live, may conversations begin, and how has it fared."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import HTTPConnection

from chinwag.config import ServerSettings
from chinwag.observability.metrics import CONTENT_TYPE
from chinwag.reach import is_loopback
from chinwag.runtime.http_errors import RETRY_AFTER_S, ApiError
from chinwag.runtime.runtime import Runtime
from chinwag.transport.entry import unready

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""A proxy sets one of these: who asks is then not on this machine, though the proxy may be."""


def router(host: Runtime) -> APIRouter:
    """/healthz, /readyz and /metrics."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives, ready or not."""
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz(room: bool = False) -> Response:
        """200 while conversations can begin; 503 with why they cannot. room: a full server is not ready either, for a
        balancer that has others.
        """
        told, ready = readiness(host)
        if ready and not (room and told["full"]):
            return JSONResponse(told)
        return JSONResponse(told, 503, {"Retry-After": str(RETRY_AFTER_S)})

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus: to this machine itself, and to who has a key."""
        if not may_read(request, host.config.server):
            message = (
                "Metrics are told to this machine itself, and elsewhere to who sends `Authorization: Bearer KEY`"
                " with server.metrics_key, or one of server.api_keys."
            )
            raise ApiError(401, message, "invalid_api_key")
        return Response(await asyncio.to_thread(host.watching.metrics.exposed), media_type=CONTENT_TYPE)

    return routes


def readiness(host: Runtime) -> tuple[dict[str, Any], bool]:
    """What /readyz tells, and whether conversations can begin, now or when there is a place."""
    no = unready(host)
    full = no is None and not host.admission.has_room
    reason = no.message if no else "All places are taken." if full else ""
    status = "draining" if host.draining else host.stage
    return {"status": status, "reason": reason, "full": full, "sessions": host.sessions}, no is None


def may_read(request: HTTPConnection, settings: ServerSettings) -> bool:
    """Whether they may have the metrics."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if key := key.strip():
        known = [one for one in (*settings.api_keys, settings.metrics_key) if one]
        given = key.encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and True in {hmac.compare_digest(given, one.encode()) for one in known}
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        name = urlsplit(f"//{request.headers.get('host', 'localhost')}").hostname
    except ValueError:
        return False
    return request.client is not None and is_loopback(request.client.host) and is_loopback(name)
