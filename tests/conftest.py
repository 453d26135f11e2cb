"""Rules for every test: a category, an event loop, no task left behind.

A coroutine test needs no decorator. Unit tests run at virtual time (see virtual_time.py), browser tests on the loop of
the shared Chromium (see browser/conftest.py), the others on a real loop of their own.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from serving import Server, serving
from virtual_time import VirtualTimeLoop
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# no test writes into the folder of whoever runs it; those of the store set a folder of their own
os.environ.setdefault("CHINWAG_STORE__KEEP", "off")

CATEGORIES = {"unit", "engines", "realtime", "browser"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long forms, which are marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()} & CATEGORIES
        if len(marks) != 1:
            raise pytest.UsageError(
                f"{item.nodeid}: give its module one category, e.g. pytestmark = pytest.mark.unit"
                f" (one of {', '.join(sorted(CATEGORIES))})"
            )
        # until five whole runs in a row pass on two busy cores: each rerun is listed as RERUN, and is a fault to repair
        if marks & {"realtime", "browser"} and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.flaky(reruns=1))
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
    gc.freeze()  # a full collection then looks only at what the tests make
    # the tests of the shared server go first: they mostly wait, and the other process works meanwhile
    items.sort(key=lambda item: _scope(item.nodeid) != "server")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each process whole modules; pytest-xdist 3.8's groups have no effect with pytest 9.2."""
    return ModuleScheduling(config, log)


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """All modules that use the shared server run in one process, so that there is one such server."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)


def _scope(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return "server" if _uses_server(path) else path


@cache
def _uses_server(path: str) -> bool:
    module = Path(__file__).parents[1] / path
    return "unit" not in module.parts and re.search(r"\bserver: Server\b", module.read_text("utf-8")) is not None


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
