"""GET /api/engines: the engines that a client may choose with `chinwag.engines.update`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from chinwag.engines.listing import EngineRow, list_engines
from chinwag.engines.protocols import Voice
from chinwag.runtime.engine_switching import TASKS
from chinwag.runtime.http_errors import require_engines
from chinwag.runtime.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/api/engines")
    async def engines() -> dict[str, Any]:
        """List the STT, LLM and TTS engines with their state, models and voices."""
        require_engines(runtime)
        rows = await asyncio.to_thread(list_engines, runtime.config, runtime.store, TASKS)
        return {"switching": runtime.config.server.switching, "engines": [_shown(runtime, row) for row in rows]}

    return routes


def _shown(runtime: Runtime, row: EngineRow) -> dict[str, Any]:
    """Return an engine's JSON. Its voices by language are known only if it is a loaded TTS engine."""
    shown = asdict(row)
    shown["chosen"] = runtime.states[row.task].name == row.name
    shown["loaded"] = [pooled.settings.model for pooled in _loaded(runtime, row)]
    voices = [pooled.engine for pooled in _loaded(runtime, row) if row.task == "tts"]
    shown["voices"] = _voices(voices[0]) if voices else None
    return shown


def _loaded(runtime: Runtime, row: EngineRow) -> list[Any]:
    return [pooled for pooled in runtime.pool.loaded(row.task) if pooled.settings.engine == row.name]


def _voices(voice: Voice) -> dict[str, list[str]]:
    """Return the voices by language; "" has those for any language."""
    fitting = {language: list(names) for language, names in voice.languages.items()}
    named = {name for names in fitting.values() for name in names}
    free = [name for name in voice.voices if name not in named]
    return {**fitting, "": free} if free else fitting
