"""A thread of its own for an engine, so that the event loop never waits for a model."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

from chinwag.errors import ChinwagError, EngineError

HANGS_AFTER_S = 30.0
"""A step that takes longer counts as hung: most take milliseconds, the longest a few seconds."""

MOST_HUNG = 3
"""Hung threads after which the whole engine is given up."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Priority(IntEnum):
    """Order of steps in a worker's queue: work that a person waits for runs first."""

    NOW = 0
    SOON = 1
    LATER = 2


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """Timing of a step that has run. worker: the engine's name. waited_s: time in the queue. took_s: run time."""

    worker: str
    priority: Priority
    waited_s: float
    took_s: float


observers: set[Callable[[FinishedStep], None]] = set()
"""Each receives every finished step, on the worker's thread."""


@dataclass
class _QueuedStep:
    """A step in the queue. run: executes it on the thread. fail: fails the future of its caller."""

    run: Callable[[], None]
    fail: Callable[[Exception], None]
    began: float = 0.0


class Worker:
    """One thread that runs short steps in order of priority, then of arrival.

    A thread cannot be interrupted: cancelling a caller removes a step that has not begun, while the result of a running
    step is dropped. So steps should be short. If a step hangs, its caller gets an EngineError and another thread runs
    the steps queued after it.
    """

    def __init__(self, name: str, hangs_after_s: float = HANGS_AFTER_S) -> None:
        self.name, self._hangs_after_s = name, hangs_after_s
        self._queue: list[tuple[int, int, _QueuedStep]] = []
        self._order = itertools.count()
        self._ready = threading.Condition()
        self._closed = False
        self._running: _QueuedStep | None = None
        self._hung = 0
        self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"chinwag-{self.name}", daemon=True)
        self._thread.start()
        workers.add(self)

    @property
    def waiting(self) -> int:
        """Steps that have not begun."""
        return len(self._queue)

    async def run(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `step` on the thread at the usual priority and return its result.

        Raises EngineError if the step fails (a ChinwagError is raised unchanged), hangs, or the worker is closed.
        """
        return await self.run_at(Priority.SOON, step, *args, **kwargs)

    async def run_at(self, priority: Priority, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, at a priority."""
        loop, queued_at = asyncio.get_running_loop(), time.perf_counter()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        def settle_threadsafe(result: T | None, error: Exception | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop has closed, so no caller waits any more
                return

        def run_step() -> None:
            if future.cancelled():
                return
            result: Any = None
            error: Exception | None = None
            began = time.perf_counter()
            try:
                result = step(*args, **kwargs)
            except Exception as raised:
                error = raised
            finished = FinishedStep(self.name, priority, began - queued_at, time.perf_counter() - began)
            try:
                for observer in tuple(observers):
                    observer(finished)
            except Exception:
                log.exception("observer of engine %s failed", self.name)
            settle_threadsafe(result, error)

        with self._ready:
            if self._closed:
                raise EngineError(f"The engine {self.name} is closed.", "Start the server again.", self.name)
            queued = _QueuedStep(run_step, lambda error: settle_threadsafe(None, error))
            heapq.heappush(self._queue, (priority, next(self._order), queued))
            self._ready.notify()
        timers: list[asyncio.TimerHandle] = []

        def check_hung() -> None:
            self._give_up_hung()
            timers[:] = [loop.call_later(self._hangs_after_s, check_hung)]

        check_hung()  # at once too: each caller may be cancelled before its timer fires
        try:
            return await future
        except ChinwagError:
            raise
        except Exception as error:
            raise EngineError(
                f"The engine {self.name} failed: {str(error).strip() or type(error).__name__}.",
                "Try again. If it happens again, run `chinwag doctor`.",
                self.name,
            ) from error
        finally:
            timers[0].cancel()

    def close(self) -> None:
        """End the thread after the queued steps; later steps are refused. May be called twice."""
        with self._ready:
            self._closed = True
            self._ready.notify()

    def _give_up_hung(self) -> None:
        with self._ready:
            hung = self._running
            if hung is None or time.monotonic() - hung.began < self._hangs_after_s:
                return
            self._running, self._hung = None, self._hung + 1
            waiting: list[tuple[int, int, _QueuedStep]] = []
            if self._hung >= MOST_HUNG:
                waiting, self._queue, self._closed = self._queue, [], True
            else:
                self._start()
        log.warning("engine %s hangs: its thread is given up", self.name)
        error = EngineError(
            f"The engine {self.name} has hung for {self._hangs_after_s:g} s and was given up.",
            "Try again. If it happens again, restart the server.",
            self.name,
        )
        for step in (hung, *(step for _, _, step in waiting)):
            step.fail(error)

    def _work(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                _, _, step = heapq.heappop(self._queue)
                self._running = step
                step.began = time.monotonic()
            step.run()
            with self._ready:
                if self._running is not step:
                    return  # this thread was given up, and another one has replaced it
                self._running = None
            del step  # so that an idle thread keeps no engine's arrays alive


workers: weakref.WeakSet[Worker] = weakref.WeakSet()
"""All workers that exist."""
