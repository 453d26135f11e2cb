"""uvicorn with a graceful shutdown: on SIGTERM, sessions end after their current sentence."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

SECOND_SIGNAL_S = 1
"""Time that running requests get after a second signal."""

MIN_SHUTDOWN_S = 3
"""Minimum time that running requests get after the sessions have ended."""

log = logging.getLogger(__name__)


class GracefulServer(uvicorn.Server):
    """uvicorn's server. The first SIGTERM drains it, with exit status 0; a second one, or Ctrl-C, stops it at once.

    drain: begins no new sessions, and returns once all have ended. within_s: time for the whole shutdown.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]], within_s: float) -> None:
        super().__init__(config)
        self._drain, self._within_s = drain, within_s
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self._signalled = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal; called between any two steps of the main thread."""
        first, self._signalled = not self._signalled, True
        if first and sig == signal.SIGTERM and self.started:
            self._loop.call_soon_threadsafe(self._start_draining)
            return
        if not first:
            self.config.timeout_graceful_shutdown = SECOND_SIGNAL_S
        super().handle_exit(sig, frame)

    def _start_draining(self) -> None:
        log.info("draining", extra={"fields": {"within_s": self._within_s}})
        self._draining = self._loop.create_task(self._drain_and_exit(), name="draining")

    async def _drain_and_exit(self) -> None:
        began = self._loop.time()
        try:
            await self._drain()
        except Exception:
            log.exception("The sessions could not be drained.")
        if not self.should_exit:  # running requests get the remaining time
            left = math.ceil(self._within_s - (self._loop.time() - began))
            self.config.timeout_graceful_shutdown = max(MIN_SHUTDOWN_S, left)
            self.should_exit = True
