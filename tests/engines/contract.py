"""What every engine's tests share: real weights, real speech, and a watch over the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, silence
from chinwag.config import WeightsSettings
from chinwag.engines.protocols import Engine, EngineOptions
from chinwag.weights.store import Store

E = TypeVar("E", bound=Engine)

BLOCKED_MS = 50.0
"""A gap beyond this counts as blocked. The aim is 10 ms, and the longest is printed; but the tests share the cores
with each other, so the watch fails only where the loop stood still for a fifth of the time, as it does where a step
holds the interpreter lock."""


async def options(engine: type[Engine], settings: Any) -> EngineOptions:
    """What to load the engine with; pulls the weights that are not on this machine yet."""
    store = Store(WeightsSettings())
    await store.pull(store.missing(engine.needs(settings)))
    return EngineOptions.gathered(engine, settings, store.folder)


@contextlib.asynccontextmanager
async def loaded(engine: type[E], settings: Any = None) -> AsyncIterator[E]:
    """The engine, loaded on a thread; closed twice afterwards, as every engine must bear."""
    wanted = await options(engine, settings)
    began = time.perf_counter()
    made = await asyncio.to_thread(engine.load, wanted)
    print(f"{engine.name}: loaded in {(time.perf_counter() - began) * 1e3:.0f} ms")
    try:
        yield made
    finally:
        await made.close()
        await made.close()


@contextlib.asynccontextmanager
async def watched(what: str) -> AsyncIterator[list[float]]:
    """Ticks every millisecond meanwhile; fails where the loop stood still. Gives the gaps in ms."""
    gaps, began = [0.0], time.perf_counter()

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append((now - last) * 1e3 - 1.0)
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield gaps
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
    blocked = sum(gap for gap in gaps if gap > BLOCKED_MS)
    print(f"{what}: the event loop waited {max(gaps):.1f} ms at most in {len(gaps)} ticks")
    assert blocked < 0.2 * (time.perf_counter() - began) * 1e3 + 2 * BLOCKED_MS


@functools.cache
def speech(text: str) -> Audio:
    """The words as hibari says them, at 16 kHz, the silence around them included. Equal for equal words."""
    said = _hibari()(text, seed=0)
    return Audio(np.asarray(said, np.float32), 24_000).resampled(LISTEN_RATE)


@functools.cache
def _hibari() -> Any:
    from hibari import Hibari

    return Hibari()


def then_silence(audio: Audio, seconds: float) -> Audio:
    """The sound with nothing after it."""
    return Audio(np.concatenate([audio.pcm, silence(seconds, audio.rate).pcm]), audio.rate, audio.start)


def words(text: str) -> list[str]:
    """Lower case, no punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())
