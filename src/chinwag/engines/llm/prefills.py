"""Running prefills: at most one for each session, the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from chinwag.engines.protocols import Ending


class Prefills:
    """Runs the prefill of each session and stops it when a newer request comes."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Ending | None]] = {}

    async def run(self, key: str, work: Coroutine[Any, Any, Ending | None]) -> Ending | None:
        """Stop the prefill of the same key, then run this one. Return None if it is stopped in turn."""
        await self.stop(key)
        task = asyncio.create_task(work, name=f"prefill {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._forget(key, task))  # only after it has released the model
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            task.cancel()

    async def stop(self, key: str) -> None:
        """Stop the prefill of a key and wait until it has released the model."""
        task = self._tasks.get(key)
        if task is not None:
            if not task.cancelling():  # a second cancel would interrupt its cleanup
                task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Stop all prefills."""
        for key in list(self._tasks):
            await self.stop(key)

    def _forget(self, key: str, task: asyncio.Task[Ending | None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
