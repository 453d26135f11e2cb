"""Engines that are loaded, shared by all who use them: fetched and loaded when wanted, closed when long unused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

from chinwag.engines import registry
from chinwag.engines.faults import as_engine_error
from chinwag.engines.protocols import Engine, EngineOptions, Task
from chinwag.errors import EngineError
from chinwag.tasks import TaskSet
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

Puller = Callable[[Store, list[str], Progress], Awaitable[None]]
Stage = Literal["fetching", "loading"]
Telling = Callable[[Stage, Progress], None]
Finder = Callable[[Task, str], type[Engine]]
"""Finds an engine's class by its task and name, as `registry.find` does."""

UNUSED_S = 600.0
"""An engine that nobody has used for so long is closed: who changes back within that time need not wait."""

LINGER_S = 30.0
"""Until then it is not closed for another's sake: the words of a long recording may still be on their way."""

TELL_EVERY_S = 0.5

PER_BYTE, BESIDES = 1.7, 80 * 2**20
"""Memory that an engine takes: by each byte of its weights, and beside them. Measured with `benchmarks engines`:
Moonshine tiny 139 MB of 44, Whisper base 198 of 98, Qwen2.5 0.5B 889 of 491, Kokoro 380 of 119."""

SESSIONS_OWN = {"voice", "speed", "language", "partial_every_ms"}
"""Settings that each conversation has for itself: they make no other engine."""


@dataclass(eq=False)
class Held:
    """An engine that is loaded, or on its way. since: when the last one let it go."""

    task: Task
    settings: Any
    loading: asyncio.Task[Engine] = field(init=False)
    progress: Progress = field(default_factory=Progress)
    stage: Stage = "loading"
    memory: int = 0
    users: int = 0
    since: float = 0.0
    closing: asyncio.TimerHandle | None = None

    @property
    def loaded(self) -> bool:
        """It can be used."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None

    @property
    def engine(self) -> Engine:
        """Once it is loaded. Raises what its loading raised."""
        return self.loading.result()


@dataclass(frozen=True, eq=False)
class Lease:
    """Keeps an engine of the pool loaded. It starts with one holder, and ends when each holder has released it."""

    pool: EnginePool
    held: Held

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.held.engine

    @property
    def settings(self) -> Any:
        """What it was asked for with."""
        return self.held.settings

    def hold(self) -> None:
        """Add a holder: a response or an utterance that was begun with the engine."""
        self.pool.hold(self.held)

    def release(self) -> None:
        """Remove a holder. The last one gives the engine back to the pool."""
        self.pool.release(self.held)


class EnginePool:
    """One engine for each task, name, model and settings.

    find: where the engines come from. free: bytes of memory that programs can have.
    """

    def __init__(
        self,
        store: Store,
        puller: Puller = Store.pull,
        *,
        find: Finder | None = None,
        free: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
    ) -> None:
        self._store, self._puller, self._free = store, puller, free
        self._find = find or registered
        self._held: dict[str, Held] = {}
        self._coming = 0
        self._tasks = TaskSet()

    async def lease(self, task: Task, settings: Any, tell: Telling | None = None) -> Lease:
        """The engine, from among those that are loaded or loaded now; who asks at the same time waits for the same.

        tell: is told of its stage at each change and while bytes come. Raises EngineError or WeightsError; then all is
        as it was before.
        """
        key = _key(task, settings)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = Held(task, settings)
            held.loading = asyncio.create_task(self._load(held), name=f"loading {task} {settings.engine}")
            held.loading.add_done_callback(_heard)
        self.hold(held)
        try:
            await self._loaded(held, tell)
        except BaseException:
            self.release(held)
            raise
        return Lease(self, held)

    def hold(self, held: Held) -> None:
        """Count one user more, and do not close the engine."""
        held.users += 1
        if held.closing:
            held.closing.cancel()
            held.closing = None

    def release(self, held: Held) -> None:
        """Count one user less. An engine without users is closed after UNUSED_S."""
        held.users -= 1
        if held.users:
            return
        if not held.loading.done() and held.stage == "fetching":
            held.loading.cancel()  # a pull can be broken off, and goes on from there the next time
            self._forget(held)
        else:
            loop = asyncio.get_running_loop()
            held.since = loop.time()
            held.closing = loop.call_later(UNUSED_S, self._expire, held)

    def loaded(self, task: Task) -> list[Held]:
        """Those of a task that can be used at once."""
        return [held for held in self._held.values() if held.task == task and held.loaded]

    async def close(self) -> None:
        """Close all of them; one that loads is waited for, as a thread cannot be stopped."""
        for held in list(self._held.values()):
            if held.stage == "fetching":
                held.loading.cancel()
            await self._close(held)
        await self._tasks.finish()

    # --- loading ---------------------------------------------------------------------------------------------

    async def _loaded(self, held: Held, tell: Telling | None) -> None:
        told: tuple[Any, ...] = ()
        while not held.loading.done():
            news = held.stage, held.progress.done
            if tell and news != told:
                tell(held.stage, held.progress)
                told = news
            await asyncio.wait({held.loading}, timeout=TELL_EVERY_S)
        held.loading.result()

    async def _load(self, held: Held) -> Engine:
        try:
            return await self._fetched_and_loaded(held)
        except BaseException:
            self._forget(held)
            raise

    async def _fetched_and_loaded(self, held: Held) -> Engine:
        task, settings = held.task, held.settings
        kind = await asyncio.to_thread(self._find, task, settings.engine)  # an import would hold up all others
        needs = kind.needs(settings)
        if missing := await asyncio.to_thread(self._store.missing, needs):
            held.stage = "fetching"
            await self._puller(self._store, missing, held.progress)
        held.stage = "loading"
        size = self._store.size(needs)
        held.memory = int(size * PER_BYTE) + BESIDES if size else 0
        await self._make_room(held)
        self._coming += held.memory
        try:
            options = await asyncio.to_thread(EngineOptions.gathered, kind, settings, self._store.folder)
            return await asyncio.to_thread(kind.load, options)
        except Exception as error:
            raise as_engine_error(error, task, settings.engine) from error
        finally:
            self._coming -= held.memory

    async def _make_room(self, held: Held) -> None:
        """Close what nobody uses, the longest unused first, where the memory is short. Raises EngineError."""
        now = asyncio.get_running_loop().time()
        unused = [one for one in self._held.values() if one.loaded and not one.users and now - one.since >= LINGER_S]
        for one in sorted(unused, key=lambda one: one.since):
            if held.memory <= self._free() - self._coming:
                return
            if not one.users:  # nobody has taken it meanwhile
                await self._close(one)
        if held.memory and held.memory > (free := self._free() - self._coming):
            raise _too_large(held, free)

    async def _close(self, held: Held) -> None:
        self._forget(held)
        await asyncio.wait({held.loading})
        if held.loaded:
            await held.engine.close()

    def _expire(self, held: Held) -> None:
        self._forget(held)
        self._tasks.start(self._close(held))

    def _forget(self, held: Held) -> None:
        if held.closing:
            held.closing.cancel()
            held.closing = None
        key = _key(held.task, held.settings)
        if self._held.get(key) is held:
            del self._held[key]


def _heard(loading: asyncio.Task[Engine]) -> None:
    """What went wrong is known, even where nobody is left who waits for it."""
    if not loading.cancelled():
        loading.exception()


def _key(task: Task, settings: Any) -> str:
    return json.dumps([task, settings.model_dump(mode="json", exclude=SESSIONS_OWN)], sort_keys=True)


def _too_large(held: Held, free: int) -> EngineError:
    return EngineError(
        f"The {held.task} engine {held.settings.engine} takes about {held.memory / 1e6:.0f} MB of memory,"
        f" and {max(0, free) / 1e6:.0f} MB are free.",
        "Close other programs, or choose a smaller engine or model.",
        held.settings.engine,
    )


def registered(task: Task, name: str) -> type[Engine]:
    """Where engines usually come from: entry points. Raises EngineError."""
    return registry.find(task, name)
