"""The panel of conversations: found, opened to go on, renamed, taken away, deleted, and told honestly what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server

pytestmark = pytest.mark.browser


def kept(number: int, title: str, *words: str) -> dict[str, Any]:
    items = [
        {
            "id": f"item_{number}_{place}", "type": "message", "role": ("user", "assistant")[place % 2],
            "text": said.removesuffix(" —"), "spoken": True, "whole": not said.endswith(" —"), "created_at": 1.0,
        }
        for place, said in enumerate(words)
    ]  # fmt: skip
    return {
        "id": f"conv_{number:020x}", "object": "conversation", "title": title, "language": "en",
        "created_at": 1_700_000_000, "updated_at": 1_700_000_000, "audio_seconds": 0.0, "items": items,
    }  # fmt: skip


@asynccontextmanager
async def panel() -> AsyncIterator[tuple[FakeServer, Page]]:
    async with fake_server() as server, chromium() as browser:
        server.conversations = [
            kept(3, "About giraffes", "How tall is a giraffe?", "About five metres —"),
            kept(2, "Dinner", "What shall we eat?", "Soup."),
            kept(1, "An old one", "Hello.", "Hi."),
        ]
        async with opened(browser, server.url, accept_downloads=True) as page:
            await page.get_by_role("button", name="Conversations").click()
            await expect(rows(page)).to_have_count(2)
            yield server, page


def rows(page: Page) -> Locator:
    return page.locator("#conversations-list > li")


async def more(page: Page, number: int, action: str) -> None:
    row = rows(page).nth(number)
    await row.locator("summary").click()
    await row.get_by_role("button", name=action, exact=True).click()


async def begins(server: FakeServer, page: Page, number: int = 1) -> Wire:
    await page.get_by_label("Type a message").fill("Go on.")
    await page.keyboard.press("Enter")
    return await server.session(number)


async def test_they_are_listed_searched_renamed_saved_and_deleted(tmp_path: Path) -> None:
    async with panel() as (server, page):
        await expect(page.locator("#conversations-about")).to_contain_text("Kept on the server: words, and no sound.")
        await page.get_by_role("button", name="Show more").click()
        await expect(rows(page)).to_have_count(3)
        await page.get_by_label("Search what was said").fill("soup")
        await expect(rows(page)).to_have_count(1)
        await more(page, 0, "Rename")
        field = page.get_by_label("New name of Dinner")
        await expect(field).to_be_focused()
        await field.fill("Soup for two")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Open Soup for two")).to_be_visible()
        await expect(page.locator("#conversations-words")).to_have_text("It is called “Soup for two” now.")
        async with page.expect_download() as downloading:
            await more(page, 0, "Save as Text")
        download = await downloading.value
        assert download.suggested_filename == "Soup for two.md"
        await download.save_as(tmp_path / "saved.md")
        assert read(tmp_path / "saved.md") == "# Soup for two"
        await rows(page).nth(0).get_by_role("button", name="Delete", exact=True).click()
        asked = page.get_by_role("group", name="Delete “Soup for two” for good?")
        await expect(asked.get_by_role("button", name="Keep")).to_be_focused()
        assert not any(method == "DELETE" for method, _ in server.asked), "it was only asked"
        await asked.get_by_role("button", name="Delete").click()
        await expect(page.locator("#conversations-words")).to_contain_text("It is deleted.")
        await page.get_by_label("Search what was said").fill("")
        await page.get_by_role("button", name="Delete all").click()
        await page.locator("#conversations-all").get_by_role("button", name="Delete").click()
        await expect(page.locator("#conversations-words")).to_have_text("All of them are deleted.")
        assert server.conversations == []


async def test_one_is_opened_read_and_gone_on_with_and_taken_over_elsewhere() -> None:
    async with panel() as (server, page):
        await page.get_by_role("button", name="Open About giraffes").click()
        await expect(page.locator("#conversations-panel")).to_be_hidden()
        turns = page.locator("#turns > .turn .words")
        await expect(turns).to_have_text(["How tall is a giraffe?", "About five metres —"])
        await expect(page.locator(".divider")).to_contain_text("Press Start or type to go on")
        assert not server.wires, "it is only read"
        wire = await begins(server, page)
        assert wire.conversation == server.conversations[0]["id"]
        told = {"id": wire.conversation, "title": "About giraffes", "kept": True}
        await wire.send("chinwag.conversation", conversation=told)
        for item in server.conversations[0]["items"]:
            kind = "input_audio" if item["role"] == "user" else "output_audio"
            message = {"id": item["id"], "type": "message", "role": item["role"],
                       "content": [{"type": kind, "transcript": item["text"]}]}  # fmt: skip
            await wire.send("conversation.item.added", item=message)
        await expect(turns).to_have_text(["How tall is a giraffe?", "About five metres —", "Go on."])
        await expect(page.locator("#kept")).to_have_text("Kept on the server")
        await wire.send("error", error={"code": "conversation_taken_over", "message": "Opened elsewhere."})
        await expect(page.locator("#troubles")).to_contain_text("goes on elsewhere")
        await page.wait_for_timeout(1500)
        assert len(server.wires) == 1, "it does not take it back"


async def test_a_lost_connection_goes_on_with_the_same_and_stop_ends_it() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        wire = await begins(server, page)
        assert wire.conversation == "new"
        told = {"id": "conv_" + "5" * 20, "title": "", "kept": True}
        await wire.send("chinwag.conversation", conversation=told)
        await wire.send("chinwag.conversation", conversation={**told, "title": "Go on"})
        await expect(page.locator("#kept")).to_have_text("Kept on the server")
        await wire.close()
        again = await server.session(2)
        assert again.conversation == told["id"]
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("#kept")).to_have_text("")
        assert (await begins(server, page, 3)).conversation == "new"


async def test_who_does_not_want_it_kept_says_so_once() -> None:
    async with panel() as (server, page):
        await page.get_by_label("Keep what is said on this page").uncheck()
        await expect(page.locator("#conversations-about")).to_have_text("Nothing of what you say on this page is kept.")
        await page.reload()
        wire = await begins(server, page)
        assert wire.conversation is None
        await wire.send("chinwag.conversation", conversation={"id": "conv_x", "title": "", "kept": False})
        await expect(page.locator("#kept")).to_have_text("Not kept")
        server.keep, server.conversations = "off", []
        await page.get_by_role("button", name="Conversations").click()
        await expect(page.locator("#conversations-about")).to_have_text("This server keeps nothing of what is said.")
        await expect(page.get_by_label("Keep what is said on this page")).to_be_disabled()


def read(path: Path) -> str:
    return path.read_text("utf-8")
