"""Client secrets: keys that live for minutes and open sessions only, for apps that must not hold an API key."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PREFIX = "ek_"

MIN_S, DEFAULT_S, MAX_S = 10, 600, 7200
"""OpenAI's limits for `expires_after.seconds`, and what holds without it."""

MAX_SECRETS = 1000
"""Secrets that are kept; the oldest goes for the next."""


@dataclass(frozen=True)
class _StoredSecret:
    expires_at: float
    session: dict[str, Any]


class ClientSecrets:
    """Those that are good now. Kept in memory: a restart ends them. clock: seconds that never go back, whatever is done
    to the machine's clock; wall: seconds since the epoch, which are only told.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._secrets: dict[bytes, _StoredSecret] = {}

    def create(self, session: dict[str, Any], seconds: int = DEFAULT_S) -> tuple[str, int]:
        """A fresh secret that opens sessions of these settings, and when it expires, in seconds since the epoch."""
        now = self._clock()
        self._secrets = {name: held for name, held in self._secrets.items() if held.expires_at > now}
        while len(self._secrets) >= MAX_SECRETS:
            del self._secrets[next(iter(self._secrets))]
        value = PREFIX + secrets.token_hex(24)
        self._secrets[_hash(value)] = _StoredSecret(now + seconds, session)
        return value, int(self._wall()) + seconds

    def export(self, value: str) -> dict[str, Any]:
        """What another server needs to take it too, which is not the secret itself; for `take`."""
        held = self._secrets[_hash(value)]
        return {"name": _hash(value), "seconds": held.expires_at - self._clock(), "session": held.session}

    def add(self, name: bytes, seconds: float, session: dict[str, Any]) -> None:
        """One that another server has made, good for so long from now."""
        self._secrets[name] = _StoredSecret(self._clock() + seconds, session)

    def session_settings(self, value: str) -> dict[str, Any] | None:
        """The settings a secret was made with; None where it is unknown or has expired."""
        held = self._secrets.get(_hash(value))
        return held.session if held and held.expires_at > self._clock() else None


def _hash(value: str) -> bytes:
    """Secrets are found by their hash, so that the time a look-up takes tells nothing of them."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
