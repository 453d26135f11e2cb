"""Numbered messages for one client, which can be sent again after a lost connection."""

from __future__ import annotations

import asyncio
import json
from collections import deque

from chinwag.realtime.server_events import Outgoing

MAX_REPLAY_BYTES = 8 * 1024 * 1024
"""Size of the messages that may be sent again: two and a half minutes of sound in binary frames."""


class Outbox:
    """Messages for one client, numbered from 1. It keeps those that the client may not have, up to MAX_REPLAY_BYTES."""

    def __init__(self) -> None:
        self._messages: deque[str | bytes] = deque()
        self._dropped = self._sent = self._bytes = 0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def unsent(self) -> int:
        """Number of messages that have not been sent yet."""
        return self._dropped + len(self._messages) - self._sent

    def put(self, message: Outgoing) -> None:
        """Add a message; it is serialised now."""
        data = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False)
        self._messages.append(data)
        self._bytes += len(data)
        while self._bytes > MAX_REPLAY_BYTES and len(self._messages) > 1:
            self._drop()
        self._changed.set()

    async def get(self) -> str | bytes | None:
        """Wait for the next unsent message and count it as sent; None once the outbox is closed and empty."""
        while not self.unsent:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._sent = max(self._sent, self._dropped) + 1
        return self._messages[self._sent - self._dropped - 1]

    def acknowledge(self, number: int) -> None:
        """Drop all messages up to this number: the client has them."""
        while self._messages and self._dropped < min(number, self._sent):
            self._drop()

    def rewind(self, number: int) -> bool:
        """Send again from behind this number; False if those messages were dropped."""
        if not self._dropped <= number <= self._dropped + len(self._messages):
            return False
        self._sent = number
        return True

    def close(self) -> None:
        """Accept no more messages."""
        self._closed = True
        self._changed.set()

    def clear(self) -> None:
        """Drop all messages, and number from 1 again."""
        self._messages.clear()
        self._dropped = self._sent = self._bytes = 0

    def _drop(self) -> None:
        self._bytes -= len(self._messages.popleft())
        self._dropped += 1
