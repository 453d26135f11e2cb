"""The service worker: the page's code is always the server's own, and a server that is away is told, and waited for."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Page, expect
from serving import serving

from browser.chromium import chromium, comes_true, opened
from browser.fake_server import CLIENT, fake_server
from browser.screens import EACH_SCREEN, Screen

pytestmark = pytest.mark.browser

OFFLINE_FILES = ["base.css", "icon.svg", "offline.html", "offline.js", "page.css", "tokens.css"]


async def controlled(page: Page) -> None:
    """Wait until the worker is in charge of the page, as it is on a second visit."""
    await page.evaluate("navigator.serviceWorker.ready.then(() => {})")
    await comes_true(page, "navigator.serviceWorker.controller?.state === 'activated'")


async def cached(page: Page) -> list[str]:
    """Addresses of everything in all of this origin's caches."""
    found: list[str] = await page.evaluate("""async () => {
        const all = [];
        for (const name of await caches.keys())
            for (const one of await (await caches.open(name)).keys()) all.push(one.url);
        return all.sort();
    }""")
    return found


async def test_a_new_version_of_any_file_is_there_on_the_next_visit(tmp_path: Path) -> None:
    folder = tmp_path / "client"
    shutil.copytree(CLIENT, folder)
    async with fake_server(folder=folder) as server, chromium() as browser, opened(browser, server.url) as page:
        await expect(page.locator("#state-words")).to_have_text("Ready")
        await controlled(page)
        for number in (1, 2):
            view, html, css = folder / "view.js", folder / "index.html", folder / "tokens.css"
            view.write_text((CLIENT / "view.js").read_text("utf-8").replace('"Ready"', f'"Version {number}"'), "utf-8")
            words = f"Version {number} of the page"
            html.write_text((CLIENT / "index.html").read_text("utf-8").replace("Have a chinwag.", words), "utf-8")
            paper = (CLIENT / "tokens.css").read_text("utf-8").replace("#fbf9f6", f"rgb({number} 2 3)")
            css.write_text(paper, "utf-8")
            await page.reload()
            assert await page.evaluate("navigator.serviceWorker.controller !== null")
            await expect(page.locator(".big")).to_have_text(words)
            await expect(page.locator("#state-words")).to_have_text(f"Version {number}")
            assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == f"rgb({number}, 2, 3)"


@EACH_SCREEN
async def test_a_server_that_is_away_is_told_and_waited_for(screen: Screen) -> None:
    async with chromium() as browser, fake_server() as server:
        port = urlsplit(server.url).port
        assert port
        async with opened(browser, server.url, **screen) as page:
            await controlled(page)
            context = page.context
            other = await context.new_page()
            await other.goto(server.url)
            await expect(other.locator("#state-words")).to_have_text("Ready")
            server.stop()
            await server.stopped.wait()
            await page.reload()
            await expect(page.get_by_role("heading", name="The server does not answer")).to_be_visible()
            await expect(page.locator("#away-words")).to_contain_text("Trying again")
            await expect(page).to_have_title("No server · Chinwag")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await page.get_by_role("button", name="Try now").focus()
            await page.keyboard.press("Enter")
            await expect(page.locator("#away-words")).to_contain_text("s now")
            async with fake_server(port):
                await expect(page.locator("#state-words")).to_have_text("Ready")  # by itself
                await expect(other.locator("#state-words")).to_have_text("Ready")


async def test_nothing_but_the_page_for_then_is_kept(tmp_path: Path) -> None:
    """Nothing of /api or /v1, and nothing that a key came with, though the real page asks for much with one."""
    key = "a-key-for-this-test"
    with serving("--llm", "embedded", env={"CHINWAG_SERVER__API_KEYS": key}) as server:
        async with chromium() as browser, opened(browser, f"{server.url}/#key={key}") as page:
            await controlled(page)
            await page.reload()
            await page.evaluate(
                "key => Promise.all(['api/status', 'api/assistants', 'v1/models', 'main.js', 'icon.svg'].map("
                "(path) => fetch(path, { headers: { Authorization: `Bearer ${key}` } }).catch(() => {})))",
                key,
            )
            kept = await cached(page)
            assert [urlsplit(url).path.lstrip("/") for url in kept] == OFFLINE_FILES
            headers: list[str] = await page.evaluate("""async () => {
                const found = [];
                const requests = await (await caches.open("offline")).keys();
                for (const { headers } of requests) found.push(...[...headers].map(String));
                return found;
            }""")
            assert key not in str(headers)
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.get("/service-worker.js")
            assert answer.headers["cache-control"] == "no-cache"
            assert "worker-src 'self'" in answer.headers["content-security-policy"]
