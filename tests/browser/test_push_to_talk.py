"""Push to talk by mouse, touch and keys: the server is told where a turn ends, and hears nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page, expect
from serving import Server

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server, tone
from browser.sound import spoken, write_wav
from chinwag.audio import WIRE_RATE
from chinwag.bench.metrics import word_errors

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
QUESTION = "Can you tell me what a lighthouse is for?"


async def choose(page: Page, words: str) -> None:
    """A way to talk, in the panel."""
    await page.get_by_role("button", name="Sound").click()
    await page.get_by_label(words).check()
    await page.get_by_role("button", name="Close").click()


@asynccontextmanager
async def holding(
    server: FakeServer, way: str = "Hold to talk", init: str = "", **context: Any
) -> AsyncIterator[tuple[Page, Wire]]:
    """A page in a session that waits for the button."""
    async with chromium() as browser, opened(browser, server.url, init=init, **context) as page:
        await choose(page, way)
        await page.get_by_role("button", name="Start").click()
        wire = await server.session()
        await wire.expect("session.update")
        await expect(page.locator("#state-words")).to_contain_text("Ready: ")
        yield page, wire


def detection(event: dict[str, Any]) -> Any:
    return event["session"]["audio"]["input"]["turn_detection"]


async def words(wire: Wire, text: str, item: str = "item_u") -> None:
    """What the server says of a commit."""
    await wire.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
    added = {"id": item, "type": "message", "role": "user", "content": []}
    await wire.send("conversation.item.added", item=added)
    done = "conversation.item.input_audio_transcription.completed"
    await wire.send(done, item_id=item, content_index=0, transcript=text)


def order(wire: Wire) -> list[str]:
    return [event["type"] for event in wire.events if not event["type"].startswith("chinwag.")]


async def test_by_mouse_the_server_hears_what_was_held_and_nothing_else() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        assert detection(wire.of("session.update")[0]) is None
        await page.wait_for_timeout(600)
        assert not wire.frames
        await expect(page.get_by_role("button", name="Mute")).to_be_hidden()
        await page.get_by_role("button", name="Hold to talk").hover()
        await page.mouse.down()
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        await expect(page.locator("#talk")).to_have_attribute("aria-pressed", "true")
        await page.wait_for_timeout(1000)
        await page.mouse.up()
        await wire.expect("input_audio_buffer.commit")
        assert 55 <= len(wire.frames) <= 90  # 200 ms before, 1000 held, 120 after
        assert not wire.of("response.create")
        await expect(page.locator("#state-words")).to_have_text("Thinking")
        await words(wire, "What time is it?")
        await wire.expect("response.create")
        await expect(page.locator(".turn.user")).to_contain_text("What time is it?")
        assert order(wire) == ["session.update", "input_audio_buffer.commit", "response.create"]
        before = len(wire.frames)
        await wire.begin_answer()
        await wire.say("It is ten.", tone(0.4))
        await wire.end_answer()
        await expect(page.locator("#latency-words")).to_contain_text("Last answer")
        await expect(page.locator("#state-words")).to_contain_text("Ready: hold")
        assert len(wire.frames) == before
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_a_press_interrupts_the_answer_where_the_ear_is() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        await wire.begin_answer()
        await wire.say("One two three four five six seven eight nine ten", tone(5.0))
        await wire.expect("chinwag.playback", 4)
        await page.keyboard.down("Space")
        truncate = await wire.expect("conversation.item.truncate")
        assert 900 < truncate["audio_end_ms"] < 4500
        await wire.expect("response.cancel")
        await expect(page.locator(".turn.assistant")).to_contain_text("You cut in here")
        # an answer that was begun before the server knew is not heard
        await wire.begin_answer("item_b", "resp_b")
        await wire.say("Too late", tone(1.0), "item_b")
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        await page.wait_for_timeout(300)
        await page.keyboard.up("Space")
        await wire.expect("input_audio_buffer.commit")
        await words(wire, "Stop.")
        await wire.expect("response.create")
        await expect(page.locator(".turn.assistant")).to_have_count(1)


async def test_the_space_bar_holds_except_where_it_has_another_use() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        field = page.get_by_label("Type a message")
        await field.focus()
        await page.keyboard.press("Space")
        await expect(field).to_have_value(" ")
        await page.get_by_role("button", name="Stop").focus()
        await page.keyboard.down("Space")
        await expect(page.locator("#talk")).to_have_attribute("aria-pressed", "false")
        await page.get_by_role("button", name="Sound").focus()  # before the key goes up: it clicks nothing
        await page.keyboard.up("Space")
        assert not wire.frames

        await page.locator("#talk").focus()
        for _ in range(5):  # a key that is held repeats
            await page.keyboard.down("Space")
            await page.wait_for_timeout(100)
        await page.keyboard.up("Space")
        await wire.expect("input_audio_buffer.commit")
        assert len(wire.of("input_audio_buffer.commit")) == 1
        await words(wire, "Hello.")
        await wire.expect("response.create")


async def test_a_short_press_and_silence_are_told_kindly() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        await page.locator("#talk").click()  # a slip
        hint = page.locator("#talk-hint")
        await expect(hint).to_contain_text("keep it down while you speak")
        await wire.expect("input_audio_buffer.clear")
        await expect(page.locator("#state-words")).to_contain_text("Ready")
        await page.keyboard.down("Space")
        await expect(hint).to_be_empty()
        await page.wait_for_timeout(400)
        await page.keyboard.up("Space")
        await wire.expect("input_audio_buffer.commit")
        await words(wire, "")
        await expect(hint).to_contain_text("Nothing was heard.")
        await expect(page.locator("#state-words")).to_contain_text("Ready")

        await page.keyboard.down("Space")
        await page.wait_for_timeout(400)
        await page.keyboard.up("Space")
        commit = await wire.expect("input_audio_buffer.commit", 2)
        error = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "message": "too small"}
        await wire.send("error", error={**error, "event_id": commit["event_id"]})
        await expect(hint).to_contain_text("Nothing was heard.")
        await expect(page.locator(".trouble")).to_have_count(0)
        assert not wire.of("response.create")


async def test_who_goes_on_before_the_answer_is_answered_once() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        for number in (1, 2):
            await page.keyboard.down("Space")
            await page.wait_for_timeout(400)
            if number == 2:
                await words(wire, "I would like", "item_1")  # while they speak again
            await page.keyboard.up("Space")
            await wire.expect("input_audio_buffer.commit", number)
        assert not wire.of("response.create")
        await words(wire, "", "item_2")
        await wire.expect("response.create")
        assert len(wire.of("response.create")) == 1


async def test_by_touch_on_a_phone() -> None:
    async with fake_server() as server, holding(server, **PHONE) as (page, wire):
        button = page.get_by_role("button", name="Hold to talk")
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        away = {"x": at["x"], "y": at["y"] - 200}  # a finger that slides off still holds
        await cdp.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [away]})
        await page.wait_for_timeout(900)  # longer than a long press
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        await cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await wire.expect("input_audio_buffer.commit")
        assert len(wire.of("input_audio_buffer.commit")) == 1
        assert len(wire.frames) > 45


async def test_press_to_talk_for_those_who_cannot_hold() -> None:
    async with fake_server() as server, holding(server, "Press to talk") as (page, wire):
        button = page.locator("#talk")
        await button.click()
        await expect(button).to_have_text("Listening: press when done")
        await expect(button).to_have_attribute("aria-pressed", "true")
        await page.wait_for_timeout(400)
        await button.click()
        await wire.expect("input_audio_buffer.commit")
        await words(wire, "One.")
        await wire.expect("response.create")
        await page.keyboard.press("Space")  # the button has the focus
        await expect(button).to_have_attribute("aria-pressed", "true")
        await page.wait_for_timeout(400)
        await page.keyboard.press("Enter")
        await wire.expect("input_audio_buffer.commit", 2)


async def test_a_switch_and_a_screen_reader_press_where_others_hold() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        for pressed in ("true", "false"):
            await page.evaluate("document.getElementById('talk').click()")
            await expect(page.locator("#talk")).to_have_attribute("aria-pressed", pressed)
            await page.wait_for_timeout(400)
        await wire.expect("input_audio_buffer.commit")


async def test_a_window_that_is_left_lets_go() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        await page.keyboard.down("Space")
        await expect(page.locator("#state-words")).to_have_text("Hearing you")
        await page.wait_for_timeout(400)
        await page.evaluate("dispatchEvent(new Event('blur'))")
        await wire.expect("input_audio_buffer.commit")
        await expect(page.locator("#talk")).to_have_attribute("aria-pressed", "false")


async def test_back_to_hands_free_in_the_same_session_and_it_is_remembered() -> None:
    async with fake_server() as server, holding(server) as (page, wire):
        mine = {"type": "semantic_vad", "eagerness": "low", "create_response": True, "interrupt_response": True}
        await wire.send("session.updated", session={"type": "realtime", "audio": {"input": {"turn_detection": mine}}})
        await wire.send("session.updated", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await choose(page, "Hands-free")
        assert detection(await wire.expect("session.update", 2)) == mine
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await expect(page.locator("#talk")).to_be_hidden()
        await wire.until(lambda: len(wire.frames) > 20)
        await choose(page, "Hold to talk")
        assert detection(await wire.expect("session.update", 3)) is None
        await page.wait_for_timeout(200)
        before = len(wire.frames)
        await page.wait_for_timeout(400)
        assert len(wire.frames) == before
        assert len(server.wires) == 1
        await page.reload()
        await page.get_by_role("button", name="Start").click()
        again = await server.session(2)
        assert detection(await again.expect("session.update")) is None


@pytest.mark.timeout(300)
async def test_spoken_turns_are_answered_by_both_transports(server: Server, tmp_path: Path) -> None:
    """The real server; the question has a pause in which nobody hands-free would be let finish."""
    before, after = await spoken(QUESTION, before=3.0, after=1.5), await spoken("And for whom?", after=1.0)
    recording = np.concatenate([before, after])
    wav = write_wav(tmp_path / "question.wav", recording, WIRE_RATE)
    sockets: list[str] = []
    for transport in ("websocket", "webrtc"):
        url = f"{server.url}/?transport={transport}"
        async with chromium(wav) as browser, opened(browser, url) as page:
            page.on("websocket", lambda socket: sockets.append(socket.url))
            await choose(page, "Hold to talk")
            await page.get_by_role("button", name="Start").click()
            await expect(page.locator("#state-words")).to_contain_text("Ready: ", timeout=60_000)
            await page.keyboard.down("Space")  # the recording began with the microphone, its words come after 3 s
            await page.wait_for_timeout(round(1000 * len(recording) / WIRE_RATE))
            await page.keyboard.up("Space")
            await expect(page.locator(".turn.assistant .words")).to_be_visible(timeout=60_000)
            await expect(page.locator("#state-words")).to_contain_text("Ready: ", timeout=60_000)
            heard = await page.locator(".turn.user .words").all_inner_texts()
            assert len(heard) == 1  # the pause did not end it
            errors, length = word_errors(f"{QUESTION} And for whom?", heard[0])
            assert errors <= 0.25 * length, heard
            assert len((await page.locator(".turn.assistant .words").inner_text()).split()) >= 3
            await expect(page.locator(".trouble")).to_have_count(0)
            assert len(sockets) == 1  # of the first, and the call did not fall back on one
