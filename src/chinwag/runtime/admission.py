"""Who may begin a conversation now, and who is told to wait, in which place and for how long."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from chinwag.load import Load

SETTLING_S = 15.0
"""So long a conversation that has begun does not yet show in what is measured."""

CORES_PER_SESSION = 0.5
"""That one conversation takes until it is known better; measured: 0.85 alone, with all that is done ahead of time, and
0.34 each where four leave that out."""
MIN_SHARE = 0.02

MAX_CORES_SHARE = 0.95
"""Pressure that one more conversation may not lead beyond."""

MIN_RETRY_S, MAX_RETRY_S = 3, 30
"""Who is next asks again after the first; nobody is told to wait longer than the second without asking."""
GRACE_S = 10.0
"""Who has not asked again so long after they were to has gone."""
MAX_QUEUE = 200


@dataclass(eq=False)
class QueueTicket:
    """A place in the queue. until: when it is given up, unless its holder asks again."""

    name: str
    expires_at: float


@dataclass(frozen=True)
class QueuePlace:
    """No, not yet. place: in the queue, from 1. retry_after_s: ask again then, with the ticket, if there is one."""

    message: str
    place: int
    retry_after_s: int
    ticket: str

    def as_dict(self) -> dict[str, Any]:
        """For the error event."""
        return {"place": self.place, "retry_after_s": self.retry_after_s, "ticket": self.ticket}


class Admission:
    """The door. most: conversations at once, or auto: as many as the load allows. clock: seconds."""

    def __init__(self, most: int | Literal["auto"], load: Load, clock: Callable[[], float]) -> None:
        self._limit, self._load, self._clock = most, load, clock
        self._queue: list[QueueTicket] = []
        self._admitted: list[float] = []

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        self._drop_expired()
        return len(self._queue)

    def request_admission(self, ticket: str | None = None) -> QueuePlace | None:
        """May one more begin now? None: yes, and it is counted as begun; whoever waits goes before who comes.

        ticket: that was given before; any other text asks for one. Who sends none knows of no queue and takes no place
        in it, as nobody could tell whether they are the same when they ask again.
        """
        self._drop_expired()
        place = next((at for at, one in enumerate(self._queue) if one.name == ticket), len(self._queue))
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
        held = self._load.sessions
        why = f"All {held} places are taken" if held != 1 else "The one place is taken"
        message = f"{why}. You are number {place + 1} in the queue; ask again in {retry} s."
        return QueuePlace(message, place + 1, retry, name)

    @property
    def has_room(self) -> bool:
        """Whether there is a place; where it is measured, whether those there are would still be answered in time."""
        held, load = self._load.sessions, self._load
        if self._limit != "auto":
            return held < self._limit
        if held == 0:
            return True
        since = self._clock() - SETTLING_S
        self._admitted = [at for at in self._admitted if at > since]
        new = min(len(self._admitted), held)
        shown = held - new
        share = max(load.cores / shown, MIN_SHARE) if shown else CORES_PER_SESSION / (os.cpu_count() or 1)
        return max(load.fullness, (load.cores + share * (new + 1)) / MAX_CORES_SHARE) < 1.0

    def _drop_expired(self) -> None:
        now = self._clock()
        self._queue = [one for one in self._queue if one.expires_at > now]
