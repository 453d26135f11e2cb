"""The panel of engines: what it shows and sends, and a voice and a model that are changed in the middle of a talk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from engines.chat_servers import Connection, serving
from numpy.typing import NDArray
from playwright.async_api import Browser, Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, Wire, fake_server
from browser.sound import record, recorded
from chinwag.client_sdk.local_server import LocalServer, local_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PATIENCE_MS = 60_000


def engine(task: str, name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "state": "ready", "fix": "", "summary": f"{name}, as it is", "licence": "MIT", "languages": ["en"],
        "models": [], "size": 0, "chosen": False, "loaded": [], "voices": None,
    }  # fmt: skip
    return {"task": task, "name": name, **usual, **changes}


ENGINES = [
    engine("stt", "moonshine", chosen=True),
    engine("stt", "whisper", state="not installed", fix="pip install 'chinwag[whisper]'", languages=["*"]),
    engine(
        "llm", "embedded", chosen=True,
        models=[{"name": "qwen", "size": 10, "here": True}, {"name": "large", "size": 900_000_000, "here": False}],
    ),
    engine("tts", "hibari", chosen=True, voices={"en": ["heart"]}, loaded=[""]),
    engine("tts", "kokoro", state="no weights", size=119_000_000, languages=["en", "es"]),
]  # fmt: skip

IN_USE = {
    "stt": {"engine": "moonshine", "model": ""},
    "llm": {"engine": "embedded", "model": "qwen"},
    "tts": {
        "engine": "kokoro", "model": "", "voice": "af_heart", "voices": ["af_heart", "ef_dora"],
        "languages": {"en": ["af_heart"], "es": ["ef_dora"]},
    },
}  # fmt: skip


@asynccontextmanager
async def in_a_talk(server: FakeServer, **context: Any) -> AsyncIterator[tuple[Page, Wire]]:
    server.engines = ENGINES
    async with chromium() as browser, opened(browser, server.url, **context) as page:
        await type_in(page, "Hello")
        yield page, await server.session()


async def type_in(page: Page, text: str) -> None:
    await page.get_by_label("Type a message").fill(text)
    await page.keyboard.press("Enter")


async def open_panel(page: Page) -> None:
    await page.get_by_role("button", name="Engines").click()
    await expect(page.get_by_role("dialog", name="What hears, thinks and speaks")).to_be_visible()
    await expect(page.locator("#tts-engine")).not_to_have_value("", timeout=PATIENCE_MS)


async def test_a_voice_is_chosen_fetched_with_progress_and_its_voices_are_then_listed() -> None:
    async with fake_server() as server, in_a_talk(server) as (page, wire):
        await open_panel(page)
        await expect(page.locator("#tts-about")).to_have_text("hibari, as it is · English · MIT")
        await page.get_by_role("group", name="Speaking").get_by_label("Engine").select_option("kokoro")
        await expect(page.locator("#tts-about")).to_contain_text("English, Spanish · MIT · fetches 119 MB")
        await page.get_by_role("button", name="Use these").click()
        update = await wire.expect("chinwag.engines.update")
        assert update["engines"] == {"tts": {"engine": "kokoro", "model": "", "voice": ""}}
        bytes_ = {"done": 30_000_000, "total": 120_000_000, "bytes_per_s": 1}
        progress = {"task": "tts", "engine": "kokoro", "model": ""}
        await wire.send("chinwag.engines.updating", **progress, stage="fetching", bytes=bytes_)
        await expect(page.get_by_role("progressbar", name="Speaking: fetching kokoro…")).to_have_attribute(
            "value", "0.25"
        )
        await expect(page.locator("#engines-bytes")).to_have_text("30 MB of 120 MB")
        await wire.send("chinwag.engines.updating", **progress, stage="loading", bytes=bytes_)
        await expect(page.locator("#engines-words")).to_have_text("Speaking: loading kokoro…")
        await wire.send("chinwag.engines.updated", engines=IN_USE)
        await expect(page.locator("#engines-words")).to_have_text("In use from the next answer on.")
        await expect(page.locator("#engines-progress")).to_be_hidden()
        await expect(page.locator("#engines")).to_have_text("moonshine · qwen · kokoro")
        await page.locator("#tts-voice").select_option(label="ef_dora")
        await page.get_by_role("button", name="Use these").click()
        second = await wire.expect("chinwag.engines.update", 2)
        assert second["engines"] == {"tts": {"engine": "kokoro", "model": "", "voice": "ef_dora"}}


async def test_what_is_not_installed_says_the_command_and_what_fails_offers_another() -> None:
    async with fake_server() as server, in_a_talk(server) as (page, wire):
        await open_panel(page)
        await page.locator("#stt-engine").select_option("whisper")
        await expect(page.locator("#stt-about")).to_contain_text("pip install 'chinwag[whisper]'")
        await page.get_by_role("button", name="Use these").click()
        update = await wire.expect("chinwag.engines.update")
        offer = {"label": "Use the embedded model instead", "engines": {"llm": {"engine": "embedded"}}}
        error = {
            "code": "engine_not_changed",
            "message": "It is not installed. Install it.",
            "event_id": update["event_id"],
        }
        await wire.send("error", error={**error, "offer": offer})
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("It is not installed. Install it.")
        await page.get_by_role("button", name="Use the embedded model instead").click()
        second = await wire.expect("chinwag.engines.update", 2)
        assert second["engines"] == {"llm": {"engine": "embedded"}}
        await expect(page.locator("#engines-trouble")).to_be_hidden()


async def test_what_is_chosen_before_the_talk_and_in_the_last_one_is_asked_of_the_next() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        server.engines = ENGINES
        await open_panel(page)
        await page.locator("#llm-model").select_option("large")
        await expect(page.locator("#llm-about")).to_contain_text("fetches 900 MB")
        await page.get_by_role("button", name="Use these").click()
        await expect(page.locator("#engines-words")).to_have_text("They are taken when you press Start.")
        await page.get_by_role("button", name="Close").click()
        await type_in(page, "Hello")
        wire = await server.session()
        wanted = {"llm": {"engine": "embedded", "model": "large"}}
        assert (await wire.expect("chinwag.engines.update"))["engines"] == wanted
        await wire.send("chinwag.engines.updated", engines=IN_USE)
        await wire.close(1011)
        second = await server.session(2)
        assert (await second.expect("chinwag.engines.update"))["engines"] == wanted


async def test_by_keyboard_on_a_small_screen() -> None:
    small: Any = {"viewport": {"width": 320, "height": 480}}
    async with fake_server() as server, in_a_talk(server, **small) as (page, wire):
        await page.get_by_role("button", name="Engines").focus()
        await page.keyboard.press("Enter")
        panel = page.get_by_role("dialog")
        await expect(page.locator("#tts-engine")).to_have_value("hibari")
        wide = "[document.documentElement, document.querySelector('dialog')].some((e) => e.scrollWidth > innerWidth)"
        assert not await page.evaluate(wide)
        await page.locator("#tts-engine").focus()
        await page.keyboard.press("k")  # a select goes to what begins so
        await expect(page.locator("#tts-engine")).to_have_value("kokoro")
        await page.get_by_role("button", name="Use these").focus()
        await page.keyboard.press("Enter")
        await wire.expect("chinwag.engines.update")
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        await expect(page.get_by_role("button", name="Engines")).to_be_focused()


# --- with real engines -------------------------------------------------------------------------------------------


def at(browser: Browser, server: LocalServer) -> AbstractAsyncContextManager[Page]:
    """Its page."""
    return opened(browser, f"http://localhost:{urlsplit(server.url).port}", bypass_csp=True)


async def answered(page: Page, number: int) -> str:
    """The nth answer, once it was spoken."""
    answer = page.locator(".turn.assistant .words").nth(number - 1)
    await expect(answer).to_be_visible(timeout=PATIENCE_MS)
    await expect(page.locator("#state-words")).to_have_text("Ready for what you type", timeout=PATIENCE_MS)
    return await answer.inner_text()


def voice_pitch(sound: NDArray[np.float32], rate: int = 24_000) -> float:
    """Median fundamental of the loud parts, Hz, by autocorrelation."""
    size, lags = rate // 25, range(rate // 300, rate // 70)
    found = []
    for start in range(0, len(sound) - 2 * size, size):
        piece = sound[start : start + 2 * size]
        if np.sqrt(np.mean(piece**2)) < 0.02:
            continue
        alike = [float(np.dot(piece[:size], piece[lag : lag + size])) for lag in lags]
        found.append(rate / lags[int(np.argmax(alike))])
    return float(np.median(found))


async def test_the_next_answer_is_in_another_voice_and_the_talk_goes_on() -> None:
    temperature = {"CHINWAG_LLM__TEMPERATURE": "0"}
    async with local_server(print, **temperature) as local, chromium() as browser, at(browser, local) as page:
        await expect(page.get_by_role("button", name="Send")).to_be_enabled(timeout=PATIENCE_MS)
        await type_in(page, "Name three colours.")
        await record(page)
        await answered(page, 1)
        female = voice_pitch(await recorded(page))
        await open_panel(page)
        await page.locator("#tts-engine").select_option("kokoro")
        await page.get_by_role("button", name="Use these").click()
        words = page.locator("#engines-words")
        await expect(words).to_have_text("In use from the next answer on.", timeout=120_000)
        await page.locator("#tts-voice").select_option("am_michael")
        await page.get_by_role("button", name="Use these").click()
        await expect(words).to_have_text("In use from the next answer on.")
        await page.get_by_role("button", name="Close").click()
        before = len(await recorded(page))
        await type_in(page, "Name three animals.")
        await answered(page, 2)
        male = voice_pitch((await recorded(page))[before:])
        assert male < 0.8 * female, (male, female)
        await expect(page.locator(".turn")).to_have_count(4)
        await expect(page.locator(".divider")).to_have_count(0)
        await expect(page.locator(".trouble:visible")).to_have_count(0)
        assert "kokoro" in await page.locator("#engines").inner_text()


async def other_server(asked: Connection) -> None:
    """A chat server that always gives the same answer."""
    if asked.path.endswith("/models"):
        await asked.answer({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        return
    await asked.begin("text/event-stream")
    words = {"index": 0, "delta": {"content": "I come from the other server."}, "finish_reason": None}
    for choice in (words, {"index": 0, "delta": {}, "finish_reason": "stop"}):
        part = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}
        await asked.piece(f"data: {json.dumps(part)}\n\n".encode())
    await asked.piece(b"data: [DONE]\n\n")
    await asked.end()


async def test_a_server_that_dies_in_the_middle_is_told_and_the_embedded_model_goes_on() -> None:
    async with AsyncExitStack() as stack:
        chat = await stack.enter_async_context(serving(other_server))
        settings = {"ENGINE": "openai", "BASE_URL": f"{chat.address}/v1", "TEMPERATURE": "0"}
        env = {f"CHINWAG_LLM__{key}": value for key, value in settings.items()}
        async with local_server(lambda line: None, **env) as local, chromium() as browser, at(browser, local) as page:
            await expect(page.get_by_role("button", name="Send")).to_be_enabled(timeout=PATIENCE_MS)
            await type_in(page, "Hello.")
            assert await answered(page, 1) == "I come from the other server."
            await stack.aclose()  # it dies
            await type_in(page, "Name three colours.")
            trouble = page.locator("#troubles").get_by_role("alert")
            await expect(trouble).to_contain_text(urlsplit(chat.address).netloc, timeout=PATIENCE_MS)
            await page.get_by_role("button", name="Use the embedded model instead").click()
            await expect(page.locator("#engines")).to_contain_text("qwen", timeout=PATIENCE_MS)
            await expect(page.get_by_role("dialog")).to_be_hidden()
            await type_in(page, "Name three colours.")
            assert await answered(page, 2) != "I come from the other server."
            await expect(page.locator(".turn.user")).to_have_count(3)
            await expect(page.locator(".divider")).to_have_count(0)
