"""`chinwag serve --lan`: HTTPS by a certificate of its own, in by the login code, a microphone in the page."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.async_api import expect
from serving import serving
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from browser.chromium import chromium, opened
from browser.sound import write_wav
from chinwag.audio import WIRE_RATE
from chinwag.server.lan import private_addresses

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]  # loading the engines counts


async def test_a_phone_comes_in_by_the_code_and_talks(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "silence.wav", np.zeros(WIRE_RATE, np.float32), WIRE_RATE)
    with serving("--lan", env={"XDG_DATA_HOME": str(tmp_path)}) as server:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "chinwag" / "lan" / "certificate.pem"))
        async with httpx.AsyncClient(base_url=server.url, verify=trusted) as client:
            for _ in range(600):
                if (await client.get("/api/status")).json()["stage"] == "ready":
                    break
                await asyncio.sleep(0.2)
            assert (await client.get("/v1/models")).status_code == 401
            printed = "\n".join(server.lines)
            found = re.search(r"Login code[^:]*: (\S+)", printed)
            assert found, printed
            code = found[1]
            assert re.search(r"[▀▄█]{8}", printed), "the QR code"
            assert re.search(r"Its SHA-256 begins with ([0-9A-F]{2}:){3}", printed)
            answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {code}"})
            assert answer.status_code == 200
        address = server.url.replace("https", "wss") + "/v1/realtime"
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(address, ssl=trusted):
                pass
        async with connect(address, ssl=trusted, additional_headers={"Authorization": f"Bearer {code}"}) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"
        told = re.findall(r"On this network: (https://\S+)", printed)
        assert len(told) == len(private_addresses())
        link = f"{[*told, server.url][0]}/#key={code}"
        untrusted = "certificate error occurred when fetching the script"  # no service worker then: docs/phones.md
        async with (
            chromium(wav) as browser,
            opened(browser, link, bears=untrusted, ignore_https_errors=True) as page,
        ):
            assert await page.evaluate("isSecureContext")
            assert "#" not in page.url, "the code does not stay in the address"
            await expect(page.get_by_text("This server wants a key")).to_be_hidden()
            await page.get_by_role("button", name="Start", exact=True).click()
            await expect(page.locator("#state-words")).to_have_text("Listening")
            await page.get_by_label("Type a message").fill("What is the capital of France?")
            await page.keyboard.press("Enter")
            await expect(page.locator(".turn.assistant .words")).to_contain_text("Paris", timeout=60_000)
            await page.reload()
            await expect(page.locator("#state-words")).to_have_text("Listening")
