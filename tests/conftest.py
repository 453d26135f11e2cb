"""Rules for every test: a category, an event loop, no task left behind.

A coroutine test needs no decorator. Unit tests run at virtual time (see virtual_time.py), browser tests on the loop of
the shared Chromium (see browser/conftest.py), the others on a real loop of their own.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from serving import Server, serving
from virtual_time import VirtualTimeLoop

# no test writes into the folder of whoever runs it; those of the store set a folder of their own
os.environ.setdefault("CHINWAG_STORE__KEEP", "off")

CATEGORIES = {"unit", "engines", "realtime", "browser"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long forms, which are marked `long`")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()} & CATEGORIES
        if len(marks) != 1:
            raise pytest.UsageError(
                f"{item.nodeid}: give its module one category, e.g. pytestmark = pytest.mark.unit"
                f" (one of {', '.join(sorted(CATEGORIES))})"
            )
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
    gc.freeze()  # a full collection then looks only at what the tests make
    if config.pluginmanager.hasplugin("xdist"):
        # the tests of the shared server go first: they mostly wait, and the other processes work meanwhile
        items.sort(key=lambda item: _group(item) != "server")
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """The tests that one process runs in a row: those of the shared server, and those of a module."""
    shares = "server" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("unit")
    return "server" if shares else item.path.stem


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One real server for all tests that need no settings of their own. No answer of it takes a minute to say."""
    with serving("--llm", "embedded", env={"CHINWAG_LLM__MAX_TOKENS": "160"}) as running:
        running.wait("ready")
        yield running


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
