"""Calls of tools on the page: shown as they run, and asked about where they need leave."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp_serving import PROGRAM
from playwright.async_api import expect
from serving import serving

from browser.chromium import chromium, opened
from browser.fake_server import fake_server

pytestmark = pytest.mark.browser

CALL = {"id": "item_c", "type": "mcp_call", "server_label": "chinwag", "name": "get_time", "arguments": "{}"}
ASKED = {
    "id": "mcpr_1", "type": "mcp_approval_request", "server_label": "home", "name": "unlock_door",
    "arguments": '{"door": "front", "for": {"minutes": 5}}',
}  # fmt: skip


def call(made: dict[str, Any] = CALL, **fields: Any) -> dict[str, Any]:
    return {"output": None, "error": None, "approval_request_id": None, **made, **fields}


async def test_calls_are_shown_and_leave_is_given_or_not() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        await page.get_by_label("Type a message").fill("What time is it?")
        await page.keyboard.press("Enter")
        wire = await server.session()
        cards = page.locator(".tool")
        await wire.send("conversation.item.added", item=call())
        await expect(cards).to_have_text(["get_time …"], use_inner_text=True)
        await wire.send("conversation.item.done", item=call(output="Noon."))
        await expect(cards.locator("summary")).to_have_text(["get_time done"])
        await cards.locator("summary").click()
        await expect(page.get_by_text("Noon.")).to_be_visible()
        failed = call(id="item_d", error={"type": "tool_execution_error", "message": "The clock is broken."})
        await wire.send("conversation.item.added", item=call(id="item_d"))
        await wire.send("conversation.item.done", item=failed)
        await expect(cards.nth(1).locator("summary")).to_have_text("get_time failed")

        await wire.send("conversation.item.added", item=ASKED)
        asks = page.get_by_role("group", name="home: unlock_door wants to be allowed")
        await expect(asks).to_contain_text('door: front\nfor: {"minutes":5}')
        await asks.get_by_role("button", name="Allow", exact=True).click()
        answer = (await wire.expect("conversation.item.create", 2))["item"]
        assert answer == {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
        await expect(cards.nth(2).locator("summary")).to_have_text("home: unlock_door allowed")
        ran = call({**ASKED, "id": "item_e", "type": "mcp_call"}, approval_request_id="mcpr_1", output="Open.")
        await wire.send("conversation.item.done", item=ran)
        await expect(cards.nth(2).locator("summary")).to_have_text("home: unlock_door done")
        await expect(cards).to_have_count(3)

        await wire.send("conversation.item.added", item={**ASKED, "id": "mcpr_2"})
        await page.get_by_role("button", name="Do not allow").focus()
        await page.keyboard.press("Enter")
        answer = (await wire.expect("conversation.item.create", 3))["item"]
        assert answer == {"type": "mcp_approval_response", "approval_request_id": "mcpr_2", "approve": False}
        await wire.send("conversation.item.added", item={**ASKED, "id": "mcpr_3"})
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_hidden()


@pytest.mark.timeout(300)  # loading the engines counts
async def test_a_real_tool_waits_for_leave_and_its_outcome_is_told(tmp_path: Path) -> None:
    (tmp_path / "chinwag.toml").write_text(
        f"""
[[tools.mcp]]
name = "shop"
command = {json.dumps(sys.executable)}
args = [{json.dumps(PROGRAM)}]
allowed_tools = ["get_price"]
require_approval = "always"
""",
        "utf-8",
    )
    with serving("--llm", "embedded", cwd=tmp_path) as server:
        await asyncio.to_thread(server.wait, "ready")
        async with chromium() as browser, opened(browser, server.url) as page:
            await page.get_by_label("Type a message").fill("What is the price of the lamp?")
            await page.keyboard.press("Enter")
            asks = page.get_by_role("group", name="shop: get_price wants to be allowed")
            await expect(asks).to_contain_text("lamp", timeout=60_000)
            await asks.get_by_role("button", name="Allow", exact=True).click()
            await expect(page.locator(".tool summary")).to_have_text("shop: get_price done", timeout=20_000)
            await expect(page.locator(".turn.assistant .words").last).to_contain_text("seven", timeout=60_000)
