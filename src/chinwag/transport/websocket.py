"""Carries a session over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from chinwag.errors import Refused
from chinwag.realtime import server_events as outbound
from chinwag.runtime.http_errors import RETRY_AFTER_S
from chinwag.runtime.runtime import Runtime
from chinwag.transport.live_session import AudioTransport, LiveSession
from chinwag.transport.registry import SessionRegistry, acknowledged_messages
from chinwag.transport.session_opening import SessionRefused, open_session

BINARY = "chinwag.pcm"
"""Subprotocol: audio as raw PCM16 frames both ways, a third smaller than base64. It includes the `chinwag.*` events."""

TRY_AGAIN = 1013
TOO_SLOW = 1008
DONE = 1000
RESTARTING = 1012
FAILED = 1011
REPLACED = 4001
"""The client resumed the session over another socket."""

FLUSH_WITHIN_S = 5.0
"""Time to send the remaining messages of an ended session."""

log = logging.getLogger(__name__)


async def serve_websocket(websocket: WebSocket, runtime: Runtime, registry: SessionRegistry) -> None:
    """Open or resume a session over this socket, and carry it until one side ends."""
    offered = websocket.scope.get("subprotocols", [])
    subprotocol = next((name for name in (BINARY, "realtime") if name in offered), None)
    await websocket.accept(subprotocol)
    audio_transport: AudioTransport = "binary" if subprotocol == BINARY else "text"
    try:
        session = await open_session(runtime, registry, websocket, audio_transport)
        client = WebSocketConnection(websocket, session)
        try:
            await client.run(acknowledged_messages(websocket))
        finally:
            runtime.remove_session()
            if ending := registry.detach(session, client, for_good=client.said_goodbye):
                await asyncio.wait({ending})
    except SessionRefused as refused:
        refused.event["error"].setdefault("retry_after_s", RETRY_AFTER_S)
        await _send_and_close(websocket, refused.event, TRY_AGAIN)
    except Refused as error:
        await _send_and_close(websocket, outbound.error(error, None), DONE)


async def _send_and_close(websocket: WebSocket, event: dict[str, Any], code: int) -> None:
    try:
        await websocket.send_text(json.dumps(event))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        return


def _close_code(session: LiveSession) -> int:
    """Return the close code for a socket that the server closes."""
    if session.ended:
        return FAILED if session.failed else RESTARTING if session.draining else DONE
    return TOO_SLOW if session.client_too_slow else REPLACED


class WebSocketConnection:
    """Reads from and writes to one socket for a session."""

    def __init__(self, websocket: WebSocket, session: LiveSession) -> None:
        self._websocket, self._session = websocket, session
        self._stopped = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self.said_goodbye = False
        """The client closed the socket normally: it will not resume."""

    def stop(self) -> None:
        """Stop carrying; see `ClientConnection`."""
        self._stopped.set()
        if self._writing and self._session.client is not self:
            self._writing.cancel()  # at once: the next message belongs to another connection

    async def run(self, acknowledged: int | None) -> None:
        """Carry the session until it or the socket ends. acknowledged: see `LiveSession.attach`."""
        session = self._session
        resumes = session.started
        session.attach(self, acknowledged)
        if resumes or session.restored:
            await self._send(session.resumed_event)
        if not resumes:
            session.start()
        self._writing = asyncio.create_task(self._write())
        tasks: list[asyncio.Task[Any]] = [
            self._writing,
            asyncio.create_task(self._read()),
            asyncio.create_task(self._stopped.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if session.ended:
                await asyncio.wait({self._writing}, timeout=FLUSH_WITHIN_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                log.error("A WebSocket connection failed.", exc_info=error)
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                await self._websocket.close(_close_code(session))
            except (WebSocketDisconnect, RuntimeError):
                return

    async def _read(self) -> None:
        while True:
            message: dict[str, Any] = dict(await self._websocket.receive())
            if self._session.client is not self:
                return
            if message["type"] == "websocket.disconnect":
                self.said_goodbye = message.get("code") == DONE
                return
            if early_s := self._session.take_message_slot():
                await asyncio.sleep(early_s)  # the socket is not read meanwhile
                if self._session.client is not self:
                    return
            self._session.received += 1
            if (text := message.get("text")) is not None:
                self._session.connection.receive_text(text)
            elif (data := message.get("bytes")) is not None:
                self._session.connection.receive_bytes(data)

    async def _write(self) -> None:
        while (message := await self._session.outbox.get()) is not None:
            if not await self._send(message):
                return

    async def _send(self, message: str | bytes) -> bool:
        try:
            if isinstance(message, bytes):
                await self._websocket.send_bytes(message)
            else:
                await self._websocket.send_text(message)
        except (WebSocketDisconnect, RuntimeError):  # the client went meanwhile
            return False
        return True
