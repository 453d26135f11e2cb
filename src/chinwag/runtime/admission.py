"""Admission control: starts sessions while the machine has room, and queues further clients."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from chinwag.load import Load

SETTLING_S = 15.0
"""Seconds until a new session shows in the measured load."""

CORES_PER_SESSION = 0.5
"""Assumed CPU cores of a session until its load is measured. Measured: 0.85 for one session with all speculative
work, 0.34 each for four sessions without it."""
MIN_SHARE = 0.02

MAX_CORES_SHARE = 0.95
"""Maximum share of the cores that one more session may lead to."""

MIN_RETRY_S, MAX_RETRY_S = 3, 30
"""Seconds to the next attempt: the minimum, for the head of the queue, and the maximum."""
GRACE_S = 10.0
"""A queued client loses its place if its next attempt is later than this."""
MAX_QUEUE = 200


@dataclass(eq=False)
class QueueTicket:
    """A place in the queue. expires_at: when it is removed, unless its client asks again."""

    name: str
    expires_at: float


@dataclass(frozen=True)
class QueuePlace:
    """A refusal. place: in the queue, from 1. retry_after_s: when to ask again. ticket: to send then; may be empty."""

    message: str
    place: int
    retry_after_s: int
    ticket: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of the error event."""
        return {"place": self.place, "retry_after_s": self.retry_after_s, "ticket": self.ticket}


class Admission:
    """Admits sessions. most: maximum concurrent sessions; auto: as many as the load allows. clock: seconds."""

    def __init__(self, most: int | Literal["auto"], load: Load, clock: Callable[[], float]) -> None:
        self._limit, self._load, self._clock = most, load, clock
        self._queue: list[QueueTicket] = []
        self._admitted: list[float] = []

    @property
    def waiting(self) -> int:
        """The number of queued clients."""
        self._drop_expired()
        return len(self._queue)

    def request_admission(self, ticket: str | None = None) -> QueuePlace | None:
        """Admit one more session and return None, or return its place in the queue.

        Queued clients are admitted before new ones. ticket: from the previous attempt; any other text asks for a new
        one. A client without a ticket gets no place, because its next attempt could not be recognised.
        """
        self._drop_expired()
        place = next((at for at, queued in enumerate(self._queue) if queued.name == ticket), len(self._queue))
        if place == 0 and self.has_room:
            del self._queue[:1]
            self._admitted.append(self._clock())
            return None
        retry = min(MAX_RETRY_S, MIN_RETRY_S * (place + 1))
        expires_at = self._clock() + retry + GRACE_S
        if place < len(self._queue):
            self._queue[place].expires_at = expires_at
        elif ticket is not None and len(self._queue) < MAX_QUEUE:
            self._queue.append(QueueTicket(f"wait_{secrets.token_hex(8)}", expires_at))
        name = self._queue[place].name if place < len(self._queue) else ""
        sessions = self._load.sessions
        why = f"All {sessions} places are taken" if sessions != 1 else "The one place is taken"
        message = f"{why}. You are number {place + 1} in the queue; ask again in {retry} s."
        return QueuePlace(message, place + 1, retry, name)

    @property
    def has_room(self) -> bool:
        """Whether one more session fits; with "auto", whether the measured load leaves room for it."""
        sessions, load = self._load.sessions, self._load
        if self._limit != "auto":
            return sessions < self._limit
        if sessions == 0:
            return True
        since = self._clock() - SETTLING_S
        self._admitted = [at for at in self._admitted if at > since]
        new = min(len(self._admitted), sessions)
        measured = sessions - new
        share = max(load.cores / measured, MIN_SHARE) if measured else CORES_PER_SESSION / (os.cpu_count() or 1)
        return max(load.fullness, (load.cores + share * (new + 1)) / MAX_CORES_SHARE) < 1.0

    def _drop_expired(self) -> None:
        now = self._clock()
        self._queue = [queued for queued in self._queue if queued.expires_at > now]
