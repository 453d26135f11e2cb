"""uvicorn, which on SIGTERM lets conversations come to the end of a sentence before it stops."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

AT_ONCE_S = 1
"""Requests that are under way have so long at a second signal."""

AT_LEAST_S = 3
"""And after the conversations have ended."""

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """drain: begins nothing new, and returns once all conversations are over. within_s: so long it may take in all.

    The first SIGTERM drains, and the exit status is 0; a second one, or Ctrl-C at any time, stops at once.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]], within_s: float) -> None:
        super().__init__(config)
        self._drain, self._within_s = drain, within_s
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is called between any two steps of the main thread."""
        first, self._told = not self._told, True
        if first and sig == signal.SIGTERM and self.started:
            self._loop.call_soon_threadsafe(self._begin)
            return
        if not first:
            self.config.timeout_graceful_shutdown = AT_ONCE_S
        super().handle_exit(sig, frame)

    def _begin(self) -> None:
        log.info("draining", extra={"fields": {"within_s": self._within_s}})
        self._draining = self._loop.create_task(self._drained(), name="draining")

    async def _drained(self) -> None:
        began = self._loop.time()
        try:
            await self._drain()
        except Exception:
            log.exception("draining failed")
        if not self.should_exit:  # requests that are being answered have what is left
            left = math.ceil(self._within_s - (self._loop.time() - began))
            self.config.timeout_graceful_shutdown = max(AT_LEAST_S, left)
            self.should_exit = True
