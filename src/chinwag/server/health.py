"""Liveness, readiness and metrics."""

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

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of a proxy: with one of these the client is not on this machine, though the proxy may be."""


def router(runtime: Runtime) -> APIRouter:
    """Return the routes /healthz, /readyz and /metrics."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer that the process is alive, ready or not."""
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz(room: bool = False) -> Response:
        """200 if sessions can begin, otherwise 503 with the reason. room: a full server counts as not ready, for load
        balancers.
        """
        state, ready = readiness(runtime)
        if ready and not (room and state["full"]):
            return JSONResponse(state)
        return JSONResponse(state, 503, {"Retry-After": str(RETRY_AFTER_S)})

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Metrics for Prometheus, for this machine itself and for clients with a key."""
        if not may_read_metrics(request, runtime.config.server):
            message = (
                "Other machines need a key to read the metrics: send `Authorization: Bearer KEY`"
                " with server.metrics_key, or one of server.api_keys."
            )
            raise ApiError(401, message, "invalid_api_key")
        return Response(await asyncio.to_thread(runtime.observers.metrics.render), media_type=CONTENT_TYPE)

    return routes


def readiness(runtime: Runtime) -> tuple[dict[str, Any], bool]:
    """Return the body of /readyz, and whether sessions can begin, now or once there is a place."""
    unavailable = runtime.unavailable
    full = unavailable is None and not runtime.admission.has_room
    reason = unavailable[1] if unavailable else "All places are taken." if full else ""
    status = "draining" if runtime.draining else runtime.stage
    return {"status": status, "reason": reason, "full": full, "sessions": runtime.sessions}, unavailable is None


def may_read_metrics(request: HTTPConnection, settings: ServerSettings) -> bool:
    """Whether the client may read the metrics: it has a key, or is on this machine."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if key := key.strip():
        keys = [valid.encode() for valid in (*settings.api_keys, settings.metrics_key) if valid]
        given = key.encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and True in {hmac.compare_digest(given, valid) for valid in keys}
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        name = urlsplit(f"//{request.headers.get('host', 'localhost')}").hostname
    except ValueError:
        return False
    return request.client is not None and is_loopback(request.client.host) and is_loopback(name)
