"""Calls to engines that may fail or time out; the listener continues without their result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chinwag.errors import ChinwagError

ENGINE_TIMEOUT_S = 10.0
"""Seconds after which an engine call counts as failed."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class EngineCaller:
    """Calls engines and reports each cause of failure once, as a failing engine is called many times a second.

    on_failure: receives the message and the name of the engine.
    """

    def __init__(self, on_failure: Callable[[str, str], None]) -> None:
        self._on_failure, self._reported = on_failure, set[str]()

    async def call(self, result: Awaitable[T], failure: str) -> T | None:
        """Return the result; if the engine fails or times out, report `failure` with the cause and return None."""
        try:
            async with asyncio.timeout(ENGINE_TIMEOUT_S):
                return await result
        except ChinwagError as error:
            self.report(f"{failure}. {error}", getattr(error, "engine", ""))
        except TimeoutError:
            late = f"The engine has not answered for {ENGINE_TIMEOUT_S:.0f} seconds."
            self.report(f"{failure}. {late} A smaller model or another engine may be quicker.")
        except Exception as error:
            log.exception(failure)
            self.report(f"{failure}. {error}")
        return None

    def report(self, message: str, engine: str = "") -> None:
        """Report a failure unless the same message was reported before."""
        if message not in self._reported:
            self._reported.add(message)
            self._on_failure(message, engine)

    def reset(self) -> None:
        """Report every failure again, as after a change of engine."""
        self._reported.clear()
