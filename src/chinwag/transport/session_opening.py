"""Opens a session for a client: a new one if the server admits it, or the one that the client resumes."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection

from chinwag.realtime import server_events as outbound
from chinwag.runtime.admission import QueuePlace
from chinwag.runtime.runtime import Runtime
from chinwag.transport.live_session import AudioTransport, LiveSession
from chinwag.transport.registry import SessionRegistry, cannot_resume


class SessionRefused(Exception):
    """No session was opened.

    event: the error event for the client. place: its place in the queue of a full server. session_ended: the session
    to resume has ended or is unknown.
    """

    def __init__(self, event: dict[str, Any], *, place: QueuePlace | None = None, session_ended: bool = False) -> None:
        super().__init__(event["error"]["message"])
        self.event, self.place, self.session_ended = event, place, session_ended


def _check_admission(runtime: Runtime, request: HTTPConnection) -> None:
    """Raise SessionRefused if no new session can start now; otherwise count one as admitted."""
    if unavailable := runtime.unavailable:
        raise SessionRefused(outbound.server_error(*unavailable))
    if place := runtime.admission.request_admission(request.query_params.get("ticket")):
        event = outbound.server_error("server_full", place.message)
        event["error"].update(place.as_dict())
        raise SessionRefused(event, place=place)


async def open_session(
    runtime: Runtime, registry: SessionRegistry, request: HTTPConnection, audio_transport: AudioTransport
) -> LiveSession:
    """Return the session that the client resumes, or a new one.

    It is counted in `runtime.sessions`; the caller calls `runtime.remove_session` for it. Raises SessionRefused, or
    Refused if a recorded conversation cannot go on or the client's address has too many sessions.
    """
    token = request.query_params.get("resume")
    session = registry.find(token, audio_transport) if token else None
    try:
        if session is None:
            _check_admission(runtime, request)
        runtime.add_session()  # before the first await, so that no other client takes the place
        try:
            if token:
                session = session or await registry.restore(request, audio_transport)
                if session is None or session.ended:
                    raise SessionRefused(cannot_resume(session), session_ended=True)
            return session or await registry.create(request, audio_transport)
        except BaseException:
            runtime.remove_session()
            raise
    except SessionRefused as refused:
        runtime.observers.metrics.count_refusal(refused.event["error"]["code"])
        raise
