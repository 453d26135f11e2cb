"""Asks engines that may fail or fall silent, and goes on without them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chinwag.errors import ChinwagError

ENGINE_TIMEOUT_S = 10.0
"""Hearing that takes longer has failed: the turn goes on without it."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Asking:
    """complain: is told once of each cause, and which engine it was; a failing one is asked many times a second."""

    def __init__(self, complain: Callable[[str, str], None]) -> None:
        self._complain_once, self._complained = complain, set[str]()

    async def ask(self, work: Awaitable[T], trouble: str) -> T | None:
        """What an engine answers; None, and a complaint that begins with `trouble`, where it fails or is too slow."""
        try:
            async with asyncio.timeout(ENGINE_TIMEOUT_S):
                return await work
        except ChinwagError as error:
            self.complain(f"{trouble}. {error}", getattr(error, "engine", ""))
        except TimeoutError:
            late = f"The engine has not answered for {ENGINE_TIMEOUT_S:.0f} seconds."
            self.complain(f"{trouble}. {late} A smaller model or another engine may be quicker.")
        except Exception as error:
            log.exception(trouble)
            self.complain(f"{trouble}. {error}")
        return None

    def complain(self, message: str, engine: str = "") -> None:
        """Tell it, unless it was told before."""
        if message not in self._complained:
            self._complained.add(message)
            self._complain_once(message, engine)

    def forget(self) -> None:
        """Another engine is asked: whatever fails now is news."""
        self._complained.clear()
