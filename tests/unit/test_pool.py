"""Engines that conversations share: fetched, loaded once, closed when unused, refused where they would not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from virtual_time import at_once

from chinwag.config import TtsSettings, WeightsSettings
from chinwag.engines import registry
from chinwag.engines.fake import FakeVoice
from chinwag.engines.protocols import EngineOptions
from chinwag.errors import EngineError, WeightsError
from chinwag.runtime import engine_pool as pools
from chinwag.runtime.engine_pool import EnginePool
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

pytestmark = pytest.mark.unit

PLENTY = 10**12


class Shelf(Store):
    """Weights without files: "big" has 100 MB."""

    def __init__(self) -> None:
        super().__init__(WeightsSettings())
        self.here: set[str] = set()

    def missing(self, names: Any) -> list[str]:
        return [name for name in names if name not in self.here]

    def size(self, names: Any) -> int:
        return 100_000_000 * len(tuple(names))

    def folder(self, name: str) -> Any:
        return None


class Works:
    """Makes voices called by their settings' engine; counts what happens to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads: list[str] = []
        self.closed: list[str] = []
        self.failure: Exception | None = None
        self.shelf = Shelf()
        self.pulls: list[list[str]] = []
        self.pulling = asyncio.Event()
        works = self

        class Voice(FakeVoice):
            needing: tuple[str, ...] = ()

            @classmethod
            def needs(cls, settings: Any) -> tuple[str, ...]:
                return ("big",) if settings.engine.startswith("big") else ()

            @classmethod
            def load(cls, options: EngineOptions) -> Voice:
                works.loads.append(options.settings.engine)
                if works.failure:
                    raise works.failure
                voice = cls()
                voice.called = options.settings.engine  # type: ignore[attr-defined]
                return voice

            async def close(self) -> None:
                works.closed.append(self.called)  # type: ignore[attr-defined]

        monkeypatch.setattr(registry, "find", lambda task, name: Voice)

    async def pull(self, store: Store, names: list[str], progress: Progress) -> None:
        self.pulls.append(names)
        progress.set_file("big/file", 40, 100)
        try:
            await self.pulling.wait()
        except asyncio.CancelledError:
            self.pulls.append(["broken off"])
            raise
        self.shelf.here.update(names)

    def pool(self, free: Callable[[], int] = lambda: PLENTY) -> EnginePool:
        return EnginePool(self.shelf, self.pull, free=free)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    return Works(monkeypatch)


def named(engine: str, **changes: Any) -> TtsSettings:
    return TtsSettings(engine=engine, **changes)


async def test_who_asks_at_the_same_time_gets_the_same_engine(works: Works) -> None:
    pool = works.pool()
    one, other = await asyncio.gather(pool.lease("tts", named("a")), pool.lease("tts", named("a")))
    later = await pool.lease("tts", named("a", voice="two", speed=1.5))  # a conversation's own
    assert one.engine is other.engine is later.engine
    assert works.loads == ["a"]
    another = await pool.lease("tts", named("a", model="large"))
    assert another.engine is not one.engine
    await pool.close()
    assert works.closed == ["a", "a"]


async def test_an_engine_that_nobody_uses_is_closed_after_a_while(works: Works) -> None:
    pool = works.pool()
    one, other = await pool.lease("tts", named("a")), await pool.lease("tts", named("a"))
    one.release()
    await asyncio.sleep(pools.CLOSE_AFTER_S + 1)
    assert works.closed == [], "somebody still uses it"
    other.release()
    await asyncio.sleep(pools.CLOSE_AFTER_S / 2)
    again = await pool.lease("tts", named("a"))
    await asyncio.sleep(pools.CLOSE_AFTER_S + 1)
    assert works.loads == ["a"], "who comes back in time need not wait"
    assert works.closed == []
    again.release()
    await asyncio.sleep(pools.CLOSE_AFTER_S + 1)
    assert works.closed == ["a"]
    await pool.close()
    assert works.closed == ["a"]


async def test_a_load_that_failed_leaves_nothing_and_is_tried_again(works: Works) -> None:
    pool = works.pool()
    works.failure = RuntimeError("no such symbol")
    with pytest.raises(EngineError, match=r"tts engine a could not be loaded: no such symbol\. Run chinwag doctor"):
        await pool.lease("tts", named("a"))
    works.failure = MemoryError()
    with pytest.raises(EngineError, match="choose a smaller engine"):
        await pool.lease("tts", named("a"))
    works.failure = None
    assert (await pool.lease("tts", named("a"))).engine.called == "a"  # type: ignore[attr-defined]
    await pool.close()


async def test_missing_weights_are_fetched_and_told(works: Works) -> None:
    pool, told = works.pool(), list[tuple[str, int, int]]()
    waiting = asyncio.create_task(
        pool.lease("tts", named("big"), lambda stage, progress: told.append((stage, progress.done, progress.total)))
    )
    await asyncio.sleep(2)
    assert works.pulls == [["big"]]
    works.pulling.set()
    await waiting
    assert ("fetching", 40, 100) in told
    assert len(told) == len(set(told)), "nothing is told twice"
    await pool.close()


async def test_who_goes_while_it_is_fetched_breaks_it_off(works: Works) -> None:
    pool = works.pool()
    one, other = (asyncio.create_task(pool.lease("tts", named("big"))) for _ in range(2))
    await asyncio.sleep(1)
    one.cancel()
    await asyncio.sleep(1)
    assert works.pulls == [["big"]], "the other still waits for it"
    other.cancel()
    await asyncio.gather(one, other, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert works.pulls == [["big"], ["broken off"]]
    works.pulling.set()
    await pool.lease("tts", named("big"))
    await pool.close()


async def test_a_fetch_that_failed_is_told(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(store: Store, names: list[str], progress: Progress) -> None:
        raise WeightsError("The disk is full.", "Free some space.")

    pool = EnginePool(works.shelf, fails, free=lambda: PLENTY)
    with pytest.raises(WeightsError, match=r"The disk is full\. Free some space\."):
        await pool.lease("tts", named("big"))
    await pool.close()


async def test_where_memory_is_short_the_unused_go_first_and_then_it_is_refused(works: Works) -> None:
    works.shelf.here.add("big")
    room = 600_000_000

    def free() -> int:  # each of ours takes 250 MB
        return room - 250_000_000 * (len(works.loads) - len(works.closed))

    pool = works.pool(free)
    first = await pool.lease("tts", named("big-1"))
    second = await pool.lease("tts", named("big-2"))
    with pytest.raises(EngineError) as refused:
        await pool.lease("tts", named("big-3"))
    assert refused.value.message == "The tts engine big-3 takes about 254 MB of memory, and 100 MB are free."
    assert refused.value.fix == "Close other programs, or choose a smaller engine or model."
    first.release()
    with pytest.raises(EngineError, match="are free"):  # its last words may still be on their way
        await pool.lease("tts", named("big-3"))
    await asyncio.sleep(pools.LINGER_S)
    third = await pool.lease("tts", named("big-3"))
    assert works.closed == ["big-1"]
    assert {lease.engine.called for lease in (second, third)} == {"big-2", "big-3"}  # type: ignore[attr-defined]
    await pool.close()


async def test_what_is_being_loaded_counts_already(works: Works) -> None:
    works.shelf.here.add("big")
    pool = works.pool(lambda: 300_000_000)
    asked = [pool.lease("tts", named(f"big-{number}")) for number in range(2)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, EngineError) for result in results) == 1
    await pool.close()
