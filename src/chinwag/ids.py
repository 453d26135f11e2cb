"""Ids for items, responses, sessions and calls on the wire."""

from __future__ import annotations

import secrets


def new_id(kind: str) -> str:
    """Return a random id such as item_5f0c…, in the form of OpenAI's server."""
    return f"{kind}_{secrets.token_hex(10)}"
