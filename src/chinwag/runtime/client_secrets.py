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
"""OpenAI's limits for `expires_after.seconds`, and its default."""

MAX_SECRETS = 1000
"""Maximum number of secrets; a further one replaces the oldest."""


@dataclass(frozen=True)
class _StoredSecret:
    expires_at: float
    session: dict[str, Any]


class ClientSecrets:
    """The valid client secrets, in memory only. clock: monotonic seconds; wall: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._secrets: dict[bytes, _StoredSecret] = {}

    def create(self, session: dict[str, Any], seconds: int = DEFAULT_S) -> tuple[str, int]:
        """Return a new secret for sessions of these settings, and when it expires, in seconds since the epoch."""
        now = self._clock()
        self._secrets = {name: secret for name, secret in self._secrets.items() if secret.expires_at > now}
        while len(self._secrets) >= MAX_SECRETS:
            del self._secrets[next(iter(self._secrets))]
        value = PREFIX + secrets.token_hex(24)
        self._secrets[_hash(value)] = _StoredSecret(now + seconds, session)
        return value, int(self._wall()) + seconds

    def export(self, value: str) -> dict[str, Any]:
        """Return the arguments of `add` for another server. They do not contain the secret itself."""
        secret = self._secrets[_hash(value)]
        return {"name": _hash(value), "seconds": secret.expires_at - self._clock(), "session": secret.session}

    def add(self, name: bytes, seconds: float, session: dict[str, Any]) -> None:
        """Add a secret that another server created. seconds: until it expires."""
        self._secrets[name] = _StoredSecret(self._clock() + seconds, session)

    def session_settings(self, value: str) -> dict[str, Any] | None:
        """Return the settings of a secret; None if it is unknown or has expired."""
        secret = self._secrets.get(_hash(value))
        return secret.session if secret and secret.expires_at > self._clock() else None


def _hash(value: str) -> bytes:
    """Hash a secret; secrets are looked up by hash, so that the duration reveals nothing."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
