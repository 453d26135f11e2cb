"""axe-core finds nothing in the page, in each of its states, small and large, light and dark."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from browser.chromium import chromium, opened
from browser.fake_server import FakeServer, fake_server, tone
from browser.npm_package import installed
from browser.test_conversations import kept
from browser.test_settings import ASSISTANTS, ENGINES
from browser.test_tools import ASKED, call

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

AXE = "4.14.1"
PANELS = ("Conversations", "Engines", "Settings", "Sound", "Timing")


async def found(page: Page, where: str) -> list[str]:
    """What axe-core has against the page as it stands, whatever its weight."""
    result: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{where}: {one['id']} ({one['impact']}), {node['html'][:160]}: {node['failureSummary']}"
        for one in result["violations"]
        for node in one["nodes"]
    ]


async def talked(server: FakeServer, page: Page, number: int) -> None:
    """Words of both sides, an answer that was cut off, calls of tools and a trouble."""
    await page.get_by_role("button", name="Start", exact=True).click()
    wire = await server.session(number)
    await wire.send("conversation.item.input_audio_transcription.completed", item_id="u", transcript="What time is it?")
    await wire.send("conversation.item.added", item=call(output="Noon."))
    await wire.send("conversation.item.added", item=ASKED)
    await wire.begin_answer()
    await wire.say("It is noon, and the sun is high.", tone(0.3))
    await wire.end_answer()
    await wire.send("error", error={"type": "server_error", "code": "x", "message": "The voice failed."})
    await expect(page.get_by_role("alert")).to_contain_text("The voice failed.")


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (360, 740, "dark"), (320, 600, "light")])
async def test_axe_finds_nothing(width: int, height: int, scheme: str) -> None:
    script = installed("axe-core", AXE) / "axe.min.js"
    async with fake_server() as server, chromium() as browser:
        server.assistants, server.engines = ASSISTANTS, ENGINES
        server.conversations = [kept(1, "About giraffes", "How tall is a giraffe?", "About five metres —")]
        size: Any = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "bypass_csp": True}
        async with opened(browser, server.url, **size) as page:
            await page.add_script_tag(path=script)
            await expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
            faults = await found(page, "at rest")
            await talked(server, page, 1)
            faults += await found(page, "in a talk")
            for panel in PANELS:
                await page.get_by_role("button", name=panel, exact=True).click()
                await expect(page.locator("dialog[open]")).to_be_visible()
                faults += await found(page, f"panel {panel}")
                await page.keyboard.press("Escape")
            width_of_all: int = await page.evaluate("document.documentElement.scrollWidth")
        assert not faults, "\n".join(faults)
        assert width_of_all <= width, "nothing has to be scrolled sideways"
