"""A library in a process of its own: what it yields, how it is stopped, and what of its faults is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chinwag.engines.apart import EngineProcess
from chinwag.engines.worker import Priority
from chinwag.errors import EngineError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def made(**arguments: Any) -> EngineProcess:
    return EngineProcess("tts", "plate", "apart_object:Object", **arguments)


@pytest.fixture
def apart() -> Iterator[EngineProcess]:
    one = made()
    yield one
    one.close()
    one.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "chinwag-plate"]


async def every(apart: EngineProcess, method: str, *arguments: Any, priority: Priority = Priority.SOON) -> list[Any]:
    async with contextlib.aclosing(apart.stream(method, *arguments, priority=priority)) as answers:
        return [answer async for answer in answers]


async def test_what_is_yielded_comes_out_and_what_is_printed_does_no_harm(apart: EngineProcess) -> None:
    assert apart.info == {"pid": apart.pid}
    assert await every(apart, "count", 3) == [0, 1, 2]
    assert await every(apart, "count", 0) == []
    assert await apart.call("input") == "", "a library that asks on the terminal gets no answer"
    both = await asyncio.gather(every(apart, "count", 3), every(apart, "count", 2))
    assert list(both) == [[0, 1, 2], [0, 1]]


async def test_who_stops_listening_stops_the_work_and_who_waits_goes_first(apart: EngineProcess) -> None:
    async with contextlib.aclosing(apart.stream("count", 10**6, "long", 0.001)) as answers:
        assert await anext(answers) == 0
        later = asyncio.create_task(every(apart, "count", 1, "later", priority=Priority.LATER))
        now = asyncio.create_task(every(apart, "count", 1, "now", priority=Priority.NOW))
        given_up = asyncio.create_task(every(apart, "count", 1, "given up"))
        for _ in range(50):
            await anext(answers)
        given_up.cancel()
        await asyncio.wait({given_up})
    await asyncio.gather(now, later)
    assert await apart.call("finished") == ["now", "later"]


async def test_a_fault_is_told_and_the_next_question_is_answered(apart: EngineProcess) -> None:
    with pytest.raises(EngineError, match="third plate is cracked") as failure:
        await every(apart, "fail")
    assert failure.value.fix
    assert await every(apart, "count", 2) == [0, 1]


async def test_a_process_that_dies_fails_what_it_was_asked_and_is_begun_again(apart: EngineProcess) -> None:
    waiting = asyncio.create_task(every(apart, "count", 1))
    with pytest.raises(EngineError, match="process of the engine plate ended with signal 9") as failure:
        await every(apart, "die")
    assert "started anew" in failure.value.fix
    await asyncio.wait({waiting})
    first = apart.info["pid"]
    assert await every(apart, "count", 2) == [0, 1]
    assert apart.pid != first


async def test_closing_ends_what_it_began(apart: EngineProcess) -> None:
    child, program = psutil.Process(apart.pid), psutil.Process(await apart.call("program"))
    apart.close()
    for process in (child, program):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.wait(5.0)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(EngineError, match="plate is closed"):
        await every(apart, "count", 1)


def test_what_cannot_be_made_is_told() -> None:
    def told(**arguments: Any) -> EngineError:
        with pytest.raises(EngineError) as failure:
            made(**arguments)
        assert not psutil.Process().children()
        return failure.value

    assert str(told(fails="explained")) == "It has no such model. Name another."
    memory = told(fails="memory")
    assert "the GPU has too little memory" in memory.message
    assert 'tts.device = "cpu"' in memory.fix
    assert "ended with signal 9: the last words" in told(fails="dies").message
    assert "could not be loaded" in told(unknown=1).message
