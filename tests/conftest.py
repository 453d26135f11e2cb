"""Rules for every test: a category, an event loop, no task left behind.

A coroutine test needs no decorator. Unit tests run at virtual time (see virtual_time.py), browser tests on the loop of
the shared Chromium (see browser/conftest.py), the others on a real loop of their own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from virtual_time import VirtualTimeLoop

# no test writes into the folder of whoever runs it; those of the store set a folder of their own
os.environ.setdefault("CHINWAG_STORE__KEEP", "off")

CATEGORIES = {"unit", "engines", "realtime", "browser"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()} & CATEGORIES
        if len(marks) != 1:
            raise pytest.UsageError(
                f"{item.nodeid}: give its module one category, e.g. pytestmark = pytest.mark.unit"
                f" (one of {', '.join(sorted(CATEGORIES))})"
            )
        # with real engines a small model mishears a word once in some hundred turns: a second failure is a fault
        if "unit" not in marks and isinstance(item, pytest.Function) and "server" in item.fixturenames:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    shared = pyfuncitem.funcargs.get("browser_loop")
    if isinstance(shared, asyncio.Runner):
        _run(shared, test, arguments)
        return True
    virtual = any(mark.name == "unit" for mark in pyfuncitem.iter_markers())
    with asyncio.Runner(loop_factory=VirtualTimeLoop if virtual else asyncio.new_event_loop) as runner:
        _run(runner, test, arguments)
    return True


def _run(runner: asyncio.Runner, test: Callable[..., Awaitable[None]], arguments: dict[str, Any]) -> None:
    """Run a test; a task that it leaves behind fails it, and no such task reaches the next test."""
    before = asyncio.all_tasks(runner.get_loop())
    try:
        runner.run(_without_leaks(test, arguments, before))
    finally:
        if left := asyncio.all_tasks(runner.get_loop()) - before:
            runner.run(_cancel(left))


async def _without_leaks(
    test: Callable[..., Awaitable[None]], arguments: dict[str, Any], before: set[asyncio.Task[Any]]
) -> None:
    await test(**arguments)
    for _ in range(5):  # tasks that were just cancelled need a few turns of the loop to end
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"the test left tasks behind: {left}"


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
