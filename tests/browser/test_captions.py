"""The words of an answer are marked as they are spoken."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser.chromium import chromium, opened
from browser.fake_server import fake_server, tone

pytestmark = pytest.mark.browser

# In the page, since a word is marked for half a second and the driver may look once a second.
NOTES_EACH_MARKED_WORD = """() => {
    window.marked = [];
    new MutationObserver(() => {
        const word = document.querySelector(".turn.assistant .saying")?.textContent;
        if (word && word !== marked.at(-1)) marked.push(word);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


async def test_the_word_at_the_ear_is_marked_and_at_the_end_none_is() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await page.get_by_label("Type a message").fill("Count.")
        await page.keyboard.press("Enter")
        wire = await server.session()
        await page.evaluate(NOTES_EACH_MARKED_WORD)
        await wire.begin_answer()
        await wire.say("one two three four five six", tone(3.0))
        await wire.end_answer()
        words, saying = page.locator(".turn.assistant .words"), page.locator(".turn.assistant .saying")
        await expect(saying).to_have_count(1)
        await expect(saying).to_have_count(0)
        await expect(words).to_have_text("one two three four five six")
        await expect(page.locator(".to-come")).to_have_count(0)
        assert await page.evaluate("marked") == ["one", "two", "three", "four", "five", "six"]
