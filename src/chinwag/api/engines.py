"""GET /api/engines: what a client may choose from, for `chinwag.engines.update`."""

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
    """The route."""
    routes = APIRouter()

    @routes.get("/api/engines")
    async def engines() -> dict[str, Any]:
        """Those that hear, think and speak: what each is, whether it is installed and here, its models and voices."""
        require_engines(runtime)
        rows = await asyncio.to_thread(list_engines, runtime.config, runtime.store, TASKS)
        return {"switching": runtime.config.server.switching, "engines": [_shown(runtime, row) for row in rows]}

    return routes


def _shown(runtime: Runtime, row: EngineRow) -> dict[str, Any]:
    """voices, by language: of a voice engine that is loaded; the others tell theirs once they are."""
    shown = asdict(row)
    shown["chosen"] = runtime.states[row.task].name == row.name
    shown["loaded"] = [held.settings.model for held in _loaded(runtime, row)]
    voices = [held.engine for held in _loaded(runtime, row) if row.task == "tts"]
    shown["voices"] = _voices(voices[0]) if voices else None
    return shown


def _loaded(runtime: Runtime, row: EngineRow) -> list[Any]:
    return [held for held in runtime.pool.loaded(row.task) if held.settings.engine == row.name]


def _voices(voice: Voice) -> dict[str, list[str]]:
    """With "" for those that speak any language."""
    fitting = {language: list(names) for language, names in voice.languages.items()}
    named = {name for names in fitting.values() for name in names}
    free = [name for name in voice.voices if name not in named]
    return {**fitting, "": free} if free else fitting
