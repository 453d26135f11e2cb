"""Take the pictures in docs/images: the page in each of its states; and, with `--only talk`, with a real server.

Usage: python scripts/screenshots.py [--only talk | NAME ...] [--url http://localhost:8000] [--folder docs/images]

Without --url it starts a server for the talk. The states (scripts/page_states.py, page_troubles.py) are made by the
tests' scripted server, and docs/page.md is written anew from them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # its browser is the tests'

import page_troubles  # noqa: E402, F401  (adds its states)
from browser import chromium as patience  # noqa: E402
from browser.chromium import chromium, opened  # noqa: E402
from browser.fake_server import fake_server  # noqa: E402
from browser.sound import spoken  # noqa: E402
from page_states import ASSISTANTS, MICROPHONE, STATES, Stage, State, voices, wav  # noqa: E402
from playwright.async_api import Browser, Page, expect  # noqa: E402

from chinwag.client_sdk.local_server import local_server  # noqa: E402

QUESTIONS = ("Can you tell me something about Paris?", "What is the famous tower there called?")
WORDS = 5  # of an answer, before it is interrupted or shown
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1180, "height": 760}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
WIDTHS = {"desktop": 560, "phone": 180}
RULES = ("--host-resolver-rules=MAP chinwag.test 127.0.0.1",)
PATIENCE_MS = 60_000
patience.PATIENCE_MS = PATIENCE_MS
expect.set_options(timeout=PATIENCE_MS)
COLOURS = 128
GALLERY = "<!-- made by scripts/screenshots.py from here on -->"


async def save(page: Page, path: Path) -> None:
    """Save a screenshot with a palette, which has a fifth of the bytes and looks the same on a page of few colours."""
    shot = await page.screenshot(animations="disabled")
    print(f"{path} {await asyncio.to_thread(reduce, shot, path)} kB")


def reduce(shot: bytes, path: Path) -> int:
    """Write the screenshot with COLOURS colours and return its size in kB."""
    with Image.open(io.BytesIO(shot)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path.stat().st_size // 1000


async def take_states(folder: Path, wanted: list[State]) -> None:
    question, answer = await voices()
    async with AsyncExitStack() as stack:
        browsers: dict[Any, Browser] = {}
        for state in wanted:
            if state.browser not in browsers:
                own = chromium(flags=RULES, **dict(state.browser))
                browsers[state.browser] = await stack.enter_async_context(own)
            for screen in state.screens:
                async with fake_server() as server:
                    server.assistants = ASSISTANTS
                    if state.before:
                        state.before(server)
                    url = server.url.replace("localhost", state.host)
                    async with opened(browsers[state.browser], url, init=state.init, **SCREENS[screen]) as page:
                        await state.make(Stage(server, page, question, answer))
                        await save(page, folder / f"{screen}-{state.name}.png")


async def take_talk(url: str, folder: Path) -> None:
    sounds = [wav(await spoken(text)) for text in QUESTIONS]
    async with chromium() as browser:
        for screen, context in SCREENS.items():
            for scheme in ("light", "dark"):
                double: Any = {**context, "color_scheme": scheme, "device_scale_factor": 2}
                async with opened(browser, url, init=MICROPHONE, **double) as page:
                    await talk(page, sounds, folder / f"{screen}-{scheme}-talk.png")


async def talk(page: Page, sounds: list[str], path: Path) -> None:
    await in_state(page, "Ready")
    await page.get_by_role("button", name="Start").click()
    await in_state(page, "Listening")
    answer = page.locator(".turn.assistant:last-child .words")
    for number, sound in enumerate(sounds, 1):
        await page.evaluate("say", sound)
        await expect(page.locator(".turn.user")).to_have_count(number, timeout=PATIENCE_MS)
        await expect(answer).to_have_text(re.compile(rf"(\S+\s+){{{WORDS}}}"), timeout=PATIENCE_MS)
        await page.wait_for_timeout(1_000)
    await save(page, path)


async def in_state(page: Page, words: str) -> None:
    await expect(page.locator("#state-words")).to_have_text(words, timeout=PATIENCE_MS)


def picture(state: State, screen: str) -> str:
    source = f"images/{screen}-{state.name}.png"
    return f'<img src="{source}" width="{WIDTHS[screen]}" alt="On a {screen}: {state.words}">'


def write_gallery(path: Path) -> None:
    """Replace the gallery of the file, which follows the text that was written by hand."""
    by_hand = path.read_text("utf-8").split(GALLERY)[0]
    rows = [
        f"### {state.words}\n\n{' '.join(picture(state, screen) for screen in state.screens)}\n" for state in STATES
    ]
    path.write_text(by_hand + "\n".join([GALLERY, "", *rows]), "utf-8")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the page of a running server, for the talk")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--only", nargs="+", help="states by name, or “talk”")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    only = set(chosen.only or [state.name for state in STATES])
    await take_states(chosen.folder, [state for state in STATES if state.name in only])
    if "talk" in only:
        async with AsyncExitStack() as stack:
            url = chosen.url
            if url is None:
                local = await stack.enter_async_context(local_server(print))
                url = f"http://localhost:{urlsplit(local.url).port}"
            await take_talk(url, chosen.folder)
    write_gallery(REPOSITORY / "docs" / "page.md")


if __name__ == "__main__":
    asyncio.run(main())
