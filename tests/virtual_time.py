"""An event loop whose clock jumps: a whole conversation passes in milliseconds.

Where nothing is ready, the clock moves to the next timer instead of waiting for it. Work on threads is waited for
in real time (asyncio wakes the selector), so fakes must not use threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # no timer either: only a thread or a socket can wake us
            return super().select(None)
        self.loop.advance(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += max(seconds, 1e-6)


async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, for which the clock of these tests would not wait."""
    await asyncio.sleep(0)
    return work(*arguments)
