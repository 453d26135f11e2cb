"""GET /v1/models: the models of the LLM, STT and TTS engines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from chinwag.runtime.http_errors import ApiError, require_engines
from chinwag.runtime.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List all models. The LLM comes first, because some clients choose the first model."""
        return {"object": "list", "data": _models(runtime)}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """Return one model."""
        for known in _models(runtime):
            if known["id"] == name:
                return known
        raise ApiError(404, f"There is no model {name!r} here. /v1/models lists them.", "model_not_found", "model")

    return routes


def _models(runtime: Runtime) -> list[dict[str, Any]]:
    engines = require_engines(runtime)
    names = dict.fromkeys((engines.llm.model, engines.stt.name, engines.tts.name))
    created = int(runtime.created)
    return [{"id": name, "object": "model", "created": created, "owned_by": "chinwag"} for name in names]
