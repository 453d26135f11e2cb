"""A real Chromium for a test: its microphone, its permissions, its complaints."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, async_playwright, expect

REPOSITORY = Path(__file__).parents[2]
PATIENCE_MS = 20_000
"""The tests ask whether, not how fast: a laden machine may take its time."""

FLAGS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)

expect.set_options(timeout=PATIENCE_MS)


@cache
def executable() -> str:
    """Path of the browser that scripts/fetch_browser.py finds or installs."""
    found = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "fetch_browser.py")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert found.returncode == 0, "there is no browser to test with: see above for how to get one"
    return found.stdout.strip()


class _Shared:
    """The Playwright of this process, and the browser that tests without wishes share."""

    playwright: Playwright
    browser: Browser


@asynccontextmanager
async def shared_chromium() -> AsyncIterator[None]:
    """Start Playwright and the browser that `chromium()` lends to tests without wishes of their own."""
    async with async_playwright() as _Shared.playwright:
        _Shared.browser = await _launch("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
        try:
            yield
        finally:
            await _Shared.browser.close()


@asynccontextmanager
async def chromium(
    microphone: Path | None = None, *, ask: bool = False, device: bool = True, flags: tuple[str, ...] = ()
) -> AsyncIterator[Browser]:
    """A browser: the shared one, or one of the test's own where an argument asks for other flags.

    microphone: a WAV that its microphone plays once; None for a beep each second.
    ask: the user is asked for the microphone (and in a headless browser never answers yes).
    device: whether there is a microphone at all.
    """
    if microphone is None and device and not ask and not flags:
        try:
            yield _Shared.browser
        finally:
            for context in _Shared.browser.contexts:
                await context.close()
        return
    arguments = list(flags)
    if not ask:
        arguments.append("--use-fake-ui-for-media-stream")
    if device:
        arguments.append("--use-fake-device-for-media-stream")
    if microphone:
        arguments.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    browser = await _launch(*arguments)
    try:
        yield browser
    finally:
        await browser.close()


async def _launch(*flags: str) -> Browser:
    arguments = [*FLAGS, *flags]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to start as root with it
    return await _Shared.playwright.chromium.launch(executable_path=executable(), args=arguments)


async def comes_true(page: Page, expression: str) -> None:
    """Wait until it is so: Page.wait_for_function needs eval at its second look, which the page's policy forbids."""
    look = f"const look = () => (({expression}) ? done() : setTimeout(look, 50)); look();"
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await page.evaluate(f"new Promise((done) => {{ {look} }})")


@asynccontextmanager
async def opened(browser: Browser, url: str, *, init: str = "", bears: str = "", **context: Any) -> AsyncIterator[Page]:
    """The page at `url`; any script error or breach of the content security policy fails the test.

    init: a script that runs before the page's own. bears: part of an error that the browser tells of anyway.
    context: what Browser.new_context takes.
    """
    faults: list[str] = []

    def read(message: ConsoleMessage) -> None:
        expected = ["Failed to load resource", "WebSocket connection", *filter(None, [bears])]  # a server that is away
        if message.type == "error" and not any(words in message.text for words in expected):
            faults.append(message.text)

    surroundings = await browser.new_context(**context)
    surroundings.set_default_timeout(PATIENCE_MS)
    try:
        page = await surroundings.new_page()
        page.on("console", read)
        page.on("pageerror", lambda error: faults.append(str(error)))
        if init:
            await page.add_init_script(init)
        await page.goto(url)
        yield page
    finally:
        await surroundings.close()
    assert not faults, faults
