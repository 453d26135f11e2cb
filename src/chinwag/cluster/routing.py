"""Which replica of the ingress a request goes to: the one that holds what it asks for, else the idler of two."""

from __future__ import annotations

import random
import re
from typing import Any

from ray.serve.request_router import RequestRouter

PLACE = re.compile(rb"(?:resume=resume_[0-9a-f]{32}|(?:/calls/|call_id=)rtc_[0-9a-f]{20})\.([a-z0-9]{1,32})")
"""In a request's scope, as the proxy has pickled it: the address is in it as it came."""


class BackToItsReplica(RequestRouter):  # type: ignore[misc]  # Ray has no types where it is not installed
    """A conversation that is come back to, or a call that is hung up, is held by one replica; all others begin anew."""

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        """That one first where it lives; of each group behind it Serve takes the one that has the least to do."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
        two = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
        wanted = place(pending_request.args[0]) if pending_request and pending_request.args else None
        own = [replica for replica in candidate_replicas if wanted and replica.replica_id.unique_id == wanted]
        return [group for group in (own, two) if group]


def place(asked: object) -> str | None:
    """The mark of the replica that a pickled request names; None where it names none."""
    found = PLACE.search(asked) if isinstance(asked, bytes) else None
    return found[1].decode() if found else None
