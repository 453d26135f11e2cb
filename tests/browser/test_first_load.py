"""The first visit: few bytes, and soon there is a button to press.

python -m pytest tests/browser/test_first_load.py -s    # the figures
"""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from playwright.async_api import expect
from serving import serving

from browser.chromium import chromium, comes_true, opened
from browser.fake_server import fake_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MOST_BYTES = 150_000
WIRE = """performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .reduce((sum, one) => sum + one.transferSize, 0)"""


# When Start can be pressed, on the page's own clock, which begins with the visit; and when a talk has begun.
WATCH = """
  addEventListener("DOMContentLoaded", () => {
    const look = () => {
      const now = performance.now();
      if (!document.getElementById("start").disabled) window.startableMs ??= now;
      if (document.getElementById("state").dataset.state === "listening") window.listeningMs ??= now;
    };
    new MutationObserver(look).observe(document.body, { subtree: true, attributes: true });
    addEventListener("click", () => (window.pressedMs ??= performance.now()), true);
  });"""


async def test_the_page_comes_in_few_bytes() -> None:
    with serving("--llm", "embedded") as server:
        async with chromium() as browser, opened(browser, server.url) as page:
            await expect(page.locator("h1")).to_be_visible()
            came: int = await page.evaluate(WIRE)
            print(f"{came} bytes came over the wire")
            assert 10_000 < came <= MOST_BYTES
            await asyncio.to_thread(server.wait, "ready")
        async with chromium() as browser, opened(browser, server.url, init=WATCH) as page:
            for visit in ("first", "second, with its service worker"):
                await expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
                print(f"{visit} visit: Start can be pressed after {await page.evaluate('startableMs'):.0f} ms")
                await page.evaluate("navigator.serviceWorker.ready.then(() => {})")
                await page.get_by_role("button", name="Start", exact=True).click()
                await expect(page.locator("#state-words")).to_have_text("Listening")
                await comes_true(page, "window.listeningMs")
                print(f"  and it listens {await page.evaluate('listeningMs - pressedMs'):.0f} ms after the press")
                await page.get_by_role("button", name="Stop").click()
                await page.reload()
        async with httpx.AsyncClient(base_url=server.url) as client:
            plain = await client.get("/main.js", headers={"Accept-Encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert (await client.get("/main.js")).headers["content-encoding"] == "gzip"


async def test_it_can_be_installed() -> None:
    """Chromium finds no fault with the manifest, and each of its icons is as large as it says."""
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        session = await page.context.new_cdp_session(page)
        told = await session.send("Page.getAppManifest")
        assert told["errors"] == []
        manifest = json.loads(told["data"])
        assert (manifest["start_url"], manifest["display"]) == ("./", "standalone")
        for icon in manifest["icons"]:
            if icon["type"] != "image/png":
                continue
            size = await page.evaluate(
                "async (src) => { const one = await createImageBitmap(await (await fetch(src)).blob());"
                " return `${one.width}x${one.height}`; }",
                icon["src"],
            )
            assert size == icon["sizes"]
