"""The words of an answer are marked as they are spoken."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser.chromium import chromium, opened
from browser.fake_server import fake_server, tone

pytestmark = pytest.mark.browser


async def test_the_word_at_the_ear_is_marked_and_at_the_end_none_is() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await page.get_by_label("Type a message").fill("Count.")
        await page.keyboard.press("Enter")
        wire = await server.session()
        await wire.begin_answer()
        await wire.say("one two three four five six", tone(3.0))
        await wire.end_answer()
        words, saying = page.locator(".turn.assistant .words"), page.locator(".turn.assistant .saying")
        for word in ("two", "four", "six"):
            await expect(saying).to_have_text(word)
        await expect(saying).to_have_count(0)
        await expect(words).to_have_text("one two three four five six")
        await expect(page.locator(".to-come")).to_have_count(0)
