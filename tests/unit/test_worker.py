"""The worker: order, cancelling, failing, closing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from chinwag.engines.worker import MOST_HUNG, FinishedStep, Priority, Worker, observers
from chinwag.errors import EngineError, WeightsError

pytestmark = pytest.mark.unit


def held(worker: Worker) -> tuple[threading.Event, asyncio.Task[None]]:
    """Occupy the thread until the event is set."""
    release = threading.Event()

    def wait() -> None:
        assert release.wait(5)

    return release, asyncio.ensure_future(worker.run(wait))


async def test_it_returns_what_the_step_returns_from_its_own_thread() -> None:
    worker = Worker("parrot")
    assert await worker.run(lambda a, b: a + b, 1, b=2) == 3
    assert await worker.run(lambda: threading.current_thread().name) == "chinwag-parrot"
    worker.close()


async def test_what_a_person_waits_for_goes_first() -> None:
    worker = Worker("parrot")
    order: list[tuple[Priority, int]] = []
    release, holding = held(worker)
    steps = [
        asyncio.ensure_future(worker.run_at(priority, order.append, (priority, number)))
        for number in range(2)
        for priority in (Priority.LATER, Priority.SOON, Priority.NOW)
    ]
    await asyncio.sleep(0.01)
    release.set()
    await asyncio.gather(holding, *steps)
    assert order == [(priority, number) for priority in Priority for number in range(2)]
    worker.close()


async def test_a_cancelled_step_that_has_not_begun_never_runs() -> None:
    worker = Worker("parrot")
    ran: list[int] = []
    release, holding = held(worker)
    step = asyncio.ensure_future(worker.run(ran.append, 1))
    await asyncio.sleep(0.01)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    release.set()
    await holding
    await worker.run(ran.append, 2)
    assert ran == [2]
    worker.close()


async def test_a_cancelled_step_that_runs_ends_unheard() -> None:
    worker = Worker("parrot")
    release, holding = held(worker)
    await asyncio.sleep(0.01)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    release.set()
    assert await worker.run(lambda: "still here") == "still here"
    worker.close()


async def test_a_failure_is_an_engine_error_with_a_way_out_and_the_worker_lives() -> None:
    worker = Worker("parrot")

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(EngineError, match=r"parrot failed: out of seed.*chinwag doctor") as failure:
        await worker.run(fail, ValueError("out of seed"))
    assert failure.value.engine == "parrot"
    assert isinstance(failure.value.__cause__, ValueError)
    with pytest.raises(EngineError, match="MemoryError"):
        await worker.run(fail, MemoryError())
    with pytest.raises(WeightsError, match="as it is"):
        await worker.run(fail, WeightsError("as it is"))
    assert await worker.run(lambda: 1) == 1
    worker.close()


async def test_closing_ends_the_thread_after_what_waits() -> None:
    worker = Worker("parrot")
    ran: list[int] = []
    release, holding = held(worker)
    step = asyncio.ensure_future(worker.run(ran.append, 1))
    await asyncio.sleep(0.01)
    worker.close()
    worker.close()
    release.set()
    await asyncio.gather(holding, step)
    assert ran == [1]
    with pytest.raises(EngineError, match="closed"):
        await worker.run(ran.append, 2)
    worker._thread.join(5)
    assert not worker._thread.is_alive()


async def test_a_step_that_hangs_is_given_up_and_those_behind_it_go_on() -> None:
    worker = Worker("parrot", hangs_after_s=0.05)
    release = threading.Event()
    hung = asyncio.ensure_future(worker.run(release.wait, 30))
    behind = asyncio.ensure_future(worker.run(lambda: "still here"))
    with pytest.raises(EngineError, match=r"parrot has hung for 0\.05 s"):
        await hung
    assert await behind == "still here"
    assert await worker.run(lambda: 5) == 5
    release.set()  # what comes of it now is nobody's, and its thread ends
    for _ in range(500):
        if len([one for one in threading.enumerate() if one.name == "chinwag-parrot"]) == 1:
            break
        await asyncio.to_thread(time.sleep, 0.01)
    assert len([one for one in threading.enumerate() if one.name == "chinwag-parrot"]) == 1
    assert await worker.run(lambda: 6) == 6
    worker.close()


async def test_callers_that_do_not_wait_so_long_notice_it_as_well() -> None:
    worker = Worker("parrot", hangs_after_s=0.2)
    release = threading.Event()
    hung = asyncio.ensure_future(worker.run(release.wait, 30))
    began = time.monotonic()
    while time.monotonic() - began < 10:
        short = asyncio.ensure_future(worker.run(lambda: "back"))
        await asyncio.to_thread(time.sleep, 0.02)
        if short.done():
            break
        short.cancel()
        await asyncio.gather(short, return_exceptions=True)
    assert short.result() == "back"
    with pytest.raises(EngineError, match="has hung"):
        await hung
    release.set()
    worker.close()


async def test_an_engine_that_hangs_again_and_again_is_given_up() -> None:
    worker = Worker("parrot", hangs_after_s=0.05)
    release = threading.Event()
    for _ in range(MOST_HUNG):
        with pytest.raises(EngineError, match="has hung"):
            await worker.run(release.wait, 30)
    with pytest.raises(EngineError, match="is closed"):
        await worker.run(lambda: 1)
    release.set()


async def test_a_watcher_that_fails_keeps_nobody_waiting() -> None:
    def fails(_: FinishedStep) -> None:
        raise RuntimeError("no more room for figures")

    worker = Worker("parrot")
    observers.add(fails)
    try:
        assert await worker.run(lambda: 1) == 1
        assert await worker.run(lambda: 2) == 2
    finally:
        observers.discard(fails)
        worker.close()
