"""A person talks with the real server through a real browser: a recording is its microphone, its sound is heard."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect
from serving import Server

from browser.chromium import chromium, opened
from browser.screens import DESKTOP, PHONE, Screen
from browser.sound import loudness, record, recorded, spoken, words_in, write_wav
from chinwag.audio import WIRE_RATE
from chinwag.bench.metrics import word_errors
from chinwag.client_sdk.local_server import fetch_status, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]  # loading the engines counts for the first test

QUESTION = "Can you tell me in two sentences what a lighthouse is for?"
LONG = "Tell me a long story about a dragon who was afraid of fire."
PATIENCE_MS = 60_000
"""The tests ask whether, not how fast: a laden machine may take its time."""


async def state(page: Page, *words: str) -> None:
    """Wait until the page says it is in that state; with several, one after the other."""
    for word in words:
        await expect(page.locator("#state-words")).to_have_text(word, timeout=PATIENCE_MS)


async def start(page: Page, name: str = "Start") -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def type_in(page: Page, text: str) -> None:
    await page.get_by_label("Type a message").fill(text)
    await page.keyboard.press("Enter")


async def sessions(server: Server, number: int) -> None:
    """Wait until the server has so many sessions."""
    await until(server.url, lambda status: status["sessions"] == number)


TALKS = pytest.mark.parametrize(
    ("transport", "screen"), [("websocket", DESKTOP), ("websocket", PHONE), ("webrtc", PHONE)]
)
BY = pytest.mark.parametrize("transport", ["websocket", "webrtc"])


@TALKS
async def test_a_spoken_question_is_answered_aloud(
    server: Server, tmp_path: Path, transport: str, screen: Screen
) -> None:
    wav = write_wav(tmp_path / "question.wav", await spoken(QUESTION, before=1.5, after=1.0), WIRE_RATE)
    address = f"{server.url}/?transport={transport}"
    async with chromium(wav) as browser, opened(browser, address, bypass_csp=True, **screen) as page:
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        await start(page)
        await record(page)
        partial = page.locator(".turn.user.partial .words")
        await expect(partial).to_be_visible(timeout=PATIENCE_MS)
        early = await partial.inner_text()
        await state(page, "Speaking", "Listening")

        heard = await page.locator(".turn.user .words").inner_text()
        errors, length = word_errors(QUESTION, heard)
        assert errors <= 0.15 * length, heard
        assert len(early.split()) < len(heard.split())  # words came while they were being said

        answer = await page.locator(".turn.assistant .words").inner_text()
        assert len(answer.split()) >= 5
        sound = await recorded(page)
        assert loudness(sound).max() > 0.02
        errors, length = word_errors(answer, await words_in(sound))
        assert errors <= 0.15 * length, (answer, await words_in(sound))

        await expect(page.locator("#latency-words")).to_contain_text("Last answer:")
        await page.locator("#latency-words").click()
        for stage in ("Your turn was over", "First word of the answer", "First sound sent"):
            await expect(page.locator("#latency-stages")).to_contain_text(stage)
        await expect(page.locator(".trouble")).to_have_count(0)
        assert len(sockets) == (transport == "websocket")
        await page.get_by_role("button", name="Stop").click()
        await sessions(server, 0)


@BY
async def test_a_second_utterance_cuts_in(server: Server, tmp_path: Path, transport: str) -> None:
    wav = write_wav(tmp_path / "cut.wav", await spoken("But what is the capital of France?", before=1.0), WIRE_RATE)
    address = f"{server.url}/?transport={transport}"
    async with chromium(wav) as browser, opened(browser, address, bypass_csp=True) as page:
        await type_in(page, LONG)
        await record(page)
        await state(page, "Speaking")
        await start(page, "Use the microphone")
        cut = page.locator(".turn.assistant.cut")
        await expect(cut).to_contain_text("You cut in here", timeout=PATIENCE_MS)
        silent_from = len(await recorded(page))
        await expect(page.locator(".turn.assistant")).to_have_count(2, timeout=PATIENCE_MS)
        await state(page, "Listening")

        shown = (await cut.locator(".words").inner_text()).removesuffix("—").strip()
        sound = await recorded(page)
        errors, length = word_errors(shown, await words_in(sound[:silent_from]))
        assert errors <= max(2, 0.15 * length), (shown, await words_in(sound[:silent_from]))
        gap = loudness(sound[silent_from : silent_from + WIRE_RATE // 2])
        assert gap.max() < 0.001  # silence, while they speak
        await expect(page.locator(".turn.assistant").last).to_contain_text("Paris")
        await expect(page.locator(".turn.user").last).to_contain_text("capital of France")
        await expect(page.locator(".trouble")).to_have_count(0)


@pytest.mark.parametrize("how", ["refused", "no packets"])
async def test_where_webrtc_cannot_connect_the_websocket_does(server: Server, tmp_path: Path, how: str) -> None:
    wav = write_wav(tmp_path / "question.wav", await spoken(QUESTION, before=7.0), WIRE_RATE)
    async with chromium(wav) as browser, opened(browser, f"{server.url}/?transport=webrtc") as page:

        async def answer(route: Route) -> None:
            if how == "refused":
                await route.fulfill(status=404)
                return
            told = await route.fetch()
            lost = re.sub(r"(udp \d+) \S+ \d+ typ host", r"\1 192.0.2.254 9 typ host", await told.text())
            await route.fulfill(response=told, body=lost)

        await page.route("**/v1/realtime/calls*", answer)
        await start(page)  # once
        await state(page, "Listening", "Speaking")
        await expect(page.locator(".turn.user")).to_contain_text("lighthouse")
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_typing_works_and_cuts_in(server: Server) -> None:
    async with chromium(ask=True, device=False) as browser, opened(browser, server.url) as page:
        await type_in(page, LONG)
        await state(page, "Speaking")
        await page.wait_for_timeout(1_500)  # enough for some words to be heard
        await type_in(page, "What is the capital of France?")
        await expect(page.locator(".turn.assistant.cut")).to_contain_text("You cut in here")
        await expect(page.locator(".turn.assistant").last).to_contain_text("Paris", timeout=PATIENCE_MS)
        await state(page, "Ready for what you type")
        await expect(page.locator(".turn.user .words")).to_have_text([LONG, "What is the capital of France?"])
        await expect(page.locator(".trouble")).to_have_count(0)


async def test_stop_start_and_two_starts(server: Server, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "hello.wav", await spoken("Good morning, how are you?", before=1.0), WIRE_RATE)
    await sessions(server, 0)
    async with chromium(wav) as browser, opened(browser, server.url) as page:
        await page.get_by_role("button", name="Start").dblclick()
        await state(page, "Speaking")
        await sessions(server, 1)
        await page.get_by_role("button", name="Stop").click()
        await sessions(server, 0)
        await state(page, "Ready")
        await start(page)
        await state(page, "Speaking")
        await sessions(server, 1)
        await expect(page.locator(".turn.user .words")).to_have_text([r"Good morning, how are you?"] * 2)


async def test_mute_keeps_words_from_the_server(server: Server, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "secret.wav", await spoken("This is a secret.", before=3.0), WIRE_RATE)
    async with chromium(wav) as browser, opened(browser, server.url) as page:
        await start(page)
        await page.get_by_role("button", name="Mute").click()
        await state(page, "Muted: it cannot hear you")
        await page.wait_for_timeout(7_000)  # the recording is over by then
        await expect(page.locator(".turn")).to_have_count(0)
        await page.get_by_role("button", name="Unmute").click()
        await type_in(page, "Say hello.")
        await expect(page.locator(".turn.assistant")).to_be_visible(timeout=PATIENCE_MS)


async def test_a_tab_closed_mid_sentence_frees_its_session(server: Server, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "long.wav", await spoken(f"{QUESTION} {QUESTION} {QUESTION}"), WIRE_RATE)
    await sessions(server, 0)
    async with chromium(wav) as browser, opened(browser, server.url) as page:
        await start(page)
        await expect(page.locator(".turn.user.partial")).to_be_visible(timeout=PATIENCE_MS)
        await sessions(server, 1)
        await page.close()
        await sessions(server, 0)


async def test_the_server_is_killed_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    async with chromium() as browser:
        first = await serve(port)
        try:
            await until(f"http://localhost:{port}", lambda status: status["stage"] == "ready")
            async with opened(browser, f"http://localhost:{port}") as page:
                await start(page)
                await state(page, "Listening")
                first.kill()
                await first.wait()
                await expect(page.get_by_role("alert")).to_contain_text("The connection was lost")
                await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
                await expect(page.locator(".trouble")).to_contain_text("Trying again in")
                second = await serve(port)
                try:
                    await state(page, "Listening")
                    await expect(page.locator(".trouble")).to_have_count(0)
                finally:
                    second.kill()
                    await second.wait()
        finally:
            if first.returncode is None:
                first.kill()
                await first.wait()


async def serve(port: int) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chinwag", "serve", "--port", str(port), stdin=quiet, stdout=quiet, stderr=quiet
    )


async def until(address: str, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the server's status fulfils the condition."""
    async with asyncio.timeout(120):
        while True:
            if (status := await fetch_status(address)) and condition(status):
                return
            await asyncio.sleep(0.1)
