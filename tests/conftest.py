"""Rules for every test: a category, its own event loop, no task left behind.

A coroutine test needs no decorator. Unit tests run at virtual time (see virtual_time.py), the others on a real loop.
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
    virtual = any(mark.name == "unit" for mark in pyfuncitem.iter_markers())
    with asyncio.Runner(loop_factory=VirtualTimeLoop if virtual else asyncio.new_event_loop) as runner:
        runner.run(_without_leaks(test, arguments))
    return True


async def _without_leaks(test: Callable[..., Awaitable[None]], arguments: dict[str, Any]) -> None:
    await test(**arguments)
    for _ in range(5):  # tasks that were just cancelled need a few turns of the loop to end
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"the test left tasks behind: {left}"
