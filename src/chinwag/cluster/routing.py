"""Request router of the ingress: the replica that holds the session, else the less busy of two random ones."""

from __future__ import annotations

import random
import re
from typing import Any

from ray.serve.request_router import RequestRouter

REPLICA_MARK = re.compile(rb"(?:resume=resume_[0-9a-f]{32}|(?:/calls/|call_id=)rtc_[0-9a-f]{20})\.([a-z0-9]{1,32})")
"""Finds the replica's mark in the request scope that the proxy has pickled; the URL is in it as plain text."""


class SessionAffinityRouter(RequestRouter):  # type: ignore[misc]  # Ray has no types where it is not installed
    """Sends a resumed session, or the end of a WebRTC call, to the replica that holds it; others go anywhere."""

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        """Return the wanted replica first if it lives, then two random ones, of which Serve takes the less busy."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
        two = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
        wanted = replica_of(pending_request.args[0]) if pending_request and pending_request.args else None
        own = [replica for replica in candidate_replicas if wanted and replica.replica_id.unique_id == wanted]
        return [group for group in (own, two) if group]


def replica_of(asked: object) -> str | None:
    """Return the mark of the replica in a pickled request, or None."""
    match = REPLICA_MARK.search(asked) if isinstance(asked, bytes) else None
    return match[1].decode() if match else None


BackToItsReplica = SessionAffinityRouter  # the name in Serve configs that earlier versions wrote
