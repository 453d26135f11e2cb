"""The other servers of the same application, where there are any: what one learns and all have to know."""

from __future__ import annotations

from typing import Any, Literal, Protocol

PeerEvent = Literal["taken_over", "renamed", "forgotten", "secret"]


class Peers(Protocol):
    """place: this server's own mark, which what it hands out ends with, so that a request finds its way back to it."""

    replica_id: str

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        """Have all others know, and have done what it asks of them. One that cannot be reached is passed over."""
        ...


class NoPeers:
    """There are none."""

    replica_id = ""

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        """Nobody hears it."""


def with_replica_id(name: str, peers: Peers) -> str:
    """A name that a request for it finds its way back by: "resume_0f…" of the server at "k3" is "resume_0f….k3"."""
    return f"{name}.{peers.replica_id}" if peers.replica_id else name
