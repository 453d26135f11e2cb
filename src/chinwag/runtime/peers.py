"""Events between the server replicas of one cluster."""

from __future__ import annotations

from typing import Any, Literal, Protocol

PeerEvent = Literal["taken_over", "renamed", "forgotten", "secret"]


class Peers(Protocol):
    """The other replicas. replica_id: of this replica; its tokens end with it, which routes requests back."""

    replica_id: str

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        """Send an event to all other replicas and wait until they have handled it; unreachable ones are skipped."""
        ...


class NoPeers:
    """A single server without other replicas."""

    replica_id = ""

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        """Do nothing."""


def with_replica_id(name: str, peers: Peers) -> str:
    """Append this replica's id to a token: "resume_0f…" of replica "k3" becomes "resume_0f….k3"."""
    return f"{name}.{peers.replica_id}" if peers.replica_id else name
