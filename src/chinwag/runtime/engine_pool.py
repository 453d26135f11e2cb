"""The engine pool: loads engines on demand, shares them between sessions, and closes them when long unused."""

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
OnProgress = Callable[[Stage, Progress], None]
EngineFinder = Callable[[Task, str], type[Engine]]
"""Finds an engine's class by its task and name, as `registry.find` does."""

CLOSE_AFTER_S = 600.0
"""Seconds until an unused engine is closed; a session that switches back before that need not wait."""

LINGER_S = 30.0
"""Seconds for which an unused engine is not closed to make room: a long transcription may still use it."""

PROGRESS_EVERY_S = 0.5

MEMORY_PER_WEIGHT_BYTE, MEMORY_BASE = 1.7, 80 * 2**20
"""Memory of an engine: bytes per byte of weights, and a constant. Measured with `benchmarks engines`:
Moonshine tiny 139 MB of 44, Whisper base 198 of 98, Qwen2.5 0.5B 889 of 491, Kokoro 380 of 119."""

PER_SESSION = {"voice", "speed", "language", "partial_every_ms"}
"""Settings of a session: engines that differ only in these are the same engine."""


@dataclass(eq=False)
class PooledEngine:
    """An engine that is loaded or loading. unused_since: when the last user released it (event loop time)."""

    task: Task
    settings: Any
    loading: asyncio.Task[Engine] = field(init=False)
    progress: Progress = field(default_factory=Progress)
    stage: Stage = "loading"
    memory_bytes: int = 0
    users: int = 0
    unused_since: float = 0.0
    closing: asyncio.TimerHandle | None = None

    @property
    def loaded(self) -> bool:
        """Whether the engine can be used."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None

    @property
    def engine(self) -> Engine:
        """The loaded engine. Raises the error of its loading."""
        return self.loading.result()


@dataclass(frozen=True, eq=False)
class Lease:
    """Keeps an engine of the pool loaded. It starts with one holder, and ends when each holder has released it."""

    pool: EnginePool
    pooled: PooledEngine

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.pooled.engine

    @property
    def settings(self) -> Any:
        """The settings that it was requested with."""
        return self.pooled.settings

    def hold(self) -> None:
        """Add a holder: a response or an utterance that was begun with the engine."""
        self.pool.hold(self.pooled)

    def release(self) -> None:
        """Remove a holder. The last one gives the engine back to the pool."""
        self.pool.release(self.pooled)


class EnginePool:
    """One engine for each task, name, model and settings.

    find: returns an engine's class. free: returns the available memory in bytes.
    """

    def __init__(
        self,
        store: Store,
        puller: Puller = Store.pull,
        *,
        find: EngineFinder | None = None,
        free: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
    ) -> None:
        self._store, self._puller, self._available_memory = store, puller, free
        self._find = find or find_registered
        self._engines: dict[str, PooledEngine] = {}
        self._loading_bytes = 0
        self._tasks = TaskSet()

    async def lease(self, task: Task, settings: Any, on_progress: OnProgress | None = None) -> Lease:
        """Return a lease of the engine, which is loaded if necessary. Concurrent requests share one loading.

        on_progress: called at each change of the stage and while bytes arrive. Raises EngineError or WeightsError;
        the pool is then unchanged.
        """
        key = _key(task, settings)
        pooled = self._engines.get(key)
        if pooled is None:
            pooled = self._engines[key] = PooledEngine(task, settings)
            pooled.loading = asyncio.create_task(self._load(pooled), name=f"loading {task} {settings.engine}")
            pooled.loading.add_done_callback(_retrieve_exception)
        self.hold(pooled)
        try:
            await self._wait_until_loaded(pooled, on_progress)
        except BaseException:
            self.release(pooled)
            raise
        return Lease(self, pooled)

    def hold(self, pooled: PooledEngine) -> None:
        """Add a user, which keeps the engine loaded."""
        pooled.users += 1
        if pooled.closing:
            pooled.closing.cancel()
            pooled.closing = None

    def release(self, pooled: PooledEngine) -> None:
        """Remove a user. An engine without users is closed after CLOSE_AFTER_S."""
        pooled.users -= 1
        if pooled.users:
            return
        if not pooled.loading.done() and pooled.stage == "fetching":
            pooled.loading.cancel()  # a download can be cancelled and continues from there next time
            self._forget(pooled)
        else:
            loop = asyncio.get_running_loop()
            pooled.unused_since = loop.time()
            pooled.closing = loop.call_later(CLOSE_AFTER_S, self._expire, pooled)

    def loaded(self, task: Task) -> list[PooledEngine]:
        """Return the loaded engines of a task."""
        return [pooled for pooled in self._engines.values() if pooled.task == task and pooled.loaded]

    async def close(self) -> None:
        """Close all engines. Wait for one that loads, because its thread cannot be stopped."""
        for pooled in list(self._engines.values()):
            if pooled.stage == "fetching":
                pooled.loading.cancel()
            await self._close(pooled)
        await self._tasks.finish()

    # --- loading ---------------------------------------------------------------------------------------------

    async def _wait_until_loaded(self, pooled: PooledEngine, on_progress: OnProgress | None) -> None:
        reported: tuple[Any, ...] = ()
        while not pooled.loading.done():
            state = pooled.stage, pooled.progress.done
            if on_progress and state != reported:
                on_progress(pooled.stage, pooled.progress)
                reported = state
            await asyncio.wait({pooled.loading}, timeout=PROGRESS_EVERY_S)
        pooled.loading.result()

    async def _load(self, pooled: PooledEngine) -> Engine:
        try:
            return await self._fetch_and_load(pooled)
        except BaseException:
            self._forget(pooled)
            raise

    async def _fetch_and_load(self, pooled: PooledEngine) -> Engine:
        task, settings = pooled.task, pooled.settings
        kind = await asyncio.to_thread(self._find, task, settings.engine)  # an import would hold up all others
        needs = kind.needs(settings)
        if missing := await asyncio.to_thread(self._store.missing, needs):
            pooled.stage = "fetching"
            await self._puller(self._store, missing, pooled.progress)
        pooled.stage = "loading"
        size = self._store.size(needs)
        pooled.memory_bytes = int(size * MEMORY_PER_WEIGHT_BYTE) + MEMORY_BASE if size else 0
        await self._make_room(pooled)
        self._loading_bytes += pooled.memory_bytes
        try:
            options = await asyncio.to_thread(EngineOptions.gathered, kind, settings, self._store.folder)
            return await asyncio.to_thread(kind.load, options)
        except Exception as error:
            raise as_engine_error(error, task, settings.engine) from error
        finally:
            self._loading_bytes -= pooled.memory_bytes

    async def _make_room(self, pooled: PooledEngine) -> None:
        """Close what nobody uses, the longest unused first, where the memory is short. Raises EngineError."""
        now = asyncio.get_running_loop().time()
        candidates = [
            each
            for each in self._engines.values()
            if each.loaded and not each.users and now - each.unused_since >= LINGER_S
        ]
        for unused in sorted(candidates, key=lambda each: each.unused_since):
            if pooled.memory_bytes <= self._available_memory() - self._loading_bytes:
                return
            if not unused.users:  # it was not leased meanwhile
                await self._close(unused)
        if pooled.memory_bytes and pooled.memory_bytes > (free := self._available_memory() - self._loading_bytes):
            raise _out_of_memory(pooled, free)

    async def _close(self, pooled: PooledEngine) -> None:
        self._forget(pooled)
        await asyncio.wait({pooled.loading})
        if pooled.loaded:
            await pooled.engine.close()

    def _expire(self, pooled: PooledEngine) -> None:
        self._forget(pooled)
        self._tasks.start(self._close(pooled))

    def _forget(self, pooled: PooledEngine) -> None:
        if pooled.closing:
            pooled.closing.cancel()
            pooled.closing = None
        key = _key(pooled.task, pooled.settings)
        if self._engines.get(key) is pooled:
            del self._engines[key]


def _retrieve_exception(loading: asyncio.Task[Engine]) -> None:
    """What went wrong is known, even where nobody is left who waits for it."""
    if not loading.cancelled():
        loading.exception()


def _key(task: Task, settings: Any) -> str:
    return json.dumps([task, settings.model_dump(mode="json", exclude=PER_SESSION)], sort_keys=True)


def _out_of_memory(pooled: PooledEngine, free: int) -> EngineError:
    return EngineError(
        f"The {pooled.task} engine {pooled.settings.engine} takes about {pooled.memory_bytes / 1e6:.0f} MB of memory,"
        f" and {max(0, free) / 1e6:.0f} MB are free.",
        "Close other programs, or choose a smaller engine or model.",
        pooled.settings.engine,
    )


def find_registered(task: Task, name: str) -> type[Engine]:
    """Find an engine's class among the entry points. Raises EngineError."""
    return registry.find(task, name)
