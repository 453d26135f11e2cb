"""GET /api/assistants: the assistants that a client may choose with `chinwag.session.update`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from chinwag.runtime.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/api/assistants")
    async def assistants() -> dict[str, Any]:
        """List the assistants, read again from their files. faults: files that cannot be used, and why."""
        catalog = await runtime.assistants.reload()
        return {
            "assistants": [assistant.as_dict for assistant in catalog.assistants.values()],
            "default": runtime.config.assistant.name,
            "faults": [str(fault) for fault in catalog.faults],
        }

    return routes
