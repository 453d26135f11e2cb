"""The page's own resampler, run in a browser."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Page

from browser.chromium import chromium, opened
from browser.fake_server import fake_server

pytestmark = pytest.mark.browser

RESAMPLE = """async ({ samples, from, pieces }) => {
  const { Resampler } = await import("/resampler.js");
  const resampler = new Resampler(from, 24000);
  const all = Float32Array.from(samples);
  return pieces.flatMap(([start, end]) => Array.from(resampler.push(all.subarray(start, end))));
}"""


async def resample(page: Page, samples: NDArray[np.float64], rate: int, pieces: int) -> NDArray[np.float64]:
    edges = np.linspace(0, len(samples), pieces + 1).astype(int).tolist()
    arguments = {"samples": samples.tolist(), "from": rate, "pieces": list(pairwise(edges))}
    return np.asarray(await page.evaluate(RESAMPLE, arguments))


def sine(hertz: float, rate: int, seconds: float = 0.5) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 96_000])
async def test_what_can_be_heard_stays_and_what_cannot_does_not_come_back(rate: int) -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        for hertz in (100, 1_000, min(10_000, 0.42 * rate)):
            out = await resample(page, sine(hertz, rate), rate, pieces=1)
            assert len(out) == pytest.approx(12_000, abs=100)
            inner = out[500:-500]
            assert np.sqrt(2) * inner.std() == pytest.approx(1, abs=0.02)
            level = np.abs(np.fft.rfft(inner * np.kaiser(len(inner), 14)))
            main = int(np.argmax(level))
            assert main * 24_000 / len(inner) == pytest.approx(hertz, abs=3)
            level[max(0, main - 15) : main + 16] = 0
            assert level.max() < 0.002 * level.size  # nothing else, such as an image or an alias
        if rate > 28_000:
            gone = await resample(page, sine(14_000, rate), rate, pieces=1)
            assert np.abs(gone[500:-500]).max() < 0.001  # 60 dB down; plain decimation would leave it at 10 kHz


async def test_it_does_not_matter_how_the_stream_is_cut() -> None:
    async with fake_server() as server, chromium() as browser, opened(browser, server.url) as page:
        noise = np.random.default_rng(1).uniform(-1, 1, 20_000)
        whole = await resample(page, noise, 44_100, pieces=1)
        assert np.array_equal(whole, await resample(page, noise, 44_100, pieces=157))
