"""Carries one client's conversation over its WebSocket."""

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
from chinwag.transport.entry import TurnedAway, enter
from chinwag.transport.live_session import Form, LiveSession, SessionRegistry, after

BINARY = "chinwag.pcm"
"""Subprotocol: sound as raw PCM16 frames both ways, a third smaller than base64; `chinwag.*` events come with it."""

TRY_AGAIN = 1013
TOO_SLOW = 1008
DONE = 1000
RESTARTING = 1012
FAILED = 1011
REPLACED = 4001
"""The client has come back by another socket."""

LAST_WORDS_S = 5.0
"""What is still to be sent when a session has expired has so long to go out."""

log = logging.getLogger(__name__)


async def converse(websocket: WebSocket, host: Runtime, talks: SessionRegistry) -> None:
    """Hold a conversation until one side goes."""
    offered = websocket.scope.get("subprotocols", [])
    chosen = next((name for name in (BINARY, "realtime") if name in offered), None)
    await websocket.accept(chosen)
    form: Form = "binary" if chosen == BINARY else "text"
    try:
        talk = await enter(host, talks, websocket, form)
        client = _Client(websocket, talk)
        try:
            await client.run(after(websocket))
        finally:
            host.left()
            if ending := talks.leave(talk, client, for_good=client.said_goodbye):
                await asyncio.wait({ending})
    except TurnedAway as away:
        await _refuse(websocket, away.event, TRY_AGAIN)
    except Refused as refused:
        await _refuse(websocket, outbound.error(refused, None), DONE)


async def _refuse(websocket: WebSocket, told: dict[str, Any], code: int) -> None:
    if code == TRY_AGAIN:
        told["error"].setdefault("retry_after_s", RETRY_AFTER_S)
    try:
        await websocket.send_text(json.dumps(told))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        return


def _why(talk: LiveSession) -> int:
    """The code that a socket closes with which the server closes."""
    if talk.over:
        return FAILED if talk.broken else RESTARTING if talk.winding_down else DONE
    return TOO_SLOW if talk.overfull else REPLACED


class _Client:
    """Two pumps between a socket and a conversation."""

    def __init__(self, websocket: WebSocket, talk: LiveSession) -> None:
        self._websocket, self._talk = websocket, talk
        self._left = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self.said_goodbye = False
        """It will not come back."""

    def leave(self) -> None:
        """The conversation is over, or carried by another, or this client takes nothing any more."""
        self._left.set()
        if self._writing and self._talk.carrier is not self:
            self._writing.cancel()  # at once: the next message is another's to send

    async def run(self, after: int | None) -> None:
        """Until the client goes, or the conversation. after: how many messages it has got, of one who comes back."""
        talk = self._talk
        comes_back = talk.begun
        talk.carried_by(self, after)
        if comes_back or talk.restored:
            await self._send(talk.resumed)
        if not comes_back:
            talk.begin()
        self._writing = asyncio.create_task(self._write())
        tasks: list[asyncio.Task[Any]] = [
            self._writing,
            asyncio.create_task(self._read()),
            asyncio.create_task(self._left.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if talk.over:
                await asyncio.wait({self._writing}, timeout=LAST_WORDS_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                log.error("a conversation broke off", exc_info=error)
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                await self._websocket.close(_why(talk))
            except (WebSocketDisconnect, RuntimeError):
                return

    async def _read(self) -> None:
        while True:
            message: dict[str, Any] = dict(await self._websocket.receive())
            if self._talk.carrier is not self:
                return
            if message["type"] == "websocket.disconnect":
                self.said_goodbye = message.get("code") == DONE
                return
            if early_s := self._talk.early_s():
                await asyncio.sleep(early_s)  # the socket is not read meanwhile
                if self._talk.carrier is not self:
                    return
            self._talk.received += 1
            if (text := message.get("text")) is not None:
                self._talk.connection.receive_text(text)
            elif (data := message.get("bytes")) is not None:
                self._talk.connection.receive_bytes(data)

    async def _write(self) -> None:
        while (message := await self._talk.outbox.get()) is not None:
            if not await self._send(message):
                return

    async def _send(self, message: str | bytes) -> bool:
        try:
            if isinstance(message, bytes):
                await self._websocket.send_bytes(message)
            else:
                await self._websocket.send_text(message)
        except (WebSocketDisconnect, RuntimeError):  # it went while we spoke
            return False
        return True
