"""Prompts on their way into a model's cache."""

from __future__ import annotations

import asyncio

import pytest

from chinwag.engines.llm.prefills import Prefills
from chinwag.engines.protocols import Ending

pytestmark = pytest.mark.unit


async def test_the_next_begins_when_the_one_that_nobody_waits_for_any_more_has_let_go() -> None:
    prefills, told = Prefills(), []

    async def read(name: str) -> Ending | None:
        told.append(f"{name} begins")
        try:
            await asyncio.sleep(0.01 if name == "second" else 60)
            return Ending(0.5)
        finally:
            await asyncio.sleep(0.01)  # the model lets go
            told.append(f"{name} ends")

    first = asyncio.create_task(prefills.run("talk", read("first")))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await prefills.run("talk", read("second")) == Ending(0.5)
    assert told == ["first begins", "first ends", "second begins", "second ends"]
    last = asyncio.create_task(prefills.run("talk", read("last")))
    await asyncio.sleep(0.01)
    last.cancel()
    await asyncio.sleep(0.05)
    assert not prefills._tasks, "of a conversation that is over nothing is kept"
