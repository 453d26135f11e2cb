"""Draw the PNG icons of the page from its icon.svg, in a browser: `python scripts/icons.py`, after that has changed."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # its browser is the tests'

from browser.chromium import chromium  # noqa: E402

CLIENT = REPOSITORY / "src" / "chinwag" / "page"
PAPER = "#fbf9f6"
ICONS = {
    "icon-192.png": (192, 1.0, "transparent"),
    "icon-512.png": (512, 1.0, "transparent"),
    "icon-180.png": (180, 0.72, PAPER),  # iOS fills what is clear with black
    "icon-maskable-512.png": (512, 0.6, PAPER),  # a launcher may cut off all outside of the inner 80 %
}
"""Side in pixels, how much of it the drawing takes, and what is behind it."""


async def main() -> None:
    """Write them all."""
    drawing = (CLIENT / "icon.svg").read_text("utf-8")
    async with chromium() as browser:
        for name, (side, share, behind) in ICONS.items():
            page = await browser.new_page(viewport={"width": side, "height": side})
            drawn = drawing.replace("<svg ", f'<svg width="{side * share}" height="{side * share}" ', 1)
            centred = f"margin:0;height:{side}px;display:grid;place-items:center;background:{behind}"
            await page.set_content(f'<body style="{centred}">{drawn}</body>')
            picture = Image.open(io.BytesIO(await page.screenshot(omit_background=True)))
            picture.quantize(64).save(CLIENT / name, optimize=True)
            print(name, (CLIENT / name).stat().st_size, "bytes")


if __name__ == "__main__":
    asyncio.run(main())
