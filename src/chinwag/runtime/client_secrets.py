"""Client secrets: keys that live for minutes and open sessions only, for apps that must not hold an API key."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PREFIX = "ek_"

SHORTEST_S, USUAL_S, LONGEST_S = 10, 600, 7200
"""OpenAI's limits for `expires_after.seconds`, and what holds without it."""

MOST = 1000
"""Secrets that are kept; the oldest goes for the next."""


@dataclass(frozen=True)
class _Held:
    until: float
    session: dict[str, Any]


class ClientSecrets:
    """Those that are good now. Kept in memory: a restart ends them. clock: seconds that never go back, whatever is done
    to the machine's clock; wall: seconds since the epoch, which are only told.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._held: dict[bytes, _Held] = {}

    def make(self, session: dict[str, Any], seconds: int = USUAL_S) -> tuple[str, int]:
        """A fresh secret that opens sessions of these settings, and when it expires, in seconds since the epoch."""
        now = self._clock()
        self._held = {name: held for name, held in self._held.items() if held.until > now}
        while len(self._held) >= MOST:
            del self._held[next(iter(self._held))]
        value = PREFIX + secrets.token_hex(24)
        self._held[_name(value)] = _Held(now + seconds, session)
        return value, int(self._wall()) + seconds

    def share(self, value: str) -> dict[str, Any]:
        """What another server needs to take it too, which is not the secret itself; for `take`."""
        held = self._held[_name(value)]
        return {"name": _name(value), "seconds": held.until - self._clock(), "session": held.session}

    def take(self, name: bytes, seconds: float, session: dict[str, Any]) -> None:
        """One that another server has made, good for so long from now."""
        self._held[name] = _Held(self._clock() + seconds, session)

    def session(self, value: str) -> dict[str, Any] | None:
        """The settings a secret was made with; None where it is unknown or has expired."""
        held = self._held.get(_name(value))
        return held.session if held and held.until > self._clock() else None


def _name(value: str) -> bytes:
    """Secrets are found by their hash, so that the time a look-up takes tells nothing of them."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
