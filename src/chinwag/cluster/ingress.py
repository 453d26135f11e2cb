"""The ingress deployment: replicas of the server with its page and sockets. Its engines run in other deployments."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import suppress
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chinwag.cluster.options import INGRESS
from chinwag.cluster.remote import DeploymentClient, remote_engine_class
from chinwag.cluster.serving import replica_facts
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.protocols import Engine, Task
from chinwag.observability.process import freeze_startup_objects
from chinwag.reach import is_loopback
from chinwag.runtime.client_secrets import ClientSecrets
from chinwag.runtime.http_errors import error_body
from chinwag.runtime.peers import PeerEvent
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

SWITCH_S = 0.001
"""Python's thread switch interval, as in `chinwag serve`: other threads yield to the event loop within 1 ms."""

BROADCAST_TIMEOUT_S = 8.0
"""Limit for the other replicas to apply news, such as ending a session that continues here."""

LOADED_WITHIN_S = 20.0
"""A replica that needs longer, for instance to fetch weights, becomes healthy while it loads. Serve's limit is 30 s."""

log = logging.getLogger(__name__)


@serve.ingress()
class Talking:
    """A replica of the server. engines: deployment handles by task. silent_s: see `DeploymentClient`."""

    def __init__(self, settings: Config, silent_s: float, **engines: DeploymentHandle[Any]) -> None:
        sys.setswitchinterval(SWITCH_S)
        context = serve.get_replica_context()
        self._settings, self._app = settings, context.app_name
        self.replica_id = context.replica_id.unique_id
        self._secrets = ClientSecrets()

        def find(task: Task, name: str) -> type[Engine]:
            section = getattr(settings, task)
            if task not in engines:
                return registry.find(task, name)
            return remote_engine_class(task, name, DeploymentClient(engines[task], name, silent_s, section.timeout_s))

        self._runtime = Runtime(settings, find=find, peers=self)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build the ASGI app; the method name is Serve's."""
        app = create_app(self._runtime, self._secrets)
        if not self._settings.server.requires_key and self._settings.server.auth != "off":
            app.add_middleware(LoopbackOnly)
        return app

    async def check_health(self) -> None:
        """Wait until the engines are loaded or have failed; the method name is Serve's.

        Serve calls it before a new replica receives its first session, which would otherwise find engines that still
        load although another replica has them ready.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._runtime.settled.wait(), LOADED_WITHIN_S)
            if not gc.get_freeze_count():
                freeze_startup_objects()

    async def report(self) -> dict[str, Any]:
        """Return this replica's state for `chinwag cluster status`."""
        runtime = self._runtime
        return {
            **replica_facts(),
            "stage": runtime.stage,
            "sessions": runtime.sessions,
            "error": str(runtime.error or ""),
        }

    # --- peers -----------------------------------------------------------------------------------------------

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        """Send news to all other replicas; see `chinwag.runtime.peers`."""
        try:
            await asyncio.to_thread(self._broadcast, what, facts)
        except Exception as error:
            log.warning("some replicas did not receive the news %r: %s", what, error)

    def _broadcast(self, what: PeerEvent, facts: dict[str, Any]) -> None:
        own = serve.get_deployment_handle(INGRESS, self._app)
        own.broadcast("receive_news", self.replica_id, what, facts).results(timeout_s=BROADCAST_TIMEOUT_S)

    async def receive_news(self, replica_id: str, what: PeerEvent, facts: dict[str, Any]) -> None:
        """Apply news from another replica."""
        if replica_id == self.replica_id:
            return
        archive = self._runtime.archive
        match what:
            case "taken_over":
                await archive.let_go(**facts)
            case "renamed":
                archive.renamed(**facts)
            case "forgotten":
                archive.forgotten(**facts)
            case "secret":
                self._secrets.add(**facts)


class LoopbackOnly:
    """ASGI middleware for a server without keys: refuse clients of other machines, wherever Serve's proxies listen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request from this machine; refuse all others with 403 or close code 1008."""
        client = HTTPConnection(scope).client if scope["type"] in ("http", "websocket") else None
        if client is None or is_loopback(client.host):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            message = "This server has no key, so it answers only its own machine. Set server.api_keys."
            await JSONResponse(error_body(message, code="forbidden_host"), 403)(scope, receive, send)
