"""Take the pictures in docs/images: the real page, in a real conversation with a real server.

Usage: python scripts/screenshots.py [--url http://localhost:8000] [--folder docs/images]; without --url it starts one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # its browser is the tests'

from browser.chromium import chromium, opened  # noqa: E402
from browser.sound import spoken, write_wav  # noqa: E402
from playwright.async_api import Page, expect  # noqa: E402

from chinwag.audio import WIRE_RATE  # noqa: E402
from chinwag.caller.local_server import local_server  # noqa: E402

QUESTIONS = ("Can you tell me something about Paris?", "What is the famous tower there called?")
WORDS = 5  # of an answer, before it is interrupted or shown
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1180, "height": 760}, "device_scale_factor": 2},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}
PATIENCE_MS = 60_000

# A microphone that says things when told to, as how fast the answers come depends on the machine.
MICROPHONE = """
  navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext();
    const mouth = context.createMediaStreamDestination();
    window.say = async (wav) => {
      const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
      const sound = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(bytes.buffer) });
      sound.connect(mouth);
      sound.start();
    };
    return mouth.stream;
  };"""


async def take(url: str, folder: Path) -> None:
    sounds = [await wav_of(text) for text in QUESTIONS]
    async with chromium() as browser:
        for screen, context in SCREENS.items():
            for scheme in ("light", "dark"):
                async with opened(browser, url, init=MICROPHONE, color_scheme=scheme, **context) as page:
                    await pictures(page, sounds, folder / f"{screen}-{scheme}")


async def pictures(page: Page, sounds: list[str], name: Path) -> None:
    await state(page, "Ready")
    await page.screenshot(path=f"{name}-idle.png")
    await page.get_by_role("button", name="Start").click()
    await state(page, "Listening")
    answer = page.locator(".turn.assistant:last-child .words")
    for number, sound in enumerate(sounds, 1):
        await page.evaluate("say", sound)
        await expect(page.locator(".turn.user")).to_have_count(number, timeout=PATIENCE_MS)
        await expect(answer).to_have_text(re.compile(rf"(\S+\s+){{{WORDS}}}"), timeout=PATIENCE_MS)
        await page.wait_for_timeout(1_000)
    await page.screenshot(path=f"{name}-talk.png")
    print(f"{name}-idle.png and {name}-talk.png")


async def wav_of(text: str) -> str:
    """A person's question as a WAV in base64."""
    with tempfile.TemporaryDirectory() as scratch:
        path = write_wav(Path(scratch) / "question.wav", await spoken(text), WIRE_RATE)
        return base64.b64encode(await asyncio.to_thread(path.read_bytes)).decode()


async def state(page: Page, words: str) -> None:
    await expect(page.locator("#state-words")).to_have_text(words, timeout=PATIENCE_MS)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the page of a running server")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs" / "images")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        url = chosen.url
        if url is None:
            local = await stack.enter_async_context(local_server(print))
            url = f"http://localhost:{urlsplit(local.url).port}"
        await take(url, chosen.folder)


if __name__ == "__main__":
    asyncio.run(main())
