"""The page in a conversation: buttons, sound both ways, words, interruptions. The server is scripted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Page, Route, expect

from browser.chromium import chromium, opened
from browser.fake_server import Wire, fake_server, tone
from browser.sound import loudness, pitch, record, recorded, write_wav

pytestmark = pytest.mark.browser

TEN_WORDS = "One two three four five six seven eight nine ten"


async def start(page: Page) -> None:
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#state-words")).to_have_text("Listening")


async def ask(wire: Wire, text: str = "What time is it?", item: str = "item_u") -> None:
    """A spoken turn up to its answer."""
    await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id=item)
    await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id=item)
    await wire.send("conversation.item.added", item={"id": item, "type": "message", "role": "user", "content": []})
    await wire.send(
        "conversation.item.input_audio_transcription.completed", item_id=item, content_index=0, transcript=text
    )


async def test_the_microphone_arrives_whole_and_mute_silences_it(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "tone.wav", np.tile(tone(1.0, 440, 0.5), 30), 24_000)
    async with fake_server() as server, chromium(wav) as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) >= 100)
        assert {len(frame) for frame in wire.frames} == {960}  # 20 ms
        assert pitch(wire.heard[24_000:48_000]) == pytest.approx(440, abs=2)

        await page.get_by_role("button", name="Mute").click()
        await expect(page.locator("#state-words")).to_contain_text("Muted")
        muted = len(wire.frames) + 25
        await wire.until(lambda: len(wire.frames) >= muted + 25)
        assert np.abs(wire.heard[muted * 480 :]).max() == 0  # silent, and still coming

        await page.get_by_role("button", name="Unmute").click()
        back = len(wire.frames) + 25
        await wire.until(lambda: len(wire.frames) >= back + 25)
        assert loudness(wire.heard[back * 480 :]).max() > 0.01  # noise suppression takes much of a steady tone


async def test_a_browser_that_gives_the_microphone_at_its_own_rate_is_resampled(tmp_path: Path) -> None:
    """Firefox throws when a microphone is connected to a context of another rate."""
    firefox = """
      const connect = AudioContext.prototype.createMediaStreamSource;
      AudioContext.prototype.createMediaStreamSource = function (stream) {
        if (this.sampleRate === 24000) throw new DOMException("different sample-rate", "NotSupportedError");
        return connect.call(this, stream);
      };"""
    wav = write_wav(tmp_path / "tone.wav", np.tile(tone(1.0, 440, 0.5), 30), 24_000)
    async with fake_server() as server, chromium(wav) as browser, opened(browser, server.url, init=firefox) as page:
        await start(page)
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) >= 100)
        assert pitch(wire.heard[24_000:48_000]) == pytest.approx(440, abs=2)


async def test_a_spoken_turn(tmp_path: Path) -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, bypass_csp=True) as page:
        await start(page)
        await record(page)
        wire = await server.session()
        state, user = page.locator("#state-words"), page.locator(".turn.user")
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="item_u")
        await expect(state).to_have_text("Hearing you")
        await wire.send("chinwag.transcript.partial", item_id="item_u", text="What time")
        await expect(user).to_contain_text("What time")
        await expect(user).to_contain_class("partial")
        await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="item_u")
        await expect(state).to_have_text("Thinking")
        await wire.send(
            "conversation.item.input_audio_transcription.completed", item_id="item_u", transcript="What time is it?"
        )
        await expect(user).to_contain_text("What time is it?")
        await expect(user).not_to_contain_class("partial")
        await wire.begin_answer()
        spoken = tone(1.0, 600)
        await wire.until(lambda: len(wire.frames) >= 50)
        await wire.send(
            "chinwag.trace", response_id="resp_a", item_id="item_u", speech_end_ms=900, stages_ms={"first_audio": 300}
        )
        await wire.say("It is ten.", spoken)
        await expect(state).to_have_text("Speaking")
        await expect(page.locator(".turn.assistant")).to_contain_text("It is ten.")
        await wire.end_answer()
        await expect(state).to_have_text("Listening")
        await wire.until(lambda: any(event["played_ms"] == 1000 for event in wire.of("chinwag.playback")))
        assert len(wire.of("chinwag.playback")) >= 3
        assert not wire.of("conversation.item.truncate")

        heard = await recorded(page)
        first = int(np.argmax(np.abs(heard) > 0.003)) - 1  # the tone's own first sample is 0
        assert np.abs(heard[first : first + len(spoken)] - spoken).max() < 0.001  # sample by sample
        latency = (await page.locator("#latency-words").inner_text()).split()[-2]
        assert float(latency) >= 0.1  # the answer was sent when 1000 ms had come, of which 900 were speech
        await page.locator("#latency-words").click()
        await expect(page.locator("#latency-stages")).to_contain_text("First sound sent")
        await expect(page.locator("#latency-stages")).to_contain_text("0.30 s")


async def test_speech_cuts_the_answer_at_once() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, bypass_csp=True) as page:
        await start(page)
        await record(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.say(TEN_WORDS, tone(5.0, 440, 0.5))
        await wire.until(lambda: len(wire.of("chinwag.playback")) >= 4)
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_v")
        truncate = await wire.expect("conversation.item.truncate")
        await wire.say(" and what nobody hears", tone(1.0))  # on its way when they cut in
        await wire.end_answer(outcome="cancelled", status_details={"reason": "turn_detected"})

        assert truncate["item_id"] == "item_a"
        assert truncate["content_index"] == 0
        played = truncate["audio_end_ms"]
        assert 900 < played < 4500
        answer = page.locator(".turn.assistant .words")
        await expect(answer).to_have_text(answer_of(played))
        await expect(page.locator(".turn.assistant")).to_contain_text("You cut in here")

        await page.wait_for_timeout(300)
        heard = await recorded(page)
        sounding = np.flatnonzero(np.abs(heard) > 0.001)
        assert (sounding[-1] - sounding[0]) / 24 == pytest.approx(played, abs=3)  # what was told is what was heard
        assert np.abs(np.diff(heard[sounding[-1] - 240 :])).max() < 0.07  # a fade; 440 Hz itself moves 0.06 a sample


def answer_of(played_ms: int) -> str:
    """Ten words in five seconds."""
    return " ".join(TEN_WORDS.split()[: played_ms // 500]) + " —"


async def test_a_reply_is_low_while_somebody_may_be_interrupting() -> None:
    said = tone(3.0, 440, 0.5)
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, bypass_csp=True) as page:
        await start(page)
        await record(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.say(TEN_WORDS, said)
        await wire.expect("chinwag.playback", 2)
        await wire.send("chinwag.duck", response_id="resp_a", item_id="item_a")
        await wire.expect("chinwag.playback", 5)
        await expect(page.locator("#state-words")).to_have_text("Speaking softly")
        await wire.send("chinwag.resume", response_id="resp_a", item_id="item_a")
        await wire.end_answer()
        await wire.until(lambda: any(event["played_ms"] == 3000 for event in wire.of("chinwag.playback")))
        await expect(page.locator("#state-words")).to_have_text("Listening")
        assert not wire.of("conversation.item.truncate")

        at, volume = volume_of(await recorded(page), said)
        assert volume[0] == pytest.approx(1, abs=0.01)
        assert volume[-1] == pytest.approx(1, abs=0.01)
        low = at[np.abs(volume - 0.2) < 0.01]
        assert 0.5 < (low[-1] - low[0]) / 24_000 < 2.5
        assert volume[(low[0] <= at) & (at <= low[-1])] == pytest.approx(0.2, abs=0.01)  # all that while
        down, up = (at < low[0]) & (volume < 0.99), (at > low[-1]) & (volume < 0.99)
        for ramp in (down, up):
            assert len(at[ramp]) > 50  # no jump, which would click
            assert np.ptp(at[ramp]) <= 240  # 10 ms
        assert (np.diff(volume[down]) < 0.01).all()
        assert (np.diff(volume[up]) > -0.01).all()


def volume_of(heard: NDArray[np.float32], said: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The places in what was said that are loud enough to tell, and how much louder each was heard."""
    first = int(np.argmax(np.abs(heard) > 0.003)) - 1  # a tone's own first sample is 0
    at = np.flatnonzero(np.abs(said) > 0.2)
    return at, heard[first + at] / said[at]


async def test_an_interruption_ends_a_low_reply_and_the_next_is_at_full_volume() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, bypass_csp=True) as page:
        await start(page)
        await record(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.say(TEN_WORDS, tone(5.0, 440, 0.5))
        await wire.expect("chinwag.playback", 2)
        await wire.send("chinwag.duck", response_id="resp_a", item_id="item_a")
        await wire.expect("chinwag.playback", 4)
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_v")
        played = (await wire.expect("conversation.item.truncate"))["audio_end_ms"]
        await wire.end_answer(outcome="cancelled", status_details={"reason": "turn_detected"})
        await page.wait_for_timeout(200)
        heard = await recorded(page)
        sounding = np.flatnonzero(np.abs(heard) > 0.001)
        assert (sounding[-1] - sounding[0]) / 24 == pytest.approx(played, abs=3)
        assert np.abs(heard[sounding[-1] - 480 :]).max() == pytest.approx(0.1, abs=0.002)  # it stays low to its end

        await ask(wire, "Never mind", "item_w")
        await wire.begin_answer("item_b", "resp_b")
        answer = tone(0.5, 600, 0.5)
        await wire.say("Good.", answer, "item_b")
        await wire.end_answer("resp_b")
        await expect(page.locator("#state-words")).to_have_text("Listening")
        _, volume = volume_of((await recorded(page))[len(heard) :], answer)
        assert volume == pytest.approx(1, abs=0.01)


async def test_the_volume_is_that_of_one_answer() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, bypass_csp=True) as page:
        await start(page)
        await record(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.send("chinwag.duck", response_id="resp_a", item_id="item_a")  # before its first sound
        answer = tone(0.5, 600, 0.5)
        await wire.say("One.", answer)
        await wire.end_answer()
        await wire.until(lambda: any(event["played_ms"] == 500 for event in wire.of("chinwag.playback")))
        await expect(page.locator("#state-words")).to_have_text("Listening")
        heard = await recorded(page)
        _, volume = volume_of(heard, answer)
        assert volume == pytest.approx(0.2, abs=0.01)

        await wire.begin_answer("item_b", "resp_b")
        await wire.send("chinwag.duck", response_id="resp_a", item_id="item_a")  # late
        await wire.say("Two.", answer, "item_b")
        await wire.end_answer("resp_b")
        whole = {"item_id": "item_b", "played_ms": 500}
        await wire.until(lambda: any(whole.items() <= event.items() for event in wire.of("chinwag.playback")))
        await page.wait_for_timeout(100)
        _, volume = volume_of((await recorded(page))[len(heard) :], answer)
        assert volume == pytest.approx(1, abs=0.01)


async def test_a_turn_that_goes_on_after_all_stays_one() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        user, state = page.locator(".turn.user .words"), page.locator("#state-words")
        await ask(wire, "I would like")
        await expect(user).to_have_text("I would like")
        await wire.begin_answer()
        await wire.send("response.output_audio_transcript.delta", item_id="item_a", delta="Yes")
        await expect(page.locator(".turn.assistant")).to_contain_text("Yes")
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=1200, item_id="item_v")
        await wire.end_answer(outcome="cancelled", status_details={"reason": "turn_detected"})
        await wire.send("conversation.item.deleted", item_id="item_u")
        await expect(page.locator(".turn")).to_have_count(0)
        await expect(state).to_have_text("Hearing you")
        await wire.send("chinwag.transcript.partial", item_id="item_v", text="I would like a cup of tea")
        await expect(user).to_have_text("I would like a cup of tea")

        shown = await page.locator("#turns").inner_html()
        judged = {"speech_end_ms": 2000, "silence_ms": 200, "finished": None, "wait_ms": 900, "looks": {"sense": 0.9}}
        await wire.send("chinwag.pause", item_id="item_v", **judged)
        await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=2000, item_id="item_v")
        await expect(state).to_have_text("Thinking")
        assert await page.locator("#turns").inner_html() == shown
        await expect(page.locator(".trouble")).to_have_count(0)
        await ask(wire, "I would like a cup of tea.", "item_v")
        await expect(user).to_have_text(["I would like a cup of tea."])


async def test_the_parts_of_a_latency_are_in_the_order_they_came() -> None:
    stages = {"last_words": -120.0, "transcript_final": 190.0, "turn_decided": 250.0, "draft_started": 80.0}
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) >= 50)
        await ask(wire)
        await wire.begin_answer()
        trace = {"first_token": 180.0, "first_clause": 240.0, "first_audio": 260.0, "unheard_of": 1.0}
        await wire.send(
            "chinwag.trace", response_id="resp_a", item_id="item_u", speech_end_ms=900, stages_ms=stages | trace
        )
        await wire.say("It is ten.", tone(0.3))
        await wire.end_answer()
        await page.locator("#latency-words").click()
        assert await page.locator("#latency-stages dt").all_inner_texts() == [
            "Your last word was heard",
            "An answer was begun",
            "First word of the answer",
            "Your words were clear",
            "First few words",
            "Your turn was over",
            "First sound sent",
            "First sound from the speaker",
        ]
        times = await page.locator("#latency-stages dd").all_inner_texts()
        assert times[:-1] == ["0.12 s before", *(f"0.{part} s" for part in ("08", "18", "19", "24", "25", "26"))]


async def test_the_server_has_the_last_word_on_what_was_heard() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.say(TEN_WORDS, tone(5.0))
        await wire.expect("chinwag.playback", 2)
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_v")
        await wire.expect("conversation.item.retrieve")
        content = [{"type": "output_audio", "transcript": "One, two,"}]
        item = {"id": "item_a", "type": "message", "role": "assistant", "content": content}
        await wire.send("conversation.item.retrieved", item=item)
        await expect(page.locator(".turn.assistant .words")).to_have_text("One, two —")


async def test_an_answer_nobody_heard_is_not_shown() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.send("response.output_audio_transcript.delta", item_id="item_a", delta="Well")
        await expect(page.locator(".turn.assistant")).to_contain_text("Well")
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_v")
        await expect(page.locator(".turn.assistant")).to_have_count(0)
        assert not wire.of("conversation.item.truncate")


async def test_a_noise_without_words_leaves_no_turn() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await ask(wire, text="")
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await expect(page.locator(".turn")).to_have_count(0)


async def test_typing_needs_no_microphone() -> None:
    async with (
        fake_server() as server,
        chromium(ask=True, device=False) as browser,
        opened(browser, server.url) as page,
    ):
        await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        await page.get_by_label("Type a message").fill("Hello <b>there</b>")
        await page.keyboard.press("Enter")
        wire = await server.session()
        created = await wire.expect("conversation.item.create")
        assert created["item"]["content"] == [{"type": "input_text", "text": "Hello <b>there</b>"}]
        await wire.expect("response.create")
        await expect(page.locator(".turn.user")).to_contain_text("Hello <b>there</b>")
        await expect(page.get_by_label("Type a message")).to_have_value("")
        await wire.begin_answer()
        await wire.say("Good day.", tone(0.5))
        await wire.end_answer()
        await expect(page.locator(".turn.assistant")).to_contain_text("Good day.")
        await expect(page.locator(".turn.assistant")).to_contain_text("after ")
        await wire.until(lambda: any(event["played_ms"] == 500 for event in wire.of("chinwag.playback")))
        await expect(page.locator("#state-words")).to_have_text("Ready for what you type")
        assert not wire.frames
        await page.get_by_role("button", name="Stop").click()
        await wire.until(lambda: wire.closed == 1000)


async def test_typing_while_it_speaks_cuts_in() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await ask(wire)
        await wire.begin_answer()
        await wire.say("A long story about a fox and a hen", tone(5.0))
        await wire.expect("chinwag.playback")
        await page.get_by_label("Type a message").fill("Shorter, please")
        await page.keyboard.press("Enter")
        await wire.expect("response.create")
        order = [event["type"] for event in wire.events if not event["type"].startswith("chinwag.")]
        assert order == [
            "response.cancel",
            "conversation.item.truncate",
            "conversation.item.retrieve",
            "conversation.item.create",
            "response.create",
        ]
        await wire.send("error", error={"type": "invalid_request_error", "message": "gone", "event_id": "quiet_cancel"})
        await expect(page.locator("#state-words")).to_have_text("Thinking")
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_two_starts_make_one_session() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await page.get_by_role("button", name="Start").dblclick()
        await page.evaluate("document.getElementById('start').click()")
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await page.wait_for_timeout(300)
        assert len(server.wires) == 1
        assert all(wire.closed is None for wire in server.wires)


async def test_stop_and_start_again() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        first = await server.session()
        await ask(first, "Hello")
        await first.begin_answer()
        await first.say("A long story about a fox and a hen", tone(5.0))
        await first.expect("chinwag.playback")
        await page.get_by_role("button", name="Stop").click()
        await first.until(lambda: first.closed == 1000)
        await expect(page.locator("#state-words")).to_have_text("Ready")
        await start(page)
        second = await server.session(2)
        await second.until(lambda: len(second.frames) > 5)
        await expect(page.locator(".divider")).to_have_text("A new conversation")
        await ask(second, "Hello again", "item_w")
        await expect(page.locator(".turn.user .words")).to_have_text(["Hello", "Hello again"])


async def test_closing_the_tab_mid_sentence_closes_the_line() -> None:
    """Not with 1000: the browser cannot tell it from loading the page again, which comes back for the conversation."""
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await start(page)
        wire = await server.session()
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="item_u")
        await wire.until(lambda: len(wire.frames) > 20)
        await page.close(run_before_unload=False)
        await wire.until(lambda: wire.closed == 1001)


async def test_everything_works_from_the_keyboard() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await expect(page.get_by_role("button", name="Start")).to_be_enabled()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Conversations")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Engines")).to_be_focused()
        for name in ("Settings", "Sound", "Timing"):
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("button", name=name)).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("main")).to_be_focused()  # to be scrolled with the arrow keys
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Start")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await expect(page.get_by_role("button", name="Mute")).to_be_focused()
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Unmute")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#state-words")).to_have_text("Ready")
        await expect(page.get_by_role("button", name="Start")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_small_phone(scheme: str) -> None:
    small = {"width": 320, "height": 568}
    async with (
        fake_server() as server,
        chromium() as browser,
        opened(browser, server.url, viewport=small, color_scheme=scheme) as page,
    ):
        await start(page)
        wire = await server.session()
        await ask(wire, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft?")
        await wire.begin_answer()
        await wire.say("A" * 200, tone(0.2))
        await wire.send("error", error={"type": "server_error", "message": "x" * 200})
        await expect(page.locator(".trouble")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
        assert await page.evaluate("document.querySelector('main').scrollWidth") <= 320
        for name in ("Mute", "Stop", "Send"):
            box = await page.get_by_role("button", name=name).bounding_box()
            assert box is not None
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 320
            assert box["y"] + box["height"] <= 568


async def test_an_answer_that_comes_before_the_loudspeaker_is_ready_is_heard_whole() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        ready = asyncio.Event()

        async def slowly(route: Route) -> None:
            await ready.wait()
            await route.continue_()

        await page.route("**/playback-worklet.js", slowly)
        await page.get_by_label("Type a message").fill("Hello")
        await page.keyboard.press("Enter")
        wire = await server.session()
        await wire.expect("response.create")
        await wire.begin_answer()
        await wire.say("Good day.", tone(0.5))
        await expect(page.locator(".turn.assistant")).to_contain_text("Good day.")
        ready.set()
        await wire.until(lambda: any(event["played_ms"] == 500 for event in wire.of("chinwag.playback")))
