"""Carries one client's conversation over its WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from chinwag.errors import Refused
from chinwag.realtime import outbound
from chinwag.realtime.connection import Connection, Outgoing
from chinwag.web.host import Host
from chinwag.web.keeping import opened_with
from chinwag.web.security import by_secret, opening
from chinwag.web.switching import switch

if TYPE_CHECKING:
    from chinwag.web.recorder import Recorder

BINARY = "chinwag.pcm"
"""Subprotocol: sound as raw PCM16 frames both ways, a third smaller than base64; `chinwag.*` events come with it."""

TRY_AGAIN = 1013
TOO_SLOW = 1008
DONE = 1000

LAST_WORDS_S = 5.0
"""What is still to be sent when a session has expired has so long to go out."""

LONGEST_QUEUE = 4000
"""Messages that wait for a client: minutes of sound. One that takes none of them is gone."""

log = logging.getLogger(__name__)


async def converse(websocket: WebSocket, host: Host) -> None:
    """Hold a conversation until one side goes."""
    offered = websocket.scope.get("subprotocols", [])
    chosen = next((name for name in (BINARY, "realtime") if name in offered), None)
    await websocket.accept(chosen)
    if no := refusal(host):
        await _refuse(websocket, outbound.fault(*no), TRY_AGAIN)
        return
    host.sessions += 1
    try:
        wanted, may_reopen = websocket.query_params.get("conversation"), not by_secret(websocket)
        keeper = await host.keeping.recorder(wanted, host.instructions, may_reopen=may_reopen)
        await _Client(websocket, host, binary=chosen == BINARY, keeper=keeper).run()
    except Refused as refused:
        await _refuse(websocket, outbound.error(refused, None), DONE)
    finally:
        host.sessions -= 1


def refusal(host: Host) -> tuple[str, str] | None:
    """Why no conversation can begin now, as an error's code and message; None where one can."""
    if host.stage == "failed":
        return "not_ready", f"The server cannot talk: {host.error}"
    if host.engines is None:
        return "not_ready", f"The server is still {host.doing}. Try again in a moment; /api/status tells how far it is."
    if host.sessions >= host.config.server.max_sessions:
        return "server_full", (
            f"All {host.config.server.max_sessions} places are taken. Try again later, or raise server.max_sessions."
        )
    return None


async def _refuse(websocket: WebSocket, why: dict[str, Any], code: int) -> None:
    try:
        await websocket.send_text(json.dumps(why))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        return


class _Client:
    """Two pumps between a socket and a Connection."""

    def __init__(self, websocket: WebSocket, host: Host, *, binary: bool, keeper: Recorder | None) -> None:
        assert host.engines is not None
        self._websocket = websocket
        self._outbox: asyncio.Queue[Outgoing | None] = asyncio.Queue()
        self._stuck = asyncio.Event()
        self._switch = switch(host, websocket)
        self._connection = Connection(
            host.engines,
            host.defaults(),
            self._post,
            extended=websocket.query_params.get("chinwag") == "events",
            binary=binary,
            longest_message=host.config.server.max_message_bytes,
            opening=opened_with(keeper, opening(websocket)),
            kind="transcription" if websocket.query_params.get("intent") == "transcription" else "realtime",
            choice=self._switch,
            keeper=keeper,
        )
        if self._switch:
            self._switch.connection = self._connection

    async def run(self) -> None:
        """Until the client goes, or takes nothing any more."""
        works = (self._connection.run(), self._write(), self._read(), self._watch())
        holding, writing, *_ = tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if expired := holding in done and not holding.exception():
                self._outbox.put_nowait(None)
                await asyncio.wait({writing}, timeout=LAST_WORDS_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._switch:
                await self._switch.close()
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                log.error("a conversation broke off", exc_info=error)
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                code = TOO_SLOW if self._stuck.is_set() else DONE if expired else 1011
                await self._websocket.close(code)
            except (WebSocketDisconnect, RuntimeError):
                return

    def _post(self, message: Outgoing) -> None:
        if self._outbox.qsize() >= LONGEST_QUEUE:
            self._stuck.set()
            return
        self._outbox.put_nowait(message)

    async def _watch(self) -> None:
        await self._stuck.wait()

    async def _read(self) -> None:
        while True:
            message: dict[str, Any] = dict(await self._websocket.receive())
            if message["type"] == "websocket.disconnect":
                return
            if (text := message.get("text")) is not None:
                self._connection.receive_text(text)
            elif (data := message.get("bytes")) is not None:
                self._connection.receive_bytes(data)

    async def _write(self) -> None:
        try:
            while (message := await self._outbox.get()) is not None:
                if isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.send_text(json.dumps(message, ensure_ascii=False))
        except (WebSocketDisconnect, RuntimeError):  # it went while we spoke
            return
