"""Engines that cost a fixed time and no processor: each does one thing at a time, as one on a GPU would.

`options.cost_s`: of a transcript, of an answer, of a clause. They can be told from real ones only by what they say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import WIRE_RATE, Audio
from chinwag.engines.protocols import About, Delta, Ending, EngineOptions, Message, Transcript, Usage

WORDS = [f"word{number}" for number in range(12)]
PIECE_S, PIECES = 0.25, 6


class _Sleeping:
    name: ClassVar[str] = "sleeping"
    about: ClassVar[About] = About("For tests", "MIT")

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        return cls(float(options.only("sleeping", cost_s=0.1)["cost_s"]))

    def __init__(self, cost_s: float) -> None:
        self.cost_s, self.one_at_a_time = cost_s, asyncio.Lock()

    async def work(self, seconds: float) -> None:
        async with self.one_at_a_time:
            await asyncio.sleep(seconds)

    async def close(self) -> None:
        pass


class SleepingTranscriber(_Sleeping):
    """Hears how many samples it was given."""

    languages: tuple[str, ...] = ("en",)

    def open(self, language: str | None = None) -> SleepingUtterance:
        return SleepingUtterance(self)


class SleepingUtterance:
    def __init__(self, engine: SleepingTranscriber) -> None:
        self._engine, self._samples, self._until = engine, 0, 0

    def push(self, audio: Audio) -> None:
        self._samples += len(audio.pcm)
        self._until = audio.end

    async def partial(self) -> Transcript:
        return Transcript(f"{self._samples} samples", False, self._until)

    async def finish(self) -> Transcript:
        await self._engine.work(self._engine.cost_s)
        return Transcript(f"{self._samples} samples", True, self._until)


class SleepingChat(_Sleeping):
    """Answers WORDS; where the answer is begun, it goes on behind the words that are there."""

    continues: ClassVar[bool] = True
    model: str = "sleeping"

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        begun = messages[-1]["content"].split() if messages[-1]["role"] == "assistant" else []
        for word in WORDS[len(begun) :][:max_tokens]:
            await self.work(self.cost_s / len(WORDS))
            yield Delta(word if word == WORDS[0] else f" {word}")
        yield Delta(finish_reason="stop", usage=Usage(1, 0, len(WORDS)))

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        return None


class SleepingVoice(_Sleeping):
    """A tone that rises evenly over PIECES pieces: a gap or a piece that comes twice can be told."""

    rate = WIRE_RATE
    voices: tuple[str, ...] = ("one",)
    languages: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        ramp = np.linspace(0.0, 0.9, round(PIECES * PIECE_S * self.rate), dtype=np.float32)
        for piece in np.split(ramp, PIECES):
            await self.work(self.cost_s / PIECES)
            yield Audio(piece, self.rate)


def install(folder: Path) -> None:
    """Declare them as a package would, in a folder that is put on the path."""
    info = folder / "sleeping-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeping\nVersion: 1\n")
    kinds = {"stt": "SleepingTranscriber", "llm": "SleepingChat", "tts": "SleepingVoice"}
    points = "".join(f"[chinwag.{task}]\nsleeping = extras.sleeping:{kind}\n" for task, kind in kinds.items())
    (info / "entry_points.txt").write_text(points)
