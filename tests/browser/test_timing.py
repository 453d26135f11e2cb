"""Where the time goes: a picture of each answer, and a panel over all of them that is saved as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import Wire, fake_server, tone

pytestmark = pytest.mark.browser


async def answer(page: Page, wire: Wire, number: int) -> None:
    """A spoken turn and its answer, timed."""
    item, response = f"item_{number}", f"resp_{number}"
    await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id=f"u{number}")
    await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id=f"u{number}")
    await wire.begin_answer(item, response)
    stages = {"turn_decided": 100.0 * number, "first_token": 200.0 * number, "first_audio": 300.0 * number}
    await wire.send("chinwag.trace", response_id=response, item_id=f"u{number}", speech_end_ms=900, stages_ms=stages)
    await wire.say("It is noon.", tone(0.2), item)
    await wire.end_answer(response)
    await expect(page.locator(".turn.assistant .time summary").nth(number - 1)).to_contain_text("after ")
    heard = {"item_id": item, "played_ms": 200}
    await wire.until(lambda: any(event.items() >= heard.items() for event in wire.of("chinwag.playback")))


async def test_each_answer_can_be_opened_and_all_of_them_are_summed_up_and_saved(tmp_path: Path) -> None:
    async with (
        fake_server() as server,
        chromium() as browser,
        opened(browser, server.url, accept_downloads=True) as page,
    ):
        await page.get_by_role("button", name="Timing").click()
        await expect(page.locator("#timing-about")).to_contain_text("Nothing was answered yet")
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Start", exact=True).click()
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) > 60)
        for number in (1, 2, 3):
            await answer(page, wire, number)
        first = page.locator(".turn.assistant .time").first
        await first.locator("summary").click()
        await expect(first.locator("dt")).to_have_text(
            ["Your turn was over", "First word of the answer", "First sound sent", "First sound from the speaker"]
        )
        await page.get_by_role("button", name="Timing").click()
        await expect(page.locator("#timing-about")).to_contain_text("3 answers of this conversation")
        row = page.locator("#timing-rows tr", has_text="First word of the answer")
        await expect(row.locator("td")).to_have_text(["0.40 s", "0.58 s"])
        async with page.expect_download() as downloading:
            await page.get_by_role("button", name="Save as JSON").click()
        download = await downloading.value
        await download.save_as(tmp_path / "timing.json")
        told = read(tmp_path / "timing.json")
        assert [turn["stages"]["first_token"] for turn in told["turns"]] == [200, 400, 600]
        (of_words,) = [one for one in told["summary"] if one["stage"] == "first_token"]
        assert of_words == {"stage": "first_token", "turns": 3, "p50": 400, "p95": 580}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
