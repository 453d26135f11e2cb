"""No sound is lost on a slow machine: the page hears and speaks at once, its processor throttled four times.

CHINWAG_SMOOTH_S=300 python -m pytest tests/browser/test_smooth.py -s    # five minutes, and the figures
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import numpy as np
import pytest
from playwright.async_api import expect

from browser.chromium import chromium, opened
from browser.fake_server import Wire, fake_server, tone

SECONDS = float(os.environ.get("CHINWAG_SMOOTH_S", "8"))
THROTTLED = 4
LEAD_S = 0.4
"""The real server sends an answer so far ahead of the ear."""

WORDS = " and so it went on with one word after the other until"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(SECONDS + 120)]


async def tell(wire: Wire, seconds: float) -> int:
    """An answer at the pace of speech; how many samples it has."""
    await wire.begin_answer()
    began, sent = time.monotonic(), 0.0
    while sent < seconds:
        await wire.send(
            "response.output_audio_transcript.delta", item_id="item_a", delta=WORDS if sent % 1 == 0 else ""
        )
        await wire.send_audio(tone(0.25, 440))
        sent += 0.25
        await asyncio.sleep(max(0.0, began + sent - LEAD_S - time.monotonic()))
    await wire.end_answer()
    return round(sent * 24_000)


async def test_nothing_is_lost_while_the_processor_is_throttled() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLED})
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#state-words")).to_have_text("Listening")
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) > 50)
        before, frames = await page.evaluate("({ ...__chinwag.counted(), at: performance.now() })"), len(wire.frames)
        samples = await tell(wire, SECONDS)
        after, heard = await page.evaluate("({ ...__chinwag.counted(), at: performance.now() })"), len(wire.frames)
        whole = samples / 24
        async with asyncio.timeout(30):
            await wire.until(lambda: any(event["played_ms"] >= whole for event in wire.of("chinwag.playback")))
        await expect(page.locator("#state-words")).to_have_text("Listening")
        after["underruns"] = (await page.evaluate("__chinwag.counted()"))["underruns"]

        seconds = (after["at"] - before["at"]) / 1000
        figures: dict[str, Any] = {
            "seconds": round(seconds, 1),
            "throttled": THROTTLED,
            "frames due": round(seconds * 50),
            "frames captured": after["frames"] - before["frames"],
            "frames at the server": heard - frames,
            "samples lost at capture": after["lost"] - before["lost"],
            "underruns at playback": after["underruns"],
            "samples played of": [samples, round(wire.of("chinwag.playback")[-1]["played_ms"] * 24)],
        }
        print(json.dumps(figures))
        assert after["lost"] == 0
        assert after["underruns"] == 0
        # what is on its way when the figures are taken, and the two clocks of a fake sound card
        allowed = max(15, 0.005 * seconds * 50)
        assert abs(figures["frames captured"] - figures["frames due"]) <= allowed
        assert abs(figures["frames at the server"] - figures["frames due"]) <= allowed


async def test_the_counters_count() -> None:
    """A gap in the middle of an answer, and a microphone that is away for a while, are seen."""
    init = """
      const connect = AudioNode.prototype.connect;
      AudioNode.prototype.connect = function (...to) {
        if (to[0] instanceof AudioWorkletNode) window.source = [this, to[0]];
        return connect.apply(this, to);
      };"""
    context: Any = {"init": init, "bypass_csp": True}
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, **context) as page:
        await page.get_by_role("button", name="Start").click()
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) > 20)
        assert await page.evaluate("__chinwag.counted().lost") == 0
        await page.evaluate("source[0].disconnect(source[1])")
        await page.wait_for_timeout(500)
        await page.evaluate("source[0].connect(source[1])")
        await page.wait_for_function("__chinwag.counted().lost > 6000")
        await wire.begin_answer()
        await wire.say("One", tone(0.3))
        await wire.until(lambda: any(event["played_ms"] == 300 for event in wire.of("chinwag.playback")))
        assert await page.evaluate("__chinwag.counted().underruns") == 0
        await wire.say(" two", tone(0.3))
        await wire.end_answer()
        await wire.until(lambda: any(event["played_ms"] == 600 for event in wire.of("chinwag.playback")))
        assert await page.evaluate("__chinwag.counted().underruns") == 1
        assert np.abs(wire.heard).max() > 0
