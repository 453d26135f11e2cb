"""One session on this server. It outlives its connection: a client that was cut off resumes it without loss."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import secrets
from typing import Literal, Protocol

from starlette.requests import HTTPConnection

from chinwag.conversation.events import Event
from chinwag.errors import Refused
from chinwag.observability import logs
from chinwag.observability.observer import SessionObservers, Transport
from chinwag.realtime import server_events as outbound
from chinwag.realtime.connection import Connection
from chinwag.realtime.server_events import Outgoing
from chinwag.realtime.session_config import Kind
from chinwag.runtime.archive import opened_with
from chinwag.runtime.auth import secret_session_settings
from chinwag.runtime.engine_switching import EngineSwitch, engine_switch
from chinwag.runtime.limits import BURST_S, TokenBucket, address_of
from chinwag.runtime.peers import with_replica_id
from chinwag.runtime.recorder import Recorder
from chinwag.runtime.runtime import Runtime
from chinwag.transport.outbox import Outbox

AudioTransport = Literal["text", "binary", "track"]
"""How a session's audio travels: as base64 in events, in binary frames, or by RTP. A resumed session keeps it."""

MAX_UNSENT = 4000
"""Messages that wait for a client: minutes of sound. A client that takes none of them is disconnected."""

POLL_EVERY_S = 0.05
"""How often a draining session is checked for the end of its sentence."""

RESTARTING = Refused("server_restarting", "The server stops or restarts now.", "Connect again in a few seconds.")

log = logging.getLogger(__name__)


class ClientConnection(Protocol):
    """The WebSocket or peer connection that carries a session."""

    def stop(self) -> None:
        """Stop carrying: the session has ended, another connection carries it, or the client takes no messages."""
        ...


class LiveSession:
    """One session on this server.

    keeper: the recorder of the conversation, if it is recorded. resumable: the client may resume it. received: number
    of messages from the client.
    """

    def __init__(
        self, runtime: Runtime, request: HTTPConnection, audio_transport: AudioTransport, keeper: Recorder | None
    ) -> None:
        assert runtime.engines is not None
        settings = runtime.config.server
        extended = request.query_params.get("chinwag") == "events" or audio_transport == "binary"
        kind: Kind = "transcription" if request.query_params.get("intent") == "transcription" else "realtime"
        self.audio_transport, self.resumable = audio_transport, extended and settings.resume_s > 0
        self.address = address_of(request)
        self.token = with_replica_id(f"resume_{secrets.token_hex(16)}", runtime.peers)
        self.outbox, self.received = Outbox(), 0
        rate = settings.messages_per_second
        self._message_rate = TokenBucket(rate, rate * BURST_S, asyncio.get_running_loop().time())
        self._rate_limited = False
        self.client: ClientConnection | None = None
        self.client_too_slow = False
        """The last connection was dropped because the client took no messages."""
        self.sent_anew = False
        """The client got the whole conversation again, instead of the missing messages."""
        self.draining = False
        """The session ends because the server stops."""
        self.restored = False
        """The session continues a recorded conversation whose session was lost with its server."""
        self._detached_at = 0.0
        self.expiry: asyncio.TimerHandle | None = None
        """Ends the detached session if its client does not resume it."""
        self._resume_within_s = settings.resume_s
        self._switch: EngineSwitch | None = engine_switch(runtime, request)
        self.connection = Connection(
            runtime.engines,
            runtime.defaults(),
            self._send,
            extended=extended,
            binary=audio_transport == "binary",
            by_track=audio_transport == "track",
            longest_message=settings.max_message_bytes,
            opening=opened_with(keeper, secret_session_settings(request)),
            kind=kind,
            engine_selector=self._switch,
            recorder=keeper,
            acknowledge=self.acknowledge,
            observer=self._observe,
        )
        self._observers = runtime.observers
        self._session_observers: SessionObservers | None = None
        if self._switch:
            self._switch.connection = self.connection
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether the session has greeted its client."""
        return self._task is not None

    @property
    def ended(self) -> bool:
        """Whether the session has ended by itself."""
        return self._task is not None and self._task.done()

    @property
    def failed(self) -> bool:
        """Whether the session has ended with an exception."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is not None

    def start(self) -> None:
        """Greet the client and run the session until it ends or reaches its maximum duration."""
        context = contextvars.copy_context()
        context.run(logs.session.set, self.connection.session.id)
        transport: Transport = "webrtc" if self.audio_transport == "track" else "websocket"
        self._session_observers = context.run(self._observers.observe_session, self.connection.session.id, transport)
        self.connection.announce()
        self._send_resume_token()
        self._task = asyncio.create_task(self.connection.run(), name="session", context=context)
        self._task.add_done_callback(self._on_task_done, context=context)

    def attach(self, client: ClientConnection, acknowledged: int | None) -> None:
        """Carry the session over this connection from now on.

        acknowledged: number of messages that the client has; None if it has none, as after a reload of the page. Then
        it gets the whole conversation as it stands.
        """
        if self.client:
            self.detach()
        self.client, self.client_too_slow = client, False
        self.sent_anew = self.restored and self._task is None
        if self.expiry:
            self.expiry.cancel()
            self.expiry = None
        if self._task is None:
            return
        if acknowledged is None or not self.outbox.rewind(acknowledged):
            self.sent_anew = True
            self.outbox.clear()
            self.connection.resync(self._detached_at)
            self._send_resume_token()

    def detach(self) -> None:
        """Stop carrying the session over its connection."""
        client, self.client = self.client, None
        self._detached_at = asyncio.get_running_loop().time()
        if client:
            client.stop()

    @property
    def resumed_event(self) -> str:
        """The first event for a client that resumes, as JSON; it is not counted among the messages."""
        return json.dumps(outbound.make_event("chinwag.session.resumed", received=self.received, anew=self.sent_anew))

    def take_message_slot(self) -> float:
        """Count a message from the client; return how many seconds too early it came (server.messages_per_second).

        The client gets one error event for each series of early messages.
        """
        early_s = self._message_rate.take(asyncio.get_running_loop().time())
        if early_s and not self._rate_limited:
            message = "Messages come faster than they are taken; what comes too early waits, or over WebRTC is dropped."
            self.connection.send_fault("rate_limit_exceeded", message)
        self._rate_limited = early_s > 0
        return early_s

    def return_message_slot(self) -> None:
        """Do not count the last message: it was dropped."""
        self._message_rate.give_back()

    def acknowledge(self, number: int) -> int:
        """Drop messages up to this number, which the client has; return how many were received from the client."""
        self.outbox.acknowledge(number)
        return self.received

    async def drain(self, within_s: float) -> None:
        """End the session after the sentence that is being spoken, within so many seconds."""
        loop, task = asyncio.get_running_loop(), self._task
        deadline = loop.time() + within_s
        self.draining = True
        self.connection.drain(within_s)
        while task and self.client and not task.done() and loop.time() < deadline and not self.connection.at_rest:
            await asyncio.wait({task}, timeout=POLL_EVERY_S)
        if task and self.client is None:
            self.connection.session.stop_at(self._detached_at)  # no client heard the rest
        self.connection.end(RESTARTING)
        if task:
            await asyncio.wait({task})

    async def end(self) -> None:
        """End the session now, if it still runs, and release its engines."""
        if self.expiry:
            self.expiry.cancel()
        if self._task and not self._task.done():
            if self.client is None:
                self.connection.session.stop_at(self._detached_at)  # no client heard the rest
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._switch:
            await self._switch.close()

    def _send_resume_token(self) -> None:
        if self.resumable:
            within_ms = round(self._resume_within_s * 1000)
            self.outbox.put(outbound.make_event("chinwag.session.resumable", resume=self.token, within_ms=within_ms))

    def _send(self, message: Outgoing) -> None:
        self.outbox.put(message)
        if self.client and self.outbox.unsent > MAX_UNSENT:
            self.client_too_slow = True
            self.detach()

    def _observe(self, event: Event) -> None:
        if self._session_observers:
            self._session_observers.on_event(event)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if self._session_observers:
            self._session_observers.on_end()
        if not task.cancelled() and (error := task.exception()):
            log.error("The session failed.", exc_info=error)
        self.outbox.close()
        if self.client:
            self.client.stop()  # after it has sent the last messages
