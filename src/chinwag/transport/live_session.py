"""Conversations, apart from what carries them: a client that was cut off comes back to its own, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Protocol

from starlette.requests import HTTPConnection

from chinwag.conversation.events import Event
from chinwag.errors import Refused
from chinwag.observability import logs
from chinwag.observability.observer import Transport, Watched
from chinwag.realtime import server_events as outbound
from chinwag.realtime.connection import Connection
from chinwag.realtime.server_events import Outgoing
from chinwag.realtime.session_config import Kind
from chinwag.runtime.archive import ID, opened_with
from chinwag.runtime.auth import by_secret, opening
from chinwag.runtime.engine_switching import EngineSwitch, switch
from chinwag.runtime.limits import BURST_S, Bucket, address_of
from chinwag.runtime.peers import marked
from chinwag.runtime.runtime import Runtime
from chinwag.tasks import TaskSet

if TYPE_CHECKING:
    from chinwag.runtime.recorder import Recorder

Form = Literal["text", "binary", "track"]
"""How a conversation's sound comes and goes. Who comes back comes by the same way."""

KEPT_BYTES = 8 * 1024 * 1024
"""Of messages that a client may have to be sent again: two minutes and a half of sound in binary frames."""

LONGEST_QUEUE = 4000
"""Messages that wait for a client: minutes of sound. One that takes none of them is gone."""

LOOK_EVERY_S = 0.05
"""How often it is looked whether a conversation has come to rest."""

RESTARTING = Refused("server_restarting", "The server stops or restarts now.", "Connect again in a few seconds.")
MOST_LEFT = 32
"""Conversations that wait for their client at once, where max_sessions is no number; of more, the oldest are over."""

log = logging.getLogger(__name__)


class Outbox:
    """Messages for one client, numbered from 1. Those it may not have got are kept, the newest KEPT_BYTES of them."""

    def __init__(self) -> None:
        self._messages: deque[str | bytes] = deque()
        self._dropped = self._taken = self._bytes = 0
        self._more = asyncio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many have not gone out yet."""
        return self._dropped + len(self._messages) - self._taken

    def put(self, message: Outgoing) -> None:
        """One more, as it is now."""
        made = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False)
        self._messages.append(made)
        self._bytes += len(made)
        while self._bytes > KEPT_BYTES and len(self._messages) > 1:
            self._drop()
        self._more.set()

    async def get(self) -> str | bytes | None:
        """The next one that has not gone out; None where none will come."""
        while not self.waiting:
            if self._closed:
                return None
            self._more.clear()
            await self._more.wait()
        self._taken = max(self._taken, self._dropped) + 1
        return self._messages[self._taken - self._dropped - 1]

    def acknowledge(self, number: int) -> None:
        """The client has got all up to that one."""
        while self._messages and self._dropped < min(number, self._taken):
            self._drop()

    def go_back(self, number: int) -> bool:
        """The next is the one behind that number; False where it is not kept any more."""
        if not self._dropped <= number <= self._dropped + len(self._messages):
            return False
        self._taken = number
        return True

    def close(self) -> None:
        """There will be no more."""
        self._closed = True
        self._more.set()

    def clear(self) -> None:
        """Forget all, and count from 1 again."""
        self._messages.clear()
        self._dropped = self._taken = self._bytes = 0

    def _drop(self) -> None:
        self._bytes -= len(self._messages.popleft())
        self._dropped += 1


class Carrier(Protocol):
    """What a conversation's messages come and go by."""

    def leave(self) -> None:
        """The conversation is over, or carried by another."""
        ...


class LiveSession:
    """One conversation on this server.

    keeper: keeps what is said in it. lasting: it may be come back to. received: messages that were taken from the
    client.
    """

    def __init__(self, host: Runtime, request: HTTPConnection, form: Form, keeper: Recorder | None) -> None:
        assert host.engines is not None
        extended = request.query_params.get("chinwag") == "events" or form == "binary"
        kind: Kind = "transcription" if request.query_params.get("intent") == "transcription" else "realtime"
        self.form, self.lasting = form, extended and host.config.server.resume_s > 0
        self.address = address_of(request)
        self.token = marked(f"resume_{secrets.token_hex(16)}", host.peers)
        self.outbox, self.received = Outbox(), 0
        rate = host.config.server.messages_per_second
        self._pace = Bucket(rate, rate * BURST_S, asyncio.get_running_loop().time())
        self._hurried = False
        self.carrier: Carrier | None = None
        self.overfull = False
        """Its last carrier took nothing any more."""
        self.anew = False
        """Its client was told the whole conversation again."""
        self.winding_down = False
        """It ends because the server does."""
        self.restored = False
        """It goes on in place of one that was lost with its server."""
        self._left_at = 0.0
        self.gone: asyncio.TimerHandle | None = None
        self._within_s = host.config.server.resume_s
        self._switch: EngineSwitch | None = switch(host, request)
        self.connection = Connection(
            host.engines,
            host.defaults(),
            self._post,
            extended=extended,
            binary=form == "binary",
            by_track=form == "track",
            longest_message=host.config.server.max_message_bytes,
            opening=opened_with(keeper, opening(request)),
            kind=kind,
            engine_selector=self._switch,
            recorder=keeper,
            acknowledge=self.acknowledge,
            observer=self._observe,
        )
        self._watching = host.watching
        self._watched: Watched | None = None
        if self._switch:
            self._switch.connection = self.connection
        self._holding: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """It has greeted."""
        return self._holding is not None

    @property
    def over(self) -> bool:
        """It has ended by itself."""
        return self._holding is not None and self._holding.done()

    @property
    def broken(self) -> bool:
        """It has ended by a fault."""
        holding = self._holding
        return holding is not None and holding.done() and not holding.cancelled() and holding.exception() is not None

    def begin(self) -> None:
        """Greet, and hold the conversation until it is ended, or has lasted as long as one may."""
        context = contextvars.copy_context()
        context.run(logs.session.set, self.connection.session.id)
        transport: Transport = "webrtc" if self.form == "track" else "websocket"
        self._watched = context.run(self._watching.session, self.connection.session.id, transport)
        self.connection.announce()
        self._tell_how_to_resume()
        self._holding = asyncio.create_task(self.connection.run(), name="a conversation", context=context)
        self._holding.add_done_callback(self._ended, context=context)

    def carried_by(self, carrier: Carrier, after: int | None) -> None:
        """From now on. after: how many messages the client has got; None for one that begins anew, as a page that was
        loaded again: it is told the conversation as it stands.
        """
        if self.carrier:
            self.left()
        self.carrier, self.overfull, self.anew = carrier, False, self.restored and self._holding is None
        if self.gone:
            self.gone.cancel()
            self.gone = None
        if self._holding is None:
            return
        if after is None or not self.outbox.go_back(after):
            self.anew = True
            self.outbox.clear()
            self.connection.resync(self._left_at)
            self._tell_how_to_resume()

    def left(self) -> None:
        """Nobody carries it."""
        carrier, self.carrier = self.carrier, None
        self._left_at = asyncio.get_running_loop().time()
        if carrier:
            carrier.leave()

    @property
    def resumed(self) -> str:
        """What a client that has come back is told first, outside of the count."""
        return json.dumps(outbound.make_event("chinwag.session.resumed", received=self.received, anew=self.anew))

    def early_s(self) -> float:
        """A message has come; how long too early, by server.messages_per_second. The client is told once."""
        early_s = self._pace.take(asyncio.get_running_loop().time())
        if early_s and not self._hurried:
            message = "Messages come faster than they are taken; what comes too early waits, or over WebRTC is dropped."
            self.connection.send_fault("rate_limit_exceeded", message)
        self._hurried = early_s > 0
        return early_s

    def late(self) -> None:
        """That message was dropped: it does not count."""
        self._pace.give_back()

    def acknowledge(self, number: int) -> int:
        """The client has got so many messages; how many were taken from it."""
        self.outbox.acknowledge(number)
        return self.received

    async def wind_down(self, within_s: float) -> None:
        """End it once what is being said has come to the end of its sentence, and at the latest by then."""
        loop, holding = asyncio.get_running_loop(), self._holding
        until = loop.time() + within_s
        self.winding_down = True
        self.connection.drain(within_s)
        while holding and self.carrier and not holding.done() and loop.time() < until and not self.connection.at_rest:
            await asyncio.wait({holding}, timeout=LOOK_EVERY_S)
        if holding and self.carrier is None:
            self.connection.session.stop_at(self._left_at)  # nobody has heard the rest
        self.connection.end(RESTARTING)
        if holding:
            await asyncio.wait({holding})

    async def end(self) -> None:
        """It is over, in whatever way."""
        if self.gone:
            self.gone.cancel()
        if self._holding and not self._holding.done():
            if self.carrier is None:
                self.connection.session.stop_at(self._left_at)  # nobody has heard the rest
            self._holding.cancel()
            await asyncio.wait({self._holding})
        if self._switch:
            await self._switch.close()

    def _tell_how_to_resume(self) -> None:
        if self.lasting:
            self.outbox.put(
                outbound.make_event(
                    "chinwag.session.resumable", resume=self.token, within_ms=round(self._within_s * 1000)
                )
            )

    def _post(self, message: Outgoing) -> None:
        self.outbox.put(message)
        if self.carrier and self.outbox.waiting > LONGEST_QUEUE:
            self.overfull = True
            self.left()

    def _observe(self, event: Event) -> None:
        if self._watched:
            self._watched.told(event)

    def _ended(self, holding: asyncio.Task[None]) -> None:
        if self._watched:
            self._watched.over()
        if not holding.cancelled() and (error := holding.exception()):
            log.error("a conversation broke off", exc_info=error)
        self.outbox.close()
        if self.carrier:
            self.carrier.leave()  # once it has sent the last words


class SessionRegistry:
    """The conversations of one server. Those that nobody carries wait for their client for `server.resume_s`."""

    def __init__(self, host: Runtime) -> None:
        self._host = host
        self._talks: dict[str, LiveSession] = {}
        self._tasks = TaskSet()

    async def begin(self, request: HTTPConnection, form: Form) -> LiveSession:
        """A new one, which does not greet yet.

        Raises Refused where one that was kept is asked for and cannot go on, or the client's address has enough.
        """
        self._check_address(address_of(request))
        wanted, may_reopen = request.query_params.get("conversation"), not by_secret(request)
        keeper = await self._host.keeping.recorder(wanted, self._host.instructions, may_reopen=may_reopen)
        talk = LiveSession(self._host, request, form, keeper)
        self._talks[talk.token] = talk
        return talk

    def _check_address(self, address: str) -> None:
        most = self._host.config.server.max_sessions_per_address
        held = sum(1 for one in self._talks.values() if one.address == address and not one.gone)
        if address and most and held >= most:
            message = f"There are {held} conversations from this address already."
            raise Refused("too_many_sessions", message, "End one of them, or raise server.max_sessions_per_address.")

    async def restore(self, request: HTTPConnection, form: Form) -> LiveSession | None:
        """In place of one that is not known here, which was lost with its server: what was kept of it goes on.

        None where the client names no conversation that is kept, or may not open it.
        """
        wanted = request.query_params.get("conversation", "")
        if not ID.fullmatch(wanted):
            return None
        try:
            talk = await self.begin(request, form)
        except Refused as refused:
            log.warning("a conversation that was kept does not go on: %s", refused)
            return None
        talk.restored = True
        return talk

    def find(self, token: str, form: Form) -> LiveSession | None:
        """The one that is still known, over or not."""
        talk = self._talks.get(token)
        return talk if talk and talk.lasting and talk.form == form else None

    def leave(self, talk: LiveSession, carrier: Carrier, *, for_good: bool) -> asyncio.Task[None] | None:
        """Its carrier is gone. for_good: the client has said goodbye. Returns what ends it, if it is over."""
        if talk.carrier not in (carrier, None):
            return None  # another has it
        if for_good or not talk.lasting or not talk.begun or talk.over:
            return self._forget(talk)
        if talk.gone:
            return None  # it never had it
        talk.left()
        wait = self._host.config.server.resume_s
        talk.gone = asyncio.get_running_loop().call_later(wait, self._forget, talk)
        waiting = [one for one in self._talks.values() if one.gone]
        most = self._host.config.server.max_sessions
        for one in waiting[: max(0, len(waiting) - (MOST_LEFT if most == "auto" else most))]:
            self._forget(one)
        return None

    async def drain(self, within_s: float) -> None:
        """Let each come to the end of a sentence, and end it. No new one is to begin meanwhile."""
        await asyncio.gather(*(talk.wind_down(within_s) for talk in list(self._talks.values())))

    async def close(self) -> None:
        """End all of them."""
        for talk in list(self._talks.values()):
            self._forget(talk)
        await self._tasks.finish()

    def _forget(self, talk: LiveSession) -> asyncio.Task[None] | None:
        return self._tasks.start(talk.end()) if self._talks.pop(talk.token, None) else None


def after(request: HTTPConnection) -> int | None:
    """How many messages the client says it has got."""
    told = request.query_params.get("after", "")
    return int(told) if told.isdecimal() and len(told) < 16 else None


def gone(talk: LiveSession | None) -> dict[str, Any]:
    """The error for a client that comes back to a conversation that is over, or is not known."""
    if talk and not talk.broken:
        return outbound.error(talk.connection.end_reason, None)
    message = "That conversation is over, or was on another server. Connect again without `resume`."
    return outbound.server_error("session_not_found", message)
