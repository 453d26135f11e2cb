"""Who may begin a conversation now, and who is told to wait, in which place and for how long."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from chinwag.load import Load

NEW_S = 15.0
"""So long a conversation that has begun does not yet show in what is measured."""

CORES_EACH = 0.5
"""That one conversation takes until it is known better; measured: 0.85 alone, with all that is done ahead of time, and
0.34 each where four leave that out."""
LEAST_SHARE = 0.02

FULL_FROM = 0.95
"""Pressure that one more conversation may not lead beyond."""

SOONEST_S, LATEST_S = 3, 30
"""Who is next asks again after the first; nobody is told to wait longer than the second without asking."""
GRACE_S = 10.0
"""Who has not asked again so long after they were to has gone."""
MOST_WAITING = 200


@dataclass(eq=False)
class Ticket:
    """A place in the queue. until: when it is given up, unless its holder asks again."""

    name: str
    until: float


@dataclass(frozen=True)
class Full:
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
        self._most, self._load, self._clock = most, load, clock
        self._queue: list[Ticket] = []
        self._begun: list[float] = []

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        self._give_up()
        return len(self._queue)

    def ask(self, ticket: str | None = None) -> Full | None:
        """May one more begin now? None: yes, and it is counted as begun; whoever waits goes before who comes.

        ticket: that was given before; any other text asks for one. Who sends none knows of no queue and takes no place
        in it, as nobody could tell whether they are the same when they ask again.
        """
        self._give_up()
        place = next((at for at, one in enumerate(self._queue) if one.name == ticket), len(self._queue))
        if place == 0 and self.has_room:
            del self._queue[:1]
            self._begun.append(self._clock())
            return None
        retry = min(LATEST_S, SOONEST_S * (place + 1))
        until = self._clock() + retry + GRACE_S
        if place < len(self._queue):
            self._queue[place].until = until
        elif ticket is not None and len(self._queue) < MOST_WAITING:
            self._queue.append(Ticket(f"wait_{secrets.token_hex(8)}", until))
        name = self._queue[place].name if place < len(self._queue) else ""
        held = self._load.sessions
        why = f"All {held} places are taken" if held != 1 else "The one place is taken"
        message = f"{why}. You are number {place + 1} in the queue; ask again in {retry} s."
        return Full(message, place + 1, retry, name)

    @property
    def has_room(self) -> bool:
        """Whether there is a place; where it is measured, whether those there are would still be answered in time."""
        held, load = self._load.sessions, self._load
        if self._most != "auto":
            return held < self._most
        if held == 0:
            return True
        since = self._clock() - NEW_S
        self._begun = [at for at in self._begun if at > since]
        new = min(len(self._begun), held)
        shown = held - new
        share = max(load.cores / shown, LEAST_SHARE) if shown else CORES_EACH / (os.cpu_count() or 1)
        return max(load.fullness, (load.cores + share * (new + 1)) / FULL_FROM) < 1.0

    def _give_up(self) -> None:
        now = self._clock()
        self._queue = [one for one in self._queue if one.until > now]
