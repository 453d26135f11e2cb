"""The page of a server that wants a key: it asks, says when the key is wrong, and keeps the right one."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from serving import serving

from browser.chromium import chromium, opened

pytestmark = pytest.mark.browser

KEY = "a-key-for-this-test"


async def test_the_page_asks_for_the_key_and_keeps_it() -> None:
    with serving("--llm", "embedded", env={"CHINWAG_SERVER__API_KEYS": KEY}) as server:
        server.wait("ready")
        async with chromium() as browser, opened(browser, server.url) as page:
            field, use = page.get_by_label("Key", exact=True), page.get_by_role("button", name="Use this key")
            await expect(page.get_by_text("This server wants a key")).to_be_visible()
            await expect(page.get_by_role("button", name="Start")).to_be_disabled()
            for wrong in ("a-key-of-somebody-else", "no key at all"):
                await field.fill(wrong)
                await use.click()
                await expect(page.get_by_role("alert")).to_contain_text("does not take that key")
            await field.fill(KEY)
            await use.click()
            await expect(page.get_by_text("This server wants a key")).to_be_hidden()
            await page.get_by_role("button", name="Start").click()
            await expect(page.locator("#state-words")).to_have_text("Listening")

            await page.reload()  # it goes on by itself
            await expect(page.locator("#state-words")).to_have_text("Listening")
            await expect(page.get_by_text("This server wants a key")).to_be_hidden()
            await page.get_by_role("button", name="Stop").click()

            await page.evaluate("localStorage.setItem('chinwag.key', 'a-key-that-was-changed')")
            await page.reload()
            await page.get_by_role("button", name="Start").click()
            await expect(page.get_by_role("alert")).to_contain_text("does not take that key")
            await expect(page.get_by_text("This server wants a key")).to_be_visible()
            assert await page.evaluate("localStorage.getItem('chinwag.key')") is None

            await field.fill(KEY)
            await use.click()
            await page.get_by_role("button", name="Start").click()
            await expect(page.locator("#state-words")).to_have_text("Listening")
            await page.evaluate("localStorage.setItem('chinwag.key', 'a-key-that-was-changed')")
            await page.reload()  # nor does it take a conversation back with it
            await expect(page.get_by_role("alert")).to_contain_text("does not take that key")
