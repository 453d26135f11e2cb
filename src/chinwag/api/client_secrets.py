"""POST /v1/realtime/client_secrets: create a short-lived key that can only open sessions."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from chinwag.ids import new_id
from chinwag.realtime import client_events as inbound
from chinwag.realtime.session_config import SessionConfig
from chinwag.runtime.client_secrets import DEFAULT_S, MAX_S, MIN_S, ClientSecrets
from chinwag.runtime.http_errors import require_engines
from chinwag.runtime.runtime import Runtime


class ExpiresAfter(BaseModel):
    """Lifetime of the secret. Sessions that it opened continue afterwards."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(DEFAULT_S, ge=MIN_S, le=MAX_S)


class ClientSecretRequest(BaseModel):
    """The body. session: as in `session.update`."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


def router(runtime: Runtime, secrets: ClientSecrets) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.post("/v1/realtime/client_secrets")
    async def client_secrets(asked: ClientSecretRequest | None = None) -> dict[str, Any]:
        """Create a secret. Its session settings are checked now and apply to each session that it opens."""
        require_engines(runtime)
        asked = asked or ClientSecretRequest()
        event = {"type": "session.update", "session": asked.session or {}}
        update = inbound.check("session.update", event).session.model_dump(exclude_unset=True)
        session, _ = SessionConfig(new_id("sess"), runtime.defaults()).with_update(update)
        value, expires_at = secrets.create(update, (asked.expires_after or ExpiresAfter()).seconds)
        await runtime.peers.notify("secret", **secrets.export(value))
        # the response has no session id: each session gets its own when it opens
        return {"value": value, "expires_at": expires_at, "session": session.wire}

    return routes
