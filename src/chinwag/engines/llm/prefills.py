"""Prompts on their way into a model's cache: one for each conversation, the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from chinwag.engines.protocols import Ending


class Prefills:
    """Runs each conversation's prefill and stops it when something newer comes."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Ending | None]] = {}

    async def run(self, key: str, work: Coroutine[Any, Any, Ending | None]) -> Ending | None:
        """Do the work in place of what this conversation's last prefill still does; None where it is stopped."""
        await self.stop(key)
        task = asyncio.create_task(work, name=f"prefill {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._forget(key, task))  # not before it has let the model go
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            task.cancel()

    async def stop(self, key: str) -> None:
        """Stop the conversation's prefill, and wait until it has let the model go."""
        task = self._tasks.get(key)
        if task is not None:
            if not task.cancelling():  # twice would break off how it lets go
                task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Stop them all."""
        for key in list(self._tasks):
            await self.stop(key)

    def _forget(self, key: str, task: asyncio.Task[Ending | None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
