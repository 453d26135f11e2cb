"""One event loop, one Playwright and one Chromium for all browser tests of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from browser.chromium import shared_chromium
from browser.sound import close_engines


@pytest.fixture(scope="session", autouse=True)
def browser_loop() -> Iterator[asyncio.Runner]:
    """The loop on which the tests and the Chromium that they share run."""
    with asyncio.Runner() as runner:
        chromium = shared_chromium()
        runner.run(chromium.__aenter__())
        yield runner
        runner.run(close_engines())
        runner.run(chromium.__aexit__(None, None, None))
