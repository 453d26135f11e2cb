"""Every trouble has words and a way out."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from browser.chromium import chromium, comes_true, opened
from browser.fake_server import fake_server, status, tone
from browser.screens import EACH_SCREEN, Screen

pytestmark = pytest.mark.browser


async def press_start(page: Page) -> None:
    await page.get_by_role("button", name="Start").click()


async def still_types(page: Page) -> None:
    await page.get_by_label("Type a message").fill("Hello")
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn.user")).to_contain_text("Hello")


@EACH_SCREEN
async def test_permission_refused(screen: Screen) -> None:
    async with (
        fake_server() as server,
        chromium(ask=True) as browser,
        opened(browser, server.url, **screen) as page,
    ):
        await press_start(page)
        trouble = page.get_by_role("alert")
        await expect(trouble).to_contain_text("The microphone is not allowed")
        await expect(trouble).to_contain_text("set Microphone to “Allow”")
        assert not server.wires
        await still_types(page)
        await page.context.grant_permissions(["microphone"], origin=server.url)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator("#state-words")).to_have_text("Thinking")
        await expect(page.get_by_role("button", name="Mute")).to_be_visible()
        await expect(page.locator(".trouble")).to_have_count(0)
        assert len(server.wires) == 1


async def test_no_microphone() -> None:
    async with fake_server() as server, chromium(device=False) as browser, opened(browser, server.url) as page:
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text("No microphone was found")
        await expect(page.get_by_role("button", name="Start")).to_be_enabled()
        await still_types(page)


@pytest.mark.parametrize(
    ("name", "message", "words"),
    [
        ("NotReadableError", "Could not start audio source", "The microphone is in use"),
        ("NotAllowedError", "Permission denied by system", "Your system keeps the microphone"),
        ("SecurityError", "", "This page may not use a microphone"),
        ("OddError", "The moon is full", "The moon is full"),
    ],
)
async def test_what_only_other_machines_do(name: str, message: str, words: str) -> None:
    init = f"""navigator.mediaDevices.getUserMedia = async () => {{
        throw Object.assign(new Error({message!r}), {{ name: {name!r} }});
    }}"""
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, init=init) as page:
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text(words)
        await still_types(page)


async def test_the_microphone_is_taken_away() -> None:
    init = """
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        if (window.gone) throw new DOMException("Requested device not found", "NotFoundError");
        return (window.stream = await ask(wanted));
      };"""
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, init=init) as page:
        await press_start(page)
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) > 5)
        await page.evaluate("stream.getAudioTracks()[0].dispatchEvent(new Event('mute'))")
        await expect(page.get_by_role("alert")).to_contain_text("Your system has muted the microphone")
        await page.evaluate("stream.getAudioTracks()[0].dispatchEvent(new Event('unmute'))")
        await expect(page.locator(".trouble")).to_have_count(0)
        await page.evaluate("gone = true; stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
        await expect(page.get_by_role("alert")).to_contain_text("The microphone is gone")
        await expect(page.locator("#state-words")).to_have_text("Ready for what you type")
        before = len(wire.frames)
        await page.get_by_role("button", name="Use the microphone again").click()
        await expect(page.get_by_role("alert")).to_contain_text("The microphone is gone")
        await page.evaluate("gone = false")
        await page.get_by_role("button", name="Use the microphone again").click()
        await wire.until(lambda: len(wire.frames) > before + 5)
        await expect(page.locator(".trouble")).to_have_count(0)
        assert len(server.wires) == 1


async def test_not_a_secure_origin() -> None:
    rules = ("--host-resolver-rules=MAP chinwag.test 127.0.0.1",)
    async with fake_server() as server, chromium(flags=rules) as browser:
        url = server.url.replace("localhost", "chinwag.test")
        async with opened(browser, url) as page:
            await press_start(page)
            trouble = page.get_by_role("alert")
            await expect(trouble).to_contain_text("The microphone needs a secure address")
            await expect(trouble).to_contain_text(server.url)
            await expect(trouble).to_contain_text("ssh -L")
            await still_types(page)
            wire = await server.session()
            update = await wire.expect("session.update")
            assert update["session"] == {"type": "realtime", "output_modalities": ["text"]}
            await wire.begin_answer()
            await wire.send("response.output_text.delta", item_id="item_a", delta="Good day.")
            await wire.end_answer()
            await expect(page.locator(".turn.assistant")).to_contain_text("Good day.")


async def test_an_old_browser() -> None:
    init = "delete window.AudioWorkletNode"
    async with fake_server() as server, chromium() as browser, opened(browser, server.url, init=init) as page:
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text("This browser cannot talk")
        await still_types(page)


async def test_the_browser_pauses_all_sound() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await press_start(page)
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await comes_true(page, "window.__chinwag?.output?.context.state === 'running'")
        await page.evaluate("__chinwag.output.context.suspend()")
        await expect(page.get_by_role("alert")).to_contain_text("The browser has paused all sound")
        await page.get_by_role("button", name="Turn sound on").click()
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_downloading_loading_and_ready() -> None:
    async with fake_server() as server, chromium() as browser:
        files = [{"name": "qwen", "done": 100_000_000, "total": 400_000_000}, {"name": "silero", "done": 9, "total": 9}]
        weights = {"done": 100_000_009, "total": 400_000_009, "bytes_per_s": 12_000_000.0, "seconds_left": 24.0}
        server.status = status("fetching", weights={**weights, "files": files})
        async with opened(browser, server.url) as page:
            card = page.locator("#getting-ready")
            await expect(card).to_contain_text("Fetching the models")
            await expect(card).to_contain_text("100 MB of 400 MB · 12 MB/s · 24 s left")
            await expect(card.get_by_role("progressbar", name="qwen")).to_have_attribute("value", "0.25")
            await expect(page.get_by_role("button", name="Start")).to_be_disabled()
            await expect(page.get_by_role("button", name="Send")).to_be_disabled()
            await expect(page.locator("#state-words")).to_have_text("Getting ready")
            loading = status("loading")
            loading["engines"]["llm"] |= {"state": "loading", "load_ms": None}
            server.status = loading
            await expect(card).to_contain_text("Loading the engines")
            await expect(card).to_contain_text("loading")
            await expect(card).to_contain_text("ready in 0.12 s")
            server.status = status()
            await expect(card).to_be_hidden()
            await expect(page.get_by_role("button", name="Start")).to_be_enabled()
            await expect(page.locator("#state-words")).to_have_text("Ready")
            await expect(page.locator("#engines")).to_contain_text("moonshine")


async def test_an_engine_failed() -> None:
    async with fake_server() as server, chromium() as browser:
        failed = status("failed", error={"message": "The llm engine could not load.", "fix": "Run chinwag doctor."})
        failed["engines"]["llm"] |= {"state": "failed", "detail": "file is damaged"}
        server.status = failed
        async with opened(browser, server.url) as page:
            trouble = page.get_by_role("alert")
            await expect(trouble).to_contain_text("The llm engine could not load. Run chinwag doctor.")
            await expect(page.locator("#engine-list")).to_contain_text("failed: file is damaged")
            await expect(page.get_by_role("button", name="Start")).to_be_disabled()
            server.status = status()
            await page.get_by_role("button", name="Look again").click()
            await expect(page.locator(".trouble")).to_have_count(0)
            await expect(page.get_by_role("button", name="Start")).to_be_enabled()


async def test_the_server_does_not_answer_and_comes_back() -> None:
    async with fake_server() as server, chromium() as browser:
        server.status = None
        async with opened(browser, server.url) as page:
            await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
            await expect(page.locator(".trouble")).to_contain_text("Trying again in")
            await expect(page.locator("#state-words")).to_have_text("No server")
            server.status = status()
            await expect(page.locator("#state-words")).to_have_text("Ready")
            await expect(page.locator(".trouble")).to_have_count(0)


async def test_the_connection_drops_mid_talk_and_comes_back_by_itself() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await press_start(page)
        wire = await server.session()
        await wire.begin_answer()
        await wire.say("A long story about a fox and a hen", tone(5.0))
        await wire.expect("chinwag.playback", 6)
        await wire.close(1011)
        await expect(page.get_by_role("alert")).to_contain_text("The connection was lost")
        await expect(page.locator(".trouble")).to_contain_text("Trying again in")
        await expect(page.locator(".turn.assistant")).to_contain_text("—")
        second = await server.session(2)
        await second.until(lambda: len(second.frames) > 5)
        await expect(page.locator(".trouble")).to_have_count(0)
        await expect(page.locator(".divider")).to_have_text("A new conversation")
        await expect(page.locator("#state-words")).to_have_text("Listening")


async def test_the_server_goes_away_mid_talk() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await press_start(page)
        wire = await server.session()
        await wire.until(lambda: len(wire.frames) > 5)
        await wire.close(1012)
        server.status = None
        server.refuse = {"code": "server_full", "message": "All 8 conversations are taken. Try again in a minute."}
        await expect(page.get_by_role("alert")).to_contain_text("Everybody is talking")
        await expect(page.get_by_role("alert")).to_contain_text("All 8 conversations are taken.")
        await expect(page.locator(".trouble")).to_contain_text("Trying again in")
        await expect(page.locator("#state-words")).to_have_text("Connecting")
        server.refuse = None
        await page.get_by_role("button", name="Try now").click()
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("#state-words")).to_have_text("No server")


async def test_a_hidden_page_whose_timers_run_once_a_minute_keeps_its_line() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await page.clock.install()
        await page.reload()
        await still_types(page)
        wire = await server.session()
        await wire.send("chinwag.session.resumable", resume="token", within_ms=60_000)
        await expect(page.locator("#state-words")).to_have_text("Thinking")
        await wire.until(lambda: bool(wire.of("response.create")))
        await wire.send("error", error={"type": "server_error", "message": "Told behind it."})
        await expect(page.get_by_role("alert")).to_contain_text("Told behind it.")
        assert "token" in await page.evaluate("sessionStorage.getItem('chinwag.return')")
        for minute in (1, 2, 3):
            await page.clock.fast_forward(60_000)  # each timer fires once
            await wire.expect("chinwag.ping", minute)
            await wire.send("chinwag.pong", received=len(wire.events))
            await page.wait_for_timeout(200)
        assert wire.closed is None
        assert len(server.wires) == 1
        for _ in range(4):  # and one that says nothing any more is found out
            await page.clock.fast_forward(2_000)
            await page.wait_for_timeout(100)
        await expect(page.locator("#state-words")).to_have_text("Reconnecting")


async def test_a_full_server_has_a_queue_and_the_page_comes_in_by_itself() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        full = {"code": "server_full", "message": "All 2 places are taken.", "retry_after_s": 1, "ticket": "wait_1"}
        server.refuse = {**full, "place": 3}
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text("2 are before you.")
        await expect(page.locator("#state-words")).to_have_text("Waiting for a place")
        server.refuse = {**full, "place": 1}
        await expect(page.get_by_role("alert")).to_contain_text("You are next.")
        assert server.tickets[-1] == "wait_1", "the place is kept"
        server.refuse = None
        await expect(page.locator("#state-words")).to_have_text("Listening")
        assert server.tickets[0] == "new"
        assert server.tickets[-1] == "wait_1"


async def test_not_ready_after_all() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        server.refuse = {"code": "not_ready", "message": "The engines are still loading. Wait a few seconds."}
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text("The engines are still loading.")
        server.refuse = None
        await expect(page.locator("#state-words")).to_have_text("Listening")


async def test_a_reply_fails_and_the_session_lives() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await press_start(page)
        wire = await server.session()
        await wire.begin_answer()
        error = {"type": "server_error", "code": "llm_failed", "message": "The language model is gone."}
        await wire.end_answer(outcome="failed", status_details={"type": "failed", "error": error})
        await expect(page.get_by_role("alert")).to_contain_text("The language model is gone.")
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator(".trouble")).to_have_count(0)
        assert wire.closed is None


async def test_a_server_that_restarts_says_so_and_is_come_back_to() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await press_start(page)
        wire = await server.session()
        await wire.send("chinwag.session.resumable", resume="resume_1", within_ms=60_000)
        await wire.send("chinwag.restarting", within_ms=20_000)
        await wire.send("error", error={"code": "server_restarting", "message": "The server stops or restarts now."})
        server.refuse = {"code": "draining", "message": "The server is about to stop or restart."}
        await wire.close(1012)
        await expect(page.get_by_role("alert")).to_contain_text("The server is restarting")
        await expect(page.locator(".trouble")).to_have_count(1)
        server.refuse = None
        await server.session(2)
        await expect(page.locator("#state-words")).to_have_text("Listening")
        await expect(page.locator(".trouble")).to_have_count(0)
