"""A thread of its own for an engine, so that the event loop never waits for a model."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

from chinwag.errors import ChinwagError, EngineError

P = ParamSpec("P")
T = TypeVar("T")


class Priority(IntEnum):
    """Who goes first: what a person waits for, before what can wait."""

    NOW = 0
    SOON = 1
    LATER = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A step that has run: on whose thread, how long it waited for it, and how long it took."""

    worker: str
    priority: Priority
    waited_s: float
    took_s: float


observers: set[Callable[[Step], None]] = set()
"""Are told of each step, on the thread it ran on."""


class Worker:
    """One thread that runs short steps in order of priority, then of arrival.

    A thread cannot be interrupted: a cancelled caller takes back a step that has not begun, while one that is
    running ends unheard. So an engine's steps are to be short.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"chinwag-{name}", daemon=True)
        self._thread.start()
        workers.add(self)

    @property
    def waiting(self) -> int:
        """Steps that have not begun."""
        return len(self._queue)

    async def run(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `step` on the thread at the usual priority and await what it returns.

        Raises EngineError where the step fails (a ChinwagError passes as it is) or the worker is closed.
        """
        return await self.run_at(Priority.SOON, step, *args, **kwargs)

    async def run_at(self, priority: Priority, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, at a priority."""
        loop, asked = asyncio.get_running_loop(), time.perf_counter()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

        def call() -> None:
            if done.cancelled():
                return
            result: Any = None
            error: Exception | None = None
            began = time.perf_counter()
            try:
                result = step(*args, **kwargs)
            except Exception as raised:
                error = raised
            ran = Step(self.name, priority, began - asked, time.perf_counter() - began)
            for observer in tuple(observers):
                observer(ran)
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop has closed: nobody listens any more
                return

        with self._ready:
            if self._closed:
                raise EngineError(f"The engine {self.name} is closed.", "Start the server again.", self.name)
            heapq.heappush(self._queue, (priority, next(self._order), call))
            self._ready.notify()
        try:
            return await done
        except ChinwagError:
            raise
        except Exception as error:
            raise EngineError(
                f"The engine {self.name} failed: {str(error).strip() or type(error).__name__}.",
                "Try again; if it stays so, run `chinwag doctor`.",
                self.name,
            ) from error

    def close(self) -> None:
        """End the thread after the steps that wait; those asked for later are refused. May be called twice."""
        with self._ready:
            self._closed = True
            self._ready.notify()

    def _work(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                _, _, call = heapq.heappop(self._queue)
            call()
            del call  # so that an idle thread keeps no engine's arrays alive


workers: weakref.WeakSet[Worker] = weakref.WeakSet()
"""All that live."""
