"""The network is cut, and the page is loaded again, in the middle of an answer: the same conversation goes on."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from broken_line import relay
from playwright.async_api import Page, expect
from serving import Server, serving

from browser.chromium import chromium, opened
from browser.screens import EACH_SCREEN, Screen
from browser.sound import record, recorded, words_in, write_wav
from chinwag.audio import WIRE_RATE
from chinwag.bench.metrics import word_errors

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]  # loading the engines counts for the first test

STORY = "Tell me a story about a fisherman, in six sentences."
CUT_S = 10.0
PATIENCE_MS = 60_000


async def state(page: Page, words: str) -> None:
    await expect(page.locator("#state-words")).to_have_text(words, timeout=PATIENCE_MS)


async def start(page: Page) -> None:
    await page.get_by_role("button", name="Start", exact=True).click()
    await state(page, "Listening")


async def ask(page: Page) -> None:
    """The story is being told."""
    await page.get_by_label("Type a message").fill(STORY)
    await page.keyboard.press("Enter")
    await state(page, "Speaking")


@EACH_SCREEN
async def test_a_cut_of_ten_seconds_loses_nothing_and_repeats_nothing(
    server: Server, tmp_path: Path, screen: Screen
) -> None:
    wav = write_wav(tmp_path / "silence.wav", np.zeros(WIRE_RATE, np.float32), WIRE_RATE)
    async with (
        relay(port_of(server)) as (network, there),
        chromium(wav) as browser,
        opened(browser, f"http://localhost:{there}", bypass_csp=True, **screen) as page,
    ):
        await start(page)
        await record(page)
        await ask(page)
        await asyncio.sleep(2.0)
        network.cut()
        await expect(page.get_by_role("alert")).to_contain_text("The connection was lost", timeout=PATIENCE_MS)
        await state(page, "Reconnecting")
        await expect(page.locator(".trouble")).to_contain_text(re.compile(r"for \d+ s now"))
        await asyncio.sleep(CUT_S)
        network.mend()
        await expect(page.locator(".trouble")).to_have_count(0, timeout=PATIENCE_MS)
        await state(page, "Listening")
        await expect(page.locator(".divider")).to_have_count(0)
        await expect(page.locator(".turn.assistant")).to_have_count(1)
        told = await page.locator(".turn.assistant .words").inner_text()
        heard = await words_in(await recorded(page))
        errors, count = word_errors(told, heard)
        assert errors <= 0.15 * count, (told, heard)


@EACH_SCREEN
async def test_a_page_that_is_loaded_again_goes_on_by_itself(server: Server, tmp_path: Path, screen: Screen) -> None:
    wav = write_wav(tmp_path / "silence.wav", np.zeros(WIRE_RATE, np.float32), WIRE_RATE)
    address = server.url
    async with chromium(wav) as browser, opened(browser, address, permissions=["microphone"], **screen) as page:
        await start(page)
        await ask(page)
        await asyncio.sleep(2.0)
        # as it stands when the page goes: on a busy machine another clause comes before the reload does
        words = "document.querySelector('.turn.assistant .words').innerText"
        await page.evaluate(f"addEventListener('pagehide', () => sessionStorage.setItem('told', {words}))")
        await page.reload()
        told = await page.evaluate("sessionStorage.getItem('told')")
        await state(page, "Listening")
        await expect(page.locator(".turn.user .words")).to_have_text(STORY)
        again = await page.locator(".turn.assistant .words").inner_text()
        assert again
        assert told.startswith(again), "what was heard, and no more"
        await expect(page.locator(".divider")).to_have_count(0)
        await page.get_by_role("button", name="Stop").click()
        await page.reload()
        await state(page, "Ready")


@EACH_SCREEN
async def test_a_server_that_was_killed_and_started_goes_on_with_what_it_kept(tmp_path: Path, screen: Screen) -> None:
    wav = write_wav(tmp_path / "silence.wav", np.zeros(WIRE_RATE, np.float32), WIRE_RATE)

    def running() -> AbstractContextManager[Server]:
        return serving(env={"CHINWAG_STORE__KEEP": "asked", "CHINWAG_STORE__FOLDER": str(tmp_path / "kept")})

    async with AsyncExitStack() as stack:
        with running() as first:
            await asyncio.to_thread(first.wait, "ready")
            network, there = await stack.enter_async_context(relay(port_of(first)))
            browser = await stack.enter_async_context(chromium(wav))
            address = f"http://localhost:{there}"
            page = await stack.enter_async_context(opened(browser, address, permissions=["microphone"], **screen))
            await start(page)
            await ask(page)
            await asyncio.sleep(3.0)
            first.process.kill()
            await expect(page.get_by_role("alert")).to_contain_text("The server does not answer", timeout=PATIENCE_MS)
        with running() as second:
            network.port = port_of(second)
            await state(page, "Listening")
            await expect(page.locator(".trouble")).to_have_count(0, timeout=PATIENCE_MS)
            await expect(page.locator(".divider")).to_have_count(0)
            await expect(page.locator(".turn.user .words")).to_have_text(STORY)
            await expect(page.locator(".turn.assistant")).to_have_count(1)
            await page.get_by_label("Type a message").fill("Did I ask you for a story or for a poem? One word.")
            await page.keyboard.press("Enter")
            await expect(page.locator(".turn.assistant .words").last).to_contain_text(
                re.compile("story", re.IGNORECASE), timeout=PATIENCE_MS
            )
            await state(page, "Listening")


def port_of(server: Server) -> int:
    found = urlsplit(server.url).port
    assert found
    return found
