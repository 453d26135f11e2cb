"""GET /api/assistants: who can answer, for `chinwag.session.update`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from chinwag.runtime.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.get("/api/assistants")
    async def assistants() -> dict[str, Any]:
        """Those there are, read anew from their files; faults: the files that cannot be used, and why."""
        found = await runtime.assistants.reload()
        return {
            "assistants": [one.as_dict for one in found.assistants.values()],
            "default": runtime.config.assistant.name,
            "faults": [str(fault) for fault in found.faults],
        }

    return routes
