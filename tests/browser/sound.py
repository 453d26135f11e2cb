"""Sound for and from a browser, as WAV files and arrays."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, join
from chinwag.client_sdk import wav
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.protocols import EngineOptions, Task
from chinwag.weights import Store

RECORDER = Path(__file__).with_name("recorder.js")


def write_wav(path: Path, samples: NDArray[np.float32], rate: int) -> Path:
    """Mono PCM16, as Chromium's fake microphone reads it."""
    wav.write(path, Audio(samples, rate))
    return path


async def record(page: Page) -> None:
    """Begin to record what the page sends to its loudspeaker; the session must have begun."""
    await page.wait_for_function("window.__chinwag?.output?.context.state === 'running'")
    await page.evaluate(RECORDER.read_text("utf-8"))
    await page.evaluate("recording.start()")


async def recorded(page: Page) -> NDArray[np.float32]:
    """What was recorded so far, float32 at 24 kHz."""
    data = base64.b64decode(await page.evaluate("recording.take()"))
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def loudness(samples: NDArray[np.float32], rate: int = 24_000) -> NDArray[np.float32]:
    """RMS of each 10 ms."""
    step = rate // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    return np.asarray(np.sqrt((blocks**2).mean(axis=1)), np.float32)


def pitch(samples: NDArray[np.float32], rate: int = 24_000) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


async def spoken(text: str, *, before: float = 0.5, after: float = 0.5) -> NDArray[np.float32]:
    """A person says it, with seconds of silence around; 24 kHz."""
    voice = await _engine("tts", "hibari")
    async with aclosing(voice.speak(text)) as stream:
        sound = join([piece async for piece in stream]).resampled(WIRE_RATE)
    return np.pad(sound.pcm, (round(before * WIRE_RATE), round(after * WIRE_RATE)))


async def words_in(samples: NDArray[np.float32]) -> str:
    """What is said in sound of 24 kHz, as a transcriber hears it."""
    transcriber = await _engine("stt", "moonshine")
    utterance = transcriber.open("en")
    utterance.push(Audio(samples, WIRE_RATE).resampled(LISTEN_RATE))
    return str((await utterance.finish()).text)


_engines: dict[str, Any] = {}


async def _engine(task: Task, name: str) -> Any:
    """An engine that is loaded once for all tests on this loop; `close_engines` ends it."""
    if name not in _engines:
        config = Config()
        engine = registry.find(task, name)
        options = EngineOptions.gathered(engine, getattr(config, task), Store(config.weights).folder)
        _engines[name] = await asyncio.to_thread(engine.load, options)
    return _engines[name]


async def close_engines() -> None:
    while _engines:
        await _engines.popitem()[1].close()
