"""A timer for the silence after a response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls a function unless it is cancelled in time."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def start(self, after_s: float, act: Callable[[], None]) -> None:
        """Call `act` after so many seconds, in place of what was planned before."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(after_s, act)

    def cancel(self) -> None:
        """Call nothing: the user speaks, or the session has ended."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
