"""The stock `@openai/agents` RealtimeSession over WebRTC, in a real Chromium, against the real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, Route
from serving import Server

from browser.chromium import chromium, opened
from browser.npm_package import installed
from browser.sound import spoken, write_wav
from chinwag.audio import WIRE_RATE
from chinwag.bench.metrics import words

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PACKAGE, VERSION = "@openai/agents-realtime", "0.20.0"
PAGE = "/agents/index.html"
WRITTEN_BY_ITS_MANUAL = """<!doctype html><title>agents</title><script type="module">
import { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession } from "./openai-realtime-agents.mjs";
const agent = new RealtimeAgent({ name: "Assistant", instructions: "Answer in one short sentence." });
const baseUrl = `${location.origin}/v1/realtime/calls`;
const transport = new OpenAIRealtimeWebRTC({ baseUrl, useInsecureApiKey: true });
window.session = new RealtimeSession(agent, { transport });
window.told = [];
window.faults = [];
session.on("transport_event", (event) => told.push(event.type));
session.on("error", ({ error }) => faults.push(JSON.stringify(error)));
await session.connect({ apiKey: "none" });
window.connected = true;
</script>"""


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The folder of its browser bundle, installed once."""
    return installed(PACKAGE, VERSION) / "dist" / "bundle"


async def told(page: Page, kind: str, times: int = 1) -> None:
    await page.wait_for_function(
        "([kind, times]) => window.told.filter((one) => one === kind).length >= times",
        arg=[kind, times],
        timeout=60_000,
    )


async def said(page: Page, role: str) -> list[str]:
    """What that side said, as the SDK's own history has it."""
    texts: list[str] = await page.evaluate(
        "role => session.history.filter((item) => item.role === role)"
        ".map((item) => item.content.map((part) => part.transcript ?? part.text ?? '').join(' '))",
        role,
    )
    return texts


async def test_a_spoken_turn_a_typed_one_and_an_interruption(server: Server, bundle: Path, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "name.wav", await spoken("What is the capital of France?", before=3.0), WIRE_RATE)

    async def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name == "index.html":
            await route.fulfill(body=WRITTEN_BY_ITS_MANUAL, content_type="text/html")
        else:
            await route.fulfill(path=bundle / name, content_type="text/javascript")

    async with chromium(wav) as browser, opened(browser, "about:blank") as page:
        await page.route("**/agents/*", serve)
        await page.goto(server.url + PAGE)
        await page.wait_for_function("window.connected === true", timeout=60_000)
        await told(page, "output_audio_buffer.stopped")
        assert {"capital", "france"} <= set(words((await said(page, "user"))[0]))
        assert "paris" in words((await said(page, "assistant"))[0])

        await page.evaluate("session.sendMessage('What is the capital of Italy?')")
        await told(page, "output_audio_buffer.stopped", 2)
        assert "rome" in words((await said(page, "assistant"))[-1])

        await page.evaluate("session.sendMessage('Tell me a very long story about the sea.')")
        await told(page, "output_audio_buffer.started", 3)
        await page.wait_for_timeout(1_500)
        await page.evaluate("session.interrupt()")
        await told(page, "output_audio_buffer.cleared")
        await told(page, "conversation.item.truncated")
        assert await page.evaluate("window.faults") == []
