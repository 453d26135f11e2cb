"""A place where somebody fell silent, what is known about it, and what the engines make of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.config import LlmSettings, SttSettings, TurnSettings, WeightsSettings
from chinwag.engines.llm.embedded import EmbeddedChat
from chinwag.engines.protocols import Ending, Engine, EngineOptions, Message
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.turn.smart_turn import SmartTurn
from chinwag.listening.endpointing.features import strip_final_punctuation
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS
from chinwag.weights.store import Store

WORDS_AT_S = 0.1
"""Silence that the transcriber hears behind the words, about as much as when its words are first judged."""

EAR_AT_S = (0.2, 0.26)
"""Silence that Smart Turn hears: it is asked at 200 ms, and the frame in which speech ended is up to 32 ms long."""

E = TypeVar("E", bound=Engine)


@dataclass(frozen=True)
class Point:
    """Somebody fell silent.

    source: "made", "two" (made, between two whole sentences), "cut" (made, and cut off in mid-clause) or "recorded".
    group: the recording it is from.
    finished: they had nothing to add. pause_s: where they went on, after how long, as far as that is real.
    asked: what had been said to them.
    """

    source: str
    group: str
    finished: bool
    pause_s: float | None
    asked: str = ""
    text: str = ""
    sure: float = 1.0
    sense: float | None = None
    whole: float | None = None
    ear: float | None = None
    language: str = "en"


@dataclass(frozen=True, eq=False)
class Sound:
    """A point's sound at 16 kHz up to the last voiced sample, and the room's to go on with."""

    point: Point
    pcm: Samples
    room: Samples


async def load(engine: type[E], settings: Any) -> E:
    """The engine with its weights, fetched where they are missing."""
    store = Store(WeightsSettings())
    await store.pull(store.missing(engine.needs(settings)))
    return cast("E", await asyncio.to_thread(engine.load, EngineOptions.gathered(engine, settings, store.folder)))


class Judges:
    """The real engines that look at a point."""

    def __init__(self, stt: Moonshine, ear: SmartTurn, llm: EmbeddedChat) -> None:
        self._stt, self._ear, self._llm = stt, ear, llm

    async def look(self, sound: Sound, seed: int) -> Point:
        """The point with its words and looks."""
        rng = np.random.default_rng(seed)
        utterance = self._stt.open("en")
        utterance.push(Audio(_followed(sound, WORDS_AT_S), LISTEN_RATE))
        words = await utterance.finish()
        ear = await self._ear.judge(Audio(_followed(sound, rng.uniform(*EAR_AT_S)), LISTEN_RATE), "", [])
        end = await self.expected(words.text, sound.point.asked)
        sense, whole = (end.sentence, end.turn) if end else (None, None)
        return replace(sound.point, text=words.text, sure=words.confidence, sense=sense, whole=whole, ear=ear)

    async def expected(self, text: str, asked: str = "") -> Ending | None:
        """What the answering model expects, for words without the transcriber's closing mark."""
        bare = strip_final_punctuation(text)
        if not bare:
            return None
        messages: list[Message] = [{"role": "system", "content": DEFAULT_INSTRUCTIONS}]
        if asked:
            messages += [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": asked}]
        messages.append({"role": "user", "content": bare})
        return await self._llm.prefill(messages, cache_key="fit")


@asynccontextmanager
async def judges() -> AsyncIterator[Judges]:
    """Load them, and close them afterwards."""
    stt = await load(Moonshine, SttSettings())
    ear = await load(SmartTurn, TurnSettings())
    llm = await load(EmbeddedChat, LlmSettings(slots=1))
    try:
        yield Judges(stt, ear, llm)
    finally:
        await stt.close()
        await ear.close()
        await llm.close()


def _followed(sound: Sound, seconds: float) -> Samples:
    return np.concatenate([sound.pcm, sound.room[: round(seconds * LISTEN_RATE)]])


def save(points: list[Point], path: Path) -> None:
    """One point a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(point), ensure_ascii=False) for point in points]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def read(path: Path) -> list[Point]:
    """What `save` wrote."""
    return [Point(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
