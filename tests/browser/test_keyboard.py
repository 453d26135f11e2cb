"""Everything by keyboard alone: Tab comes to each control and one sees where it is, and each does its work by a key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server, tone
from browser.screens import EACH_SCREEN, Screen
from browser.test_conversations import kept
from browser.test_engines import ENGINES
from browser.test_settings import ASSISTANTS
from browser.test_tools import ASKED, call

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PANELS = ("Conversations", "Engines", "Settings", "Sound", "Timing")

# What a control is called here; the radios of a group are one, as they have one place in the order of Tab.
NAMED = """
  const words = (one) => `${one.localName} ${one.textContent.trim()}`;
  window.named = (one) => (one.type === "radio" ? `radio ${one.name}` : one.id || words(one));
  window.controls = () => {
    const root = document.querySelector("dialog[open]") ?? document.body;
    const all = [...root.querySelectorAll("button, input, select, textarea, summary, a[href], [tabindex='0']")];
    const there = all.filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled);
    return [...new Set(there.map(named))];
  };
  window.focused = () => {
    const one = document.activeElement;
    const shown = [one, one.nextElementSibling, one.closest("label")].filter(Boolean);
    return { name: named(one), seen: shown.some((part) => getComputedStyle(part).outlineStyle !== "none") };
  };"""


@asynccontextmanager
async def page_of(screen: Screen) -> AsyncIterator[tuple[FakeServer, Page]]:
    async with fake_server() as server, chromium() as browser:
        server.assistants, server.engines = ASSISTANTS, ENGINES
        server.conversations = [
            kept(2, "About giraffes", "How tall is a giraffe?", "About five metres —"),
            kept(1, "Dinner", "What shall we eat?", "Soup."),
        ]
        context: dict[str, Any] = {**screen, "init": NAMED, "accept_downloads": True}
        async with opened(browser, server.url, **context) as page:
            await expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
            await expect(page.get_by_role("button", name="Engines")).to_be_visible()
            await expect(page.locator("#who")).to_be_visible()
            yield server, page


async def walk(page: Page, where: str) -> None:
    """Tab comes to each control that can be seen, and one sees where it is."""
    wanted: list[str] = await page.evaluate("controls()")
    found, unseen = set(), set()
    for _ in range(len(wanted) + 2):
        await page.keyboard.press("Tab")
        focus = await page.evaluate("focused()")
        found.add(focus["name"])
        if focus["name"] in wanted and not focus["seen"]:
            unseen.add(focus["name"])
    assert len(wanted) >= 1, where
    assert set(wanted) <= found, (where, set(wanted) - found)
    assert not unseen, (where, unseen)


async def to(page: Page, control: Locator) -> None:
    """Press Tab until it is focused."""
    for _ in range(60):
        if await control.evaluate("(one) => one === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {control}")


async def press(page: Page, name: str, key: str = "Enter") -> None:
    await to(page, page.get_by_role("button", name=name, exact=True))
    await page.keyboard.press(key)


async def leave(page: Page, opener: str) -> None:
    """Escape closes a panel, and the focus is back where it was."""
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.get_by_role("button", name=opener, exact=True)).to_be_focused()


async def say(page: Page, wire: Wire) -> None:
    """A turn of each side, timed, with calls of tools and a trouble."""
    await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="u")
    await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u")
    await wire.send("conversation.item.input_audio_transcription.completed", item_id="u", transcript="What time is it?")
    await wire.send("conversation.item.added", item=call(output="Noon."))
    await wire.send("conversation.item.added", item=ASKED)
    await wire.begin_answer()
    stages = {"turn_decided": 100.0, "first_audio": 300.0}
    await wire.send("chinwag.trace", response_id="resp_a", item_id="u", speech_end_ms=900, stages_ms=stages)
    await wire.say("It is noon.", tone(0.2))
    await wire.end_answer()
    await expect(page.locator(".turn.assistant .time summary")).to_be_visible()
    await wire.send("error", error={"type": "server_error", "code": "x", "message": "The voice failed."})
    await expect(page.get_by_role("alert")).to_contain_text("The voice failed.")


@EACH_SCREEN
async def test_tab_comes_to_everything_and_is_seen(screen: Screen) -> None:
    async with page_of(screen) as (server, page):
        await walk(page, "at rest")
        await press(page, "Start")
        wire = await server.session()
        await say(page, wire)
        await walk(page, "in a talk")
        for panel in PANELS:
            await press(page, panel)
            await expect(page.locator("dialog[open]")).to_be_visible()
            if panel == "Conversations":
                await to(page, page.locator("#conversations-list summary").first)
                await page.keyboard.press("Enter")
            if panel == "Engines":
                await expect(page.locator("#tts-engine")).not_to_have_value("")
            if panel == "Settings":
                await expect(page.locator("#setting-assistant option")).to_have_count(len(ASSISTANTS) + 1)
            await walk(page, panel)
            await leave(page, panel)


@EACH_SCREEN
async def test_a_whole_conversation(screen: Screen) -> None:
    async with page_of(screen) as (server, page):
        await to(page, page.get_by_role("radio", name="Companion"))
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_role("radio", name="Interviewer")).to_be_checked()
        await press(page, "Sound")
        await to(page, page.get_by_role("radio", name="Hands-free"))
        await page.keyboard.press("ArrowDown")
        await leave(page, "Sound")
        await press(page, "Start")
        wire = await server.session()
        await expect(page.locator("#state-words")).to_have_text("Ready: hold to talk")

        await to(page, page.locator("#talk"))
        await page.keyboard.down("Space")
        await wire.until(lambda: len(wire.frames) > 40)  # some are from before the press
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        await page.keyboard.up("Space")
        await wire.expect("input_audio_buffer.commit")
        await say(page, wire)

        await press(page, "Allow", "Space")
        leave_given = (await wire.expect("conversation.item.create"))["item"]
        assert leave_given["approve"] is True
        for summary in (".turn.assistant .time summary", "#latency-words"):
            await to(page, page.locator(summary))
            await page.keyboard.press("Enter")
            await expect(page.locator(summary).locator("..")).to_have_attribute("open", "")
        await to(page, page.locator(".trouble button"))
        await page.keyboard.press("Enter")
        await expect(page.locator(".trouble")).to_have_count(0)
        await to(page, page.get_by_label("Type a message"))
        await page.keyboard.type("And in Rome?")
        await page.keyboard.press("Enter")
        assert (await wire.expect("conversation.item.create", 2))["item"]["content"][0]["text"] == "And in Rome?"
        await press(page, "Timing")
        await to(page, page.get_by_role("button", name="Save as CSV"))
        async with page.expect_download():
            await page.keyboard.press("Enter")
        await leave(page, "Timing")
        await press(page, "Stop")
        await expect(page.locator("#state-words")).to_have_text("Ready")


async def test_every_setting() -> None:
    async with page_of({}) as (_, page):
        await press(page, "Settings")
        keys = {
            "assistant": ["ArrowDown", "ArrowDown"], "speed": ["ArrowRight"], "language": ["ArrowDown"],
            "patience": ["ArrowRight", "ArrowRight"],
        }  # fmt: skip
        for field in ("assistant", "name", "instructions", "speed", "language", "patience"):
            await to(page, page.locator(f"#setting-{field}"))
            for key in keys.get(field, []):
                await page.keyboard.press(key)
            if field in ("name", "instructions"):
                await page.keyboard.type("Robin")
        await page.keyboard.press("Tab")
        await to(page, page.locator("#setting-voice"))
        await page.keyboard.press("ArrowDown")
        for field in ("interruption", "captions", "transport"):
            group = page.locator(f"#setting-{field} input")
            for _ in range(60):
                await page.keyboard.press("Tab")
                if await page.evaluate("document.activeElement.name") == f"setting-{field}":
                    break
            await page.keyboard.press("ArrowRight")
            assert await group.count() >= 2
        found: dict[str, Any] = json.loads(await page.evaluate("localStorage.getItem('chinwag.settings')"))
        assert found == {
            "assistant": "interviewer", "name": "Robin", "instructions": "Robin", "voice": "heart", "speed": 1.05,
            "language": "auto", "patience": 0.5, "interruption": found["interruption"], "captions": 1.4,
            "transport": "webrtc",
        }  # fmt: skip
        assert found["interruption"] in ("words", "speech", "off")
        await to(page, page.get_by_role("button", name="Back to how it was"))
        await page.keyboard.press("Enter")
        await expect(page.locator("#setting-name")).to_have_value("")
        await leave(page, "Settings")


@EACH_SCREEN
async def test_the_panels_of_engines_and_conversations(screen: Screen, tmp_path: Path) -> None:
    async with page_of(screen) as (server, page):
        await press(page, "Start")
        wire = await server.session()
        await press(page, "Engines")
        await to(page, page.locator("#tts-engine"))
        await page.keyboard.press("ArrowDown")
        await press(page, "Use these")
        assert (await wire.expect("chinwag.engines.update"))["engines"]["tts"]["engine"] == "kokoro"
        await leave(page, "Engines")

        await press(page, "Conversations")
        rows = page.locator("#conversations-list > li")
        await to(page, page.locator("#conversations-query"))
        await page.keyboard.type("giraffe")
        await expect(rows).to_have_count(1)
        await to(page, rows.locator("summary"))
        await page.keyboard.press("Enter")
        await press(page, "Rename")
        await page.keyboard.type("Tall animals")
        await page.keyboard.press("Enter")
        await expect(page.locator("#conversations-words")).to_have_text("It is called “Tall animals” now.")
        await to(page, rows.locator("summary"))
        await page.keyboard.press("Enter")
        async with page.expect_download() as saving:
            await press(page, "Save as Text")
        assert (await saving.value).suggested_filename == "Tall animals.md"
        await press(page, "Delete")
        await expect(page.get_by_role("button", name="Keep", exact=True)).to_be_focused()
        await page.keyboard.press("Enter")
        await to(page, page.get_by_label("Keep what is said on this page"))
        await page.keyboard.press("Space")
        await expect(page.get_by_label("Keep what is said on this page")).not_to_be_checked()
        await to(page, page.get_by_role("button", name="Open Tall animals"))
        await page.keyboard.press("Enter")
        await expect(page.locator(".turn.user .words")).to_have_text("How tall is a giraffe?")
