"""The panel of settings: each counts at once, is kept in the browser, and is asked of every new session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect
from serving import Server

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server, tone
from browser.screens import EACH_SCREEN, Screen

pytestmark = pytest.mark.browser

ASSISTANTS = [
    {"name": "companion", "title": "Companion", "summary": "Talks about anything."},
    {"name": "interviewer", "title": "Interviewer", "summary": "Practises interviews with you."},
]
ENGINES = [
    {"task": "stt", "name": "moonshine", "chosen": True, "languages": ["en"], "voices": None, "models": []},
    {"task": "tts", "name": "kokoro", "chosen": True, "languages": ["en", "fr"], "voices": {"en": ["af_heart"]},
     "models": []},
]  # fmt: skip


@asynccontextmanager
async def page_of(**context: Any) -> AsyncIterator[tuple[FakeServer, Page]]:
    async with fake_server() as server, chromium() as browser:
        server.assistants, server.engines = ASSISTANTS, ENGINES
        async with opened(browser, server.url, **context) as page:
            yield server, page


async def settled(page: Page, wire: Wire, number: int, kind: str = "chinwag.session.update") -> dict[str, Any]:
    """The object of that many updates of a kind."""
    found: dict[str, Any] = (await wire.expect(kind, number))["session"]
    return found


async def begin(server: FakeServer, page: Page, number: int = 1) -> Wire:
    await page.get_by_role("button", name="Start", exact=True).click()
    return await server.session(number)


@EACH_SCREEN
async def test_each_setting_is_sent_at_once_and_again_in_the_next_session(screen: Screen) -> None:
    async with page_of(**screen) as (server, page):
        wire = await begin(server, page)
        await page.get_by_role("button", name="Settings").click()
        assert await settled(page, wire, 1) == {}, "what is it like by itself?"
        own = {"assistant": "companion", "language": "auto", "interruption": "words", "patience": 0}
        await wire.send("chinwag.session.updated", session=own)
        described = {"instructions": "Be brief.", "audio": {"output": {"voice": "af_heart", "speed": 1.0}, "input": {}}}
        await wire.send("session.updated", session=described)
        await page.get_by_label("Patience").fill("0.5")
        assert await settled(page, wire, 2) == {"patience": 0.5}
        await expect(page.locator("#patience-words")).to_have_text("Patient")
        await page.get_by_role("radio", name="Any speech").check()
        assert await settled(page, wire, 3) == {"interruption": "speech"}
        await page.locator("#setting-assistant").select_option("Interviewer")
        assert await settled(page, wire, 4) == {"assistant": "interviewer"}
        await expect(page.locator("#assistant-summary")).to_have_text("Practises interviews with you.")
        await page.get_by_label("Language").select_option("French")
        assert await settled(page, wire, 5) == {"language": "fr"}
        await page.get_by_label("Speed").fill("1.2")
        updates = wire.of("session.update")
        assert updates[-1]["session"] == {"type": "realtime", "audio": {"output": {"speed": 1.2}}}
        await page.get_by_label("Name", exact=True).fill("Robin")
        await page.get_by_label("Name", exact=True).press("Tab")
        await wire.until(
            lambda: any(str(one["session"].get("instructions", "")).startswith("Your name is Robin.")
                        for one in wire.of("session.update"))
        )  # fmt: skip
        await page.get_by_label("What it is to be like").fill("Speak in rhymes.")
        await page.get_by_label("What it is to be like").press("Tab")
        await wire.until(
            lambda: (
                wire.of("session.update")[-1]["session"].get("instructions") == "Your name is Robin. Speak in rhymes."
            )
        )
        await page.locator("#setting-voice").select_option("af_heart")
        await wire.until(
            lambda: wire.of("session.update")[-1]["session"].get("audio") == {"output": {"voice": "af_heart"}}
        )
        await page.get_by_role("radio", name="Very large").check()
        size = "getComputedStyle(document.documentElement).getPropertyValue('--captions')"
        assert await page.evaluate(size) == "2"
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Stop").click()
        await page.reload()
        assert await page.evaluate(size) == "2"
        again = await begin(server, page, 2)
        await again.until(lambda: len(again.of("chinwag.session.update")) >= 5)
        asked: dict[str, Any] = {}
        for event in again.of("chinwag.session.update"):
            asked |= event["session"]
        assert asked == {"assistant": "interviewer", "language": "fr", "interruption": "speech", "patience": 0.5}
        kept = [event["session"].get("audio", {}).get("output", {}) for event in again.of("session.update")]
        assert {"voice": "af_heart"} in kept
        assert {"speed": 1.2} in kept


async def test_the_transport_is_that_of_the_next_start_and_all_can_be_taken_back() -> None:
    async with page_of() as (server, page):
        await page.get_by_role("button", name="Settings").click()
        await page.get_by_role("radio", name="WebRTC").check()
        await page.get_by_role("radio", name="Small").check()
        await page.get_by_role("button", name="Close").click()
        async with page.expect_request("**/v1/realtime/ice_servers"):
            await page.get_by_role("button", name="Start", exact=True).click()
        await server.session()  # which has none: the WebSocket goes everywhere
        await page.get_by_role("button", name="Settings").click()
        await page.get_by_role("button", name="Back to how it was").click()
        await expect(page.locator("#settings-words")).to_have_text("All is as the server has it.")
        await expect(page.get_by_role("radio", name="WebSocket")).to_be_checked()
        await expect(page.get_by_role("radio", name="Normal")).to_be_checked()


@EACH_SCREEN
async def test_who_answers_is_chosen_on_the_welcome_and_in_the_panel_alike(screen: Screen) -> None:
    async with page_of(**screen) as (server, page):
        await expect(page.get_by_role("radio", name="Companion")).to_be_checked()  # the server's own
        await page.get_by_role("radio", name="Interviewer").check()
        await expect(page.locator("#voice-answer")).to_have_text("Interviewer")
        await page.reload()
        await expect(page.get_by_role("radio", name="Interviewer")).to_be_checked()
        wire = await begin(server, page)
        await wire.until(
            lambda: {"assistant": "interviewer"} in [one["session"] for one in wire.of("chinwag.session.update")]
        )
        await page.get_by_role("button", name="Settings").click()
        await page.locator("#setting-assistant").select_option("As the server has it")
        await page.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("radio", name="Companion")).to_be_checked()
        await wire.begin_answer()
        await wire.say("Good day.", tone(0.2))
        await expect(page.get_by_role("radio", name="Companion")).to_be_hidden()
        await expect(page.locator(".turn.assistant .mark")).to_be_visible()


async def test_what_is_refused_is_told_and_taken_back() -> None:
    async with page_of() as (server, page):
        wire = await begin(server, page)
        await page.get_by_role("button", name="Settings").click()
        await page.get_by_label("Language").select_option("French")
        event = await wire.expect("chinwag.session.update", 2)
        error = {"code": "invalid_value", "message": "Moonshine hears English only.", "event_id": event["event_id"]}
        await wire.send("error", error=error)
        await expect(page.locator("#settings-trouble")).to_contain_text("Moonshine hears English only.")
        await expect(page.get_by_label("Language")).to_have_value("")


@pytest.mark.timeout(300)  # loading the engines counts
async def test_another_assistant_answers_for_real(server: Server) -> None:
    async with chromium() as browser, opened(browser, server.url) as page:
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await page.get_by_role("button", name="Settings").click()
        await page.locator("#setting-assistant").select_option("Interviewer")
        await page.get_by_role("button", name="Close").click()
        said = page.locator(".turn.assistant .words")
        await expect(said).to_contain_text("What is this interview for?", timeout=20_000)
