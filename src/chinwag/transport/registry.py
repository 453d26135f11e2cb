"""The sessions of one server, by their resume token."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import HTTPConnection

from chinwag.errors import Refused
from chinwag.realtime import server_events as outbound
from chinwag.runtime.archive import ID
from chinwag.runtime.auth import uses_client_secret
from chinwag.runtime.limits import address_of
from chinwag.runtime.runtime import Runtime
from chinwag.tasks import TaskSet
from chinwag.transport.live_session import AudioTransport, ClientConnection, LiveSession

MAX_DETACHED = 32
"""Sessions that wait for their client at once if max_sessions is auto; of more, the oldest end."""

log = logging.getLogger(__name__)


class SessionRegistry:
    """The sessions of one server. A session without a connection waits for its client for `server.resume_s`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sessions: dict[str, LiveSession] = {}
        self._tasks = TaskSet()

    async def create(self, request: HTTPConnection, audio_transport: AudioTransport) -> LiveSession:
        """Create a session; it does not greet yet.

        Raises Refused if the requested conversation cannot go on, or the client's address has too many sessions.
        """
        self._check_address(address_of(request))
        wanted, may_reopen = request.query_params.get("conversation"), not uses_client_secret(request)
        keeper = await self._runtime.archive.recorder(wanted, self._runtime.instructions, may_reopen=may_reopen)
        session = LiveSession(self._runtime, request, audio_transport, keeper)
        self._sessions[session.token] = session
        return session

    def _check_address(self, address: str) -> None:
        limit = self._runtime.config.server.max_sessions_per_address
        connected = sum(1 for session in self._sessions.values() if session.address == address and not session.expiry)
        if address and limit and connected >= limit:
            message = f"There are {connected} conversations from this address already."
            raise Refused("too_many_sessions", message, "End one of them, or raise server.max_sessions_per_address.")

    async def restore(self, request: HTTPConnection, audio_transport: AudioTransport) -> LiveSession | None:
        """Create a session in place of one that was lost with its server, and continue its recorded conversation.

        None if the client names no recorded conversation, or may not open it.
        """
        wanted = request.query_params.get("conversation", "")
        if not ID.fullmatch(wanted):
            return None
        try:
            session = await self.create(request, audio_transport)
        except Refused as refused:
            log.warning("A recorded conversation cannot be continued: %s", refused)
            return None
        session.restored = True
        return session

    def find(self, token: str, audio_transport: AudioTransport) -> LiveSession | None:
        """Return the session of this token that may be resumed by this transport, even if it has ended."""
        session = self._sessions.get(token)
        return session if session and session.resumable and session.audio_transport == audio_transport else None

    def detach(self, session: LiveSession, client: ClientConnection, *, for_good: bool) -> asyncio.Task[None] | None:
        """Note that the session's connection is gone; end the session, or let it wait for its client.

        for_good: the client will not resume. Returns the task that ends the session, if it ends.
        """
        if session.client not in (client, None):
            return None  # another connection carries it
        if for_good or not session.resumable or not session.started or session.ended:
            return self._end(session)
        if session.expiry:
            return None  # this connection never carried it
        session.detach()
        wait_s = self._runtime.config.server.resume_s
        session.expiry = asyncio.get_running_loop().call_later(wait_s, self._end, session)
        detached = [each for each in self._sessions.values() if each.expiry]
        limit = self._runtime.config.server.max_sessions
        for oldest in detached[: max(0, len(detached) - (MAX_DETACHED if limit == "auto" else limit))]:
            self._end(oldest)
        return None

    async def drain(self, within_s: float) -> None:
        """End each session after its current sentence. No session may be created meanwhile."""
        await asyncio.gather(*(session.drain(within_s) for session in list(self._sessions.values())))

    async def close(self) -> None:
        """End all sessions."""
        for session in list(self._sessions.values()):
            self._end(session)
        await self._tasks.finish()

    def _end(self, session: LiveSession) -> asyncio.Task[None] | None:
        return self._tasks.start(session.end()) if self._sessions.pop(session.token, None) else None


def acknowledged_messages(request: HTTPConnection) -> int | None:
    """Return the number of messages that a resuming client says it has; None if it says nothing."""
    number = request.query_params.get("after", "")
    return int(number) if number.isdecimal() and len(number) < 16 else None


def cannot_resume(session: LiveSession | None) -> dict[str, Any]:
    """Return the error event for a client that wants to resume an ended or unknown session."""
    if session and not session.failed:
        return outbound.error(session.connection.end_reason, None)
    message = "That conversation is over, or was on another server. Connect again without `resume`."
    return outbound.server_error("session_not_found", message)
