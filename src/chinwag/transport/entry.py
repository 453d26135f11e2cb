"""Who may come in: with a new conversation, or to one that they come back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from chinwag.realtime import server_events as outbound
from chinwag.runtime.admission import Full
from chinwag.runtime.runtime import Runtime
from chinwag.transport.live_session import Form, LiveSession, SessionRegistry, gone


@dataclass(frozen=True)
class Refusal:
    """Why no conversation can begin now. full: a place in the queue, where that is why."""

    code: str
    message: str
    full: Full | None = None

    @property
    def event(self) -> dict[str, Any]:
        """The error event that tells it."""
        event = outbound.server_error(self.code, self.message)
        if self.full:
            event["error"].update(self.full.as_dict())
        return event


def unready(host: Runtime) -> Refusal | None:
    """Why no conversation can begin, however many are held; None where one can."""
    if host.draining:
        return Refusal("draining", "The server is about to stop or restart. Connect again in a few seconds.")
    if host.stage == "failed":
        return Refusal("not_ready", f"The server cannot talk: {host.error}")
    if host.engines is None:
        message = f"The server is still {host.doing}. Try again in a moment; /api/status tells how far it is."
        return Refusal("not_ready", message)
    return None


def refusal(host: Runtime, request: HTTPConnection) -> Refusal | None:
    """Why no conversation can begin now; None where one can, which is then to begin."""
    if no := unready(host):
        return no
    if full := host.admission.ask(request.query_params.get("ticket")):
        return Refusal("server_full", full.message, full)
    return None


class TurnedAway(Exception):
    """Nobody comes in so. event: the error event that says why; full: a place in the queue, where that is why.

    over: what they come back to is over, or not known.
    """

    def __init__(self, event: dict[str, Any], *, full: Full | None = None, over: bool = False) -> None:
        super().__init__(event["error"]["message"])
        self.event, self.full, self.over = event, full, over


async def enter(host: Runtime, talks: SessionRegistry, request: HTTPConnection, form: Form) -> LiveSession:
    """The conversation that the client comes back to, or a new one.

    Its place is counted in `host.sessions`, and the caller's to give back. Raises TurnedAway; Refused where one that
    was kept cannot go on, or the client's address has enough.
    """
    token = request.query_params.get("resume")
    talk = talks.find(token, form) if token else None
    if talk is None and (no := refusal(host, request)):
        host.watching.metrics.refused(no.code)
        raise TurnedAway(no.event, full=no.full)
    host.entered()  # before anything is waited for, so that nobody else takes the place
    try:
        if token:
            talk = talk or await talks.restore(request, form)
            if talk is None or talk.over:
                why = gone(talk)
                host.watching.metrics.refused(why["error"]["code"])
                raise TurnedAway(why, over=True)
        return talk or await talks.begin(request, form)
    except BaseException:
        host.left()
        raise
