"""Microphones and loudspeakers that are chosen, unplugged, taken by a call, and come back; a screen that stays on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server, tone
from browser.screens import EACH_SCREEN, Screen
from browser.sound import loudness, pitch, record, recorded

pytestmark = pytest.mark.browser

DEVICES = Path(__file__).with_name("devices.js").read_text("utf-8")
"""Devices that a test can plug in and out: each microphone sounds a tone of its own."""

DESK, HEADSET = 500, 900
"""Hertz of the two microphones."""


@asynccontextmanager
async def talking(server: FakeServer, *, init: str = "", **context: Any) -> AsyncIterator[tuple[Page, Wire]]:
    """A page in conversation, with a desk's microphone and loudspeaker and a headset."""
    async with (
        chromium() as browser,
        opened(browser, server.url, init=DEVICES + init, bypass_csp=True, **context) as page,
    ):
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#state-words")).to_have_text("Listening")
        yield page, await server.session()


async def hears(wire: Wire, hertz: float) -> None:
    """Wait until the server hears that microphone."""

    def sounds() -> bool:
        new = np.frombuffer(b"".join(wire.frames[-15:]), "<i2").astype(np.float32) / 32768.0
        return len(wire.frames) > 20 and np.abs(new).max() > 0.01 and abs(pitch(new) - hertz) < 20

    try:
        await wire.until(sounds)
    except TimeoutError:
        new = np.frombuffer(b"".join(wire.frames[-15:]), "<i2").astype(np.float32) / 32768.0
        raise AssertionError(f"not {hertz} Hz but {pitch(new)}, {np.abs(new).max()} loud") from None


async def choose(page: Page, field: str, label: str) -> None:
    await page.get_by_role("button", name="Sound").click()
    await page.get_by_label(field).select_option(label=label)
    await page.get_by_role("button", name="Close").click()


async def plugged(page: Page, label: str, there: bool) -> None:
    await page.evaluate("([label, there]) => plug(label, there)", [label, there])


async def test_a_microphone_is_chosen_in_the_middle_of_a_conversation_and_remembered() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await choose(page, "Hears by", "Headset")
        await hears(wire, HEADSET)
        assert len(server.wires) == 1
        assert await page.evaluate("stopped()") == ["desk"]  # and the other one is given back
        kept = json.loads(await page.evaluate("localStorage.getItem('chinwag.devices')"))
        assert kept["audioinput"] == {"id": "headset", "label": "Headset"}
        await page.reload()
        await page.get_by_role("button", name="Start").click()
        await hears(await server.session(2), HEADSET)
        await page.wait_for_timeout(300)
        assert await page.evaluate("asked.length") == 1  # it was the first that was asked for


@EACH_SCREEN
async def test_the_chosen_one_is_unplugged_and_comes_back(screen: Screen) -> None:
    async with fake_server() as server, talking(server, **screen) as (page, wire):
        await choose(page, "Hears by", "Headset")
        await hears(wire, HEADSET)
        await page.get_by_role("button", name="Mute").click()
        await page.get_by_role("button", name="Unmute").click()
        await plugged(page, "Headset", False)
        notice = page.get_by_role("alert")
        await expect(notice).to_contain_text("“Headset” is not there")
        await expect(notice).to_contain_text("The system's own microphone is used meanwhile.")
        await hears(wire, DESK)
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await page.get_by_role("button", name="Sound").click()
        await expect(page.get_by_label("Hears by")).to_contain_text("Headset (away)")
        await page.get_by_role("button", name="Close").first.click()
        await plugged(page, "Headset", True)
        await hears(wire, HEADSET)
        await expect(page.locator(".trouble")).to_have_count(0)
        assert len(server.wires) == 1


async def test_a_muted_microphone_stays_muted_when_it_is_another() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.get_by_role("button", name="Mute").click()
        await choose(page, "Hears by", "Headset")
        await page.wait_for_function("stopped().length === 1")
        before = len(wire.frames) + 25
        await wire.until(lambda: len(wire.frames) > before + 25)
        assert np.abs(wire.heard[before * 480 :]).max() == 0
        await page.get_by_role("button", name="Unmute").click()
        await hears(wire, HEADSET)


@EACH_SCREEN
async def test_all_are_unplugged_and_one_comes_back_by_itself(screen: Screen) -> None:
    async with fake_server() as server, talking(server, **screen) as (page, wire):
        await hears(wire, DESK)
        await plugged(page, "Headset", False)
        await plugged(page, "Desk", False)
        await expect(page.get_by_role("alert")).to_contain_text("The microphone is gone")
        await expect(page.locator("#state-words")).to_have_text("Ready for what you type")
        await page.get_by_label("Type a message").fill("Hello")
        await page.keyboard.press("Enter")
        await wire.expect("response.create")
        await plugged(page, "Headset", True)
        await hears(wire, HEADSET)
        await expect(page.locator(".trouble")).to_have_count(0)
        assert len(server.wires) == 1


async def test_the_systems_own_becomes_another() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.evaluate("makeUsual('Headset')")
        await hears(wire, HEADSET)
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_the_permission_is_taken_back() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.evaluate("forbid()")
        await expect(page.get_by_role("alert")).to_contain_text("The microphone is not allowed")
        assert wire.closed is None


async def test_a_call_takes_the_microphone_and_gives_it_back() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.evaluate("call(true)")
        trouble = page.get_by_role("alert")
        await expect(trouble).to_contain_text("Your system has muted the microphone")
        await page.evaluate("call(false)")
        await expect(page.locator(".trouble")).to_have_count(0)
        await hears(wire, DESK)
        assert await page.evaluate("asked.length") == 1


async def test_a_call_that_leaves_it_muted_is_ended_by_a_button_or_by_coming_back() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        for ends in ("button", "page"):
            await hears(wire, DESK)
            await page.evaluate("call(true)")
            await expect(page.get_by_role("alert")).to_contain_text("Your system has muted the microphone")
            if ends == "button":
                await page.get_by_role("button", name="Use the microphone again").click()
            else:
                await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await expect(page.locator(".trouble")).to_have_count(0)
        await hears(wire, DESK)
        assert await page.evaluate("asked.length") == 3
        assert len(server.wires) == 1


async def test_a_context_that_hears_nothing_any_more_is_made_anew() -> None:
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.evaluate("hang()")
        before = len(wire.frames)
        await wire.until(lambda: len(wire.frames) > before + 100)
        assert await page.evaluate("asked.length") == 2


async def test_ios_interrupts_the_sound_and_it_goes_on() -> None:
    """Behind "interrupted" a context is suspended until it is asked to go on."""
    async with fake_server() as server, talking(server) as (page, wire):
        await hears(wire, DESK)
        await page.wait_for_function("window.__chinwag.output?.context.state === 'running'")
        await page.evaluate("interrupt()")
        await expect(page.get_by_role("alert")).to_contain_text("The browser has paused all sound")
        await page.evaluate("interrupt(false)")
        await expect(page.locator(".trouble")).to_have_count(0)
        await page.wait_for_function("window.__chinwag.output.context.state === 'running'")
        before = len(wire.frames)
        await wire.until(lambda: len(wire.frames) > before + 20)


async def test_the_loudspeaker_is_chosen_unplugged_and_comes_back() -> None:
    async with fake_server() as server, talking(server) as (page, _wire):
        await page.wait_for_function("window.__chinwag.output !== undefined")
        await choose(page, "Plays on", "Headset")
        await page.wait_for_function("sinks.at(-1) === 'headset'")
        await plugged(page, "Headset", False)
        await expect(page.get_by_role("alert").first).to_contain_text("“Headset” is not there")
        await page.wait_for_function("sinks.at(-1) === ''")
        await plugged(page, "Headset", True)
        await page.wait_for_function("sinks.at(-1) === 'headset'")
        await expect(page.locator(".trouble")).to_have_count(0)
        await page.reload()
        await page.get_by_role("button", name="Start").click()
        await page.wait_for_function("sinks.at(-1) === 'headset'")


async def test_where_only_an_element_chooses_its_loudspeaker_it_plays_by_one() -> None:
    init = "delete Object.getPrototypeOf(AudioContext.prototype).setSinkId;"
    async with fake_server() as server, talking(server, init=init) as (page, wire):
        await record(page)
        await choose(page, "Plays on", "Headset")
        await page.wait_for_function("elementSinks.at(-1) === 'headset'")
        await wire.begin_answer()
        await wire.say("Good day.", tone(0.5))
        await wire.end_answer()
        await wire.until(lambda: any(event["played_ms"] == 500 for event in wire.of("chinwag.playback")))
        assert loudness(await recorded(page)).max() > 0.1


@pytest.mark.parametrize("rate", [44_100, 48_000])
async def test_a_browser_that_grants_no_24_khz_plays_and_hears_right(rate: int) -> None:
    """As with a Bluetooth headset, and older Safari: the contexts run at the sound card's rate."""
    init = f"""
      window.AudioContext = class extends AudioContext {{
        constructor(options) {{
          if (options.sampleRate) throw new DOMException("not granted", "NotSupportedError");
          super({{ ...options, sampleRate: {rate} }});
        }}
      }};"""
    async with fake_server() as server, talking(server, init=init) as (page, wire):
        await hears(wire, DESK)
        assert {len(frame) for frame in wire.frames} == {960}
        await record(page)
        await wire.begin_answer()
        await wire.say("Good day.", tone(1.0, 600))
        await wire.end_answer()
        await wire.until(lambda: any(985 <= event["played_ms"] <= 1000 for event in wire.of("chinwag.playback")))
        heard = await recorded(page)
        assert await page.evaluate("__chinwag.output.context.sampleRate") == rate
        sounding = np.flatnonzero(np.abs(heard) > 0.01)
        assert (sounding[-1] - sounding[0]) / rate == pytest.approx(1.0, abs=0.02)
        middle = heard[sounding[0] + rate // 4 : sounding[0] + 3 * rate // 4]
        assert pitch(middle, rate) == pytest.approx(600, abs=3)
        assert np.abs(middle).max() == pytest.approx(0.3, abs=0.01)


async def test_the_screen_stays_on_while_somebody_talks() -> None:
    init = """
      window.locks = [];
      Object.defineProperty(navigator, "wakeLock", { value: { async request(type) {
        const lock = Object.assign(new EventTarget(), { type, held: true, async release() { drop(this); } });
        window.locks.push(lock);
        return lock;
      } } });
      window.drop = (lock) => { lock.held = false; lock.dispatchEvent(new Event("release")); };
      window.held = () => window.locks.filter((lock) => lock.held).length;"""
    async with fake_server() as server, talking(server, init=init) as (page, _wire):
        await page.wait_for_function("held() === 1")
        assert await page.evaluate("locks[0].type") == "screen"
        await page.evaluate(
            "drop(locks[0]); document.dispatchEvent(new Event('visibilitychange'))"
        )  # looked away, and back
        await page.wait_for_function("held() === 1 && locks.length === 2")
        await page.get_by_role("button", name="Stop").click()
        await page.wait_for_function("held() === 0")


async def test_the_phone_is_told_what_the_sound_is_for() -> None:
    init = "Object.defineProperty(navigator, 'audioSession', { value: { type: 'auto' } });"
    async with fake_server() as server, talking(server, init=init) as (page, _wire):
        assert await page.evaluate("navigator.audioSession.type") == "play-and-record"
        await page.get_by_role("button", name="Stop").click()
        assert await page.evaluate("navigator.audioSession.type") == "auto"
