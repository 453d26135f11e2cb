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
"""A step that takes so long will not end: most take milliseconds, the longest a few seconds."""

MOST_HUNG = 3
"""Threads that hang and are given up; then the engine is."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Priority(IntEnum):
    """Who goes first: what a person waits for, before what can wait."""

    NOW = 0
    SOON = 1
    LATER = 2


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step that has run: on whose thread, how long it waited for it, and how long it took."""

    worker: str
    priority: Priority
    waited_s: float
    took_s: float


observers: set[Callable[[FinishedStep], None]] = set()
"""Are told of each step, on the thread it ran on."""


@dataclass
class _Asked:
    """call: does it, on the thread. fail: tells who waits for it that it will not end."""

    call: Callable[[], None]
    fail: Callable[[Exception], None]
    began: float = 0.0


class Worker:
    """One thread that runs short steps in order of priority, then of arrival.

    A thread cannot be interrupted: a cancelled caller takes back a step that has not begun, while one that is
    running ends unheard. So an engine's steps are to be short. One that hangs is given up, as those who wait for it
    are told, and another thread goes on with the steps behind it.
    """

    def __init__(self, name: str, hangs_after_s: float = HANGS_AFTER_S) -> None:
        self.name, self._hangs_after_s = name, hangs_after_s
        self._queue: list[tuple[int, int, _Asked]] = []
        self._order = itertools.count()
        self._ready = threading.Condition()
        self._closed = False
        self._running: _Asked | None = None
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
        """Run `step` on the thread at the usual priority and await what it returns.

        Raises EngineError where the step fails (a ChinwagError passes as it is) or hangs, or the worker is closed.
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

        def tell(result: T | None, error: Exception | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop has closed: nobody listens any more
                return

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
            ran = FinishedStep(self.name, priority, began - asked, time.perf_counter() - began)
            try:
                for observer in tuple(observers):
                    observer(ran)
            except Exception:
                log.exception("who watches the engine %s failed", self.name)
            tell(result, error)

        with self._ready:
            if self._closed:
                raise EngineError(f"The engine {self.name} is closed.", "Start the server again.", self.name)
            heapq.heappush(self._queue, (priority, next(self._order), _Asked(call, lambda error: tell(None, error))))
            self._ready.notify()
        looking: list[asyncio.TimerHandle] = []

        def look() -> None:
            self._give_up_hung()
            looking[:] = [loop.call_later(self._hangs_after_s, look)]

        look()  # most callers do not wait so long, but others come
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
        finally:
            looking[0].cancel()

    def close(self) -> None:
        """End the thread after the steps that wait; those asked for later are refused. May be called twice."""
        with self._ready:
            self._closed = True
            self._ready.notify()

    def _give_up_hung(self) -> None:
        with self._ready:
            hung = self._running
            if hung is None or time.monotonic() - hung.began < self._hangs_after_s:
                return
            self._running, self._hung = None, self._hung + 1
            waiting: list[tuple[int, int, _Asked]] = []
            if self._hung >= MOST_HUNG:
                waiting, self._queue, self._closed = self._queue, [], True
            else:
                self._start()
        log.warning("the engine %s hangs; its thread is given up", self.name)
        told = EngineError(
            f"The engine {self.name} has hung for {self._hangs_after_s:g} s and was given up.",
            "Try again; if it stays so, start the server again.",
            self.name,
        )
        for step in (hung, *(step for _, _, step in waiting)):
            step.fail(told)

    def _work(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                _, _, step = heapq.heappop(self._queue)
                self._running = step
                step.began = time.monotonic()
            step.call()
            with self._ready:
                if self._running is not step:
                    return  # it was given up, and another thread is at work
                self._running = None
            del step  # so that an idle thread keeps no engine's arrays alive


workers: weakref.WeakSet[Worker] = weakref.WeakSet()
"""All that live."""
