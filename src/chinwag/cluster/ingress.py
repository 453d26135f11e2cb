"""Replicas of the whole server, its page and its sockets; its engines answer from their deployments."""

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

from chinwag.cluster import INGRESS
from chinwag.cluster.remote import Line, remote
from chinwag.cluster.serving import where
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.protocols import Engine, Task
from chinwag.observability.process import settle
from chinwag.reach import is_loopback
from chinwag.runtime.client_secrets import ClientSecrets
from chinwag.runtime.http_errors import fault
from chinwag.runtime.peers import News
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

SWITCH_S = 0.001
"""As `chinwag serve`: what runs beside the event loop gives way to it after a millisecond."""

TOLD_WITHIN_S = 8.0
"""The other replicas have so long to take in news, and to end a conversation that goes on here."""

LOADED_WITHIN_S = 20.0
"""A replica that takes longer, as where weights are fetched, is shown as it loads. Serve gives a check 30 s."""

log = logging.getLogger(__name__)


@serve.ingress()
class Talking:
    """Holds conversations. engines: handles of the deployments, by task; silent_s: see `Line`."""

    def __init__(self, settings: Config, silent_s: float, **engines: DeploymentHandle[Any]) -> None:
        sys.setswitchinterval(SWITCH_S)
        context = serve.get_replica_context()
        self._settings, self._app = settings, context.app_name
        self.place = context.replica_id.unique_id
        self._secrets = ClientSecrets()

        def find(task: Task, name: str) -> type[Engine]:
            section = getattr(settings, task)
            if task not in engines:
                return registry.find(task, name)
            return remote(task, name, Line(engines[task], name, silent_s, section.timeout_s))

        self._host = Runtime(settings, find=find, peers=self)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve's name for it."""
        app = create_app(self._host, self._secrets)
        if not self._settings.server.wants_key and self._settings.server.auth != "off":
            app.add_middleware(OnlyHere)
        return app

    async def check_health(self) -> None:
        """Serve's name for it, asked before a new replica is given its first conversation: that one is not to be told
        that the engines are still loading, while another replica has them. Where they fail, its page says why."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._host.settled.wait(), LOADED_WITHIN_S)
            if not gc.get_freeze_count():
                settle()

    async def report(self) -> dict[str, Any]:
        """How this replica is, for `chinwag cluster status`."""
        host = self._host
        return {**where(), "stage": host.stage, "sessions": host.sessions, "error": str(host.error or "")}

    # --- peers -----------------------------------------------------------------------------------------------

    async def tell(self, what: News, **facts: Any) -> None:
        """Have all other replicas know; see `chinwag.runtime.peers`."""
        try:
            await asyncio.to_thread(self._tell, what, facts)
        except Exception as error:
            log.warning("not every replica was told that something was %s: %s", what, error)

    def _tell(self, what: News, facts: dict[str, Any]) -> None:
        own = serve.get_deployment_handle(INGRESS, self._app)
        own.broadcast("told", self.place, what, facts).results(timeout_s=TOLD_WITHIN_S)

    async def told(self, place: str, what: News, facts: dict[str, Any]) -> None:
        """News of another replica."""
        if place == self.place:
            return
        keeping = self._host.keeping
        match what:
            case "taken_over":
                await keeping.let_go(**facts)
            case "renamed":
                keeping.renamed(**facts)
            case "forgotten":
                keeping.forgotten(**facts)
            case "secret":
                self._secrets.take(**facts)


class OnlyHere:
    """ASGI middleware: without a key, nobody but this machine is answered, wherever Serve's proxies listen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or turn it away."""
        client = HTTPConnection(scope).client if scope["type"] in ("http", "websocket") else None
        if client is None or is_loopback(client.host):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            message = "This server has no key, so it answers to its own machine alone. Set server.api_keys."
            await JSONResponse(fault(message, code="forbidden_host"), 403)(scope, receive, send)
