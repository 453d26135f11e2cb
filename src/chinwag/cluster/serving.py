"""Deployments that hold one engine each: hearing, thinking and speaking."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.config import Config
from chinwag.engines.protocols import (
    ChatModel,
    Delta,
    Ending,
    Engine,
    Message,
    Task,
    Transcriber,
    Transcript,
    Utterance,
    Voice,
)
from chinwag.observability.process import usage
from chinwag.runtime.engine_pool import EnginePool
from chinwag.weights.store import Store

FORGET_AFTER_S = 60.0
"""An utterance that nobody asked about for so long is forgotten; who asks again sends its sound again."""

HANGS_AFTER_S = 60.0
"""A step of an engine that takes so long will not end: Serve starts the replica anew."""

T = TypeVar("T")


@dataclass(frozen=True)
class Missing:
    """The replica has only so many samples of an utterance, and needs those behind them first."""

    have: int


class Served:
    """Loads the engine that the settings name, fetching what it needs, and tells how it is."""

    task: ClassVar[Task]

    async def __init__(self, settings: Config) -> None:  # type: ignore[misc]  # Serve awaits it
        self._asked, self._since = 0, dict[object, float]()
        self._settings = getattr(settings, self.task)
        self._lease = await EnginePool(Store(settings.weights)).lease(self.task, self._settings)

    @property
    def engine(self) -> Engine:
        """Loaded."""
        return self._lease.engine

    async def facts(self) -> dict[str, Any]:
        """What an ingress needs to know of the engine; waits until it is loaded."""
        return {"name": self.engine.name}

    async def report(self) -> dict[str, Any]:
        """How this replica is, for `chinwag cluster status`."""
        return {**where(), "engine": self.engine.name, "asked": self._asked, "ongoing": len(self._since)}

    def check_health(self) -> None:
        """Serve asks every few seconds. Raises where the engine hangs."""
        if self._since and time.monotonic() - min(self._since.values()) > HANGS_AFTER_S:
            raise RuntimeError(f"the {self.task} engine {self.engine.name} has said nothing for {HANGS_AFTER_S:g} s")

    @contextmanager
    def _asking(self) -> Iterator[object]:
        """Counts a request, and since when it waits."""
        key = object()
        self._asked += 1
        self._since[key] = time.monotonic()
        try:
            yield key
        finally:
            del self._since[key]

    async def _stream(self, made: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        with self._asking() as key:
            async with aclosing(made) as pieces:
                async for piece in pieces:
                    self._since[key] = time.monotonic()
                    yield piece


class Hearing(Served):
    """Speech to text."""

    task = "stt"

    async def __init__(self, settings: Config) -> None:  # type: ignore[misc]
        await super().__init__(settings)
        self._utterances: dict[str, _Heard] = {}

    async def facts(self) -> dict[str, Any]:
        """Also the languages that its model hears."""
        return {**await super().facts(), "languages": self._stt.languages}

    async def hear(
        self, utterance: str, language: str | None, start: int, known: int, pcm: Samples, *, final: bool
    ) -> Transcript | Missing:
        """The words of an utterance with this much more of it.

        start: place of its first sample in the listening stream. known: samples of it that are in front of `pcm`. Sound
        that is here already is not taken twice.
        """
        with self._asking():
            self._forget()
            held = self._utterances.get(utterance)
            if held is None:
                held = self._utterances[utterance] = _Heard(self._stt.open(language))
            held.used = time.monotonic()
            if known > held.have:
                return Missing(held.have)
            fresh = np.asarray(pcm, np.float32)[held.have - known :]
            if len(fresh):
                held.stream.push(Audio(fresh, LISTEN_RATE, start + held.have))
                held.have += len(fresh)
            return await (held.stream.finish() if final else held.stream.partial())

    @property
    def _stt(self) -> Transcriber:
        return cast(Transcriber, self.engine)

    def _forget(self) -> None:
        old = time.monotonic() - FORGET_AFTER_S
        for name in [name for name, held in self._utterances.items() if held.used < old]:
            del self._utterances[name]


@dataclass
class _Heard:
    """An utterance that this replica hears. have: samples of it."""

    stream: Utterance
    have: int = 0
    used: float = 0.0


class Thinking(Served):
    """Writes the answers. The embedded model and vLLM batch conversations themselves, token by token."""

    task = "llm"

    async def facts(self) -> dict[str, Any]:
        """Also the model's name."""
        return {**await super().facts(), "model": self._llm.model}

    async def chat(
        self,
        messages: Sequence[Message],
        cache_key: str,
        max_tokens: int | None,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | Mapping[str, Any],
    ) -> AsyncGenerator[Delta, None]:
        """As `ChatModel.chat`."""
        made = self._llm.chat(
            messages, cache_key=cache_key, max_tokens=max_tokens, tools=tools, tool_choice=tool_choice
        )
        async with aclosing(self._stream(made)) as deltas:
            async for delta in deltas:
                yield delta

    async def prefill(
        self, messages: Sequence[Message], cache_key: str, tools: Sequence[Mapping[str, Any]]
    ) -> Ending | None:
        """As `ChatModel.prefill`."""
        with self._asking():
            return await self._llm.prefill(messages, cache_key=cache_key, tools=tools)

    @property
    def _llm(self) -> ChatModel:
        return cast(ChatModel, self.engine)


class Speaking(Served):
    """Text to speech."""

    task = "tts"

    async def facts(self) -> dict[str, Any]:
        """Also its rate, voices and languages."""
        voice = self._tts
        known = {"rate": voice.rate, "voices": tuple(voice.voices), "languages": dict(voice.languages)}
        return {**await super().facts(), **known}

    async def speak(
        self, text: str, voice: str | None, speed: float, language: str | None
    ) -> AsyncGenerator[tuple[Samples, int], None]:
        """As `Voice.speak`: pieces of sound with their rate."""
        async with aclosing(self._stream(self._tts.speak(text, voice=voice, speed=speed, language=language))) as pieces:
            async for piece in pieces:
                yield piece.pcm, piece.rate

    @property
    def _tts(self) -> Voice:
        return cast(Voice, self.engine)


def where() -> dict[str, Any]:
    """The node of this replica, and what it takes with the processes it began."""
    import ray
    from ray import serve

    context = serve.get_replica_context()
    return {
        "replica": context.replica_id.unique_id,
        "node": ray.get_runtime_context().get_node_id(),
        "pid": os.getpid(),
        **usage(),
    }
