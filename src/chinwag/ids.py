"""Names for things on the wire."""

from __future__ import annotations

import secrets


def new_id(kind: str) -> str:
    """A fresh id such as item_5f0c…, in the shape OpenAI's server gives."""
    return f"{kind}_{secrets.token_hex(10)}"
