"""Serve deployments with one engine each: Hearing (STT), Thinking (LLM) and Speaking (TTS)."""

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
from chinwag.observability.process import resource_usage
from chinwag.runtime.engine_pool import EnginePool
from chinwag.weights.store import Store

UTTERANCE_TTL_S = 60.0
"""An unused utterance is dropped after so long; a later request sends its audio again."""

HANG_TIMEOUT_S = 60.0
"""A step of an engine that takes so long counts as hung: Serve restarts the replica."""

T = TypeVar("T")


@dataclass(frozen=True)
class MissingAudio:
    """The replica lacks audio of an utterance. received: samples that it has; those behind them must come first."""

    received: int


class EngineDeployment:
    """Base of a deployment: loads the engine that the settings name and reports its state."""

    task: ClassVar[Task]

    async def __init__(self, settings: Config) -> None:  # type: ignore[misc]  # Serve awaits it
        self._requests, self._busy_since = 0, dict[object, float]()
        self._settings = getattr(settings, self.task)
        self._lease = await EnginePool(Store(settings.weights)).lease(self.task, self._settings)

    @property
    def engine(self) -> Engine:
        """The loaded engine."""
        return self._lease.engine

    async def facts(self) -> dict[str, Any]:
        """Return the facts of the engine that an ingress needs; waits until the engine is loaded."""
        return {"name": self.engine.name}

    async def report(self) -> dict[str, Any]:
        """Return this replica's state for `chinwag cluster status`."""
        requests = {"asked": self._requests, "ongoing": len(self._busy_since)}
        return {**replica_facts(), "engine": self.engine.name, **requests}

    def check_health(self) -> None:
        """Raise if the engine hangs; Serve calls this every few seconds."""
        if self._busy_since and time.monotonic() - min(self._busy_since.values()) > HANG_TIMEOUT_S:
            raise RuntimeError(f"the {self.task} engine {self.engine.name} has sent nothing for {HANG_TIMEOUT_S:g} s")

    @contextmanager
    def _request(self) -> Iterator[object]:
        """Count a request and note since when it has sent nothing."""
        key = object()
        self._requests += 1
        self._busy_since[key] = time.monotonic()
        try:
            yield key
        finally:
            del self._busy_since[key]

    async def _stream(self, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        with self._request() as key:
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    self._busy_since[key] = time.monotonic()
                    yield piece


class Hearing(EngineDeployment):
    """Speech to text."""

    task = "stt"

    async def __init__(self, settings: Config) -> None:  # type: ignore[misc]
        await super().__init__(settings)
        self._utterances: dict[str, _RemoteUtteranceState] = {}

    async def facts(self) -> dict[str, Any]:
        """Add the languages of the model."""
        return {**await super().facts(), "languages": self._stt.languages}

    async def transcribe(
        self, utterance_id: str, language: str | None, start: int, offset: int, pcm: Samples, *, final: bool
    ) -> Transcript | MissingAudio:
        """Append audio (16 kHz) to an utterance and transcribe it.

        start: sample of the listening stream at which the utterance begins. offset: samples of the utterance in front
        of `pcm`. Audio that is here already is skipped.
        """
        with self._request():
            self._drop_unused()
            state = self._utterances.get(utterance_id)
            if state is None:
                state = self._utterances[utterance_id] = _RemoteUtteranceState(self._stt.open(language))
            state.used_at = time.monotonic()
            if offset > state.received:
                return MissingAudio(state.received)
            fresh = np.asarray(pcm, np.float32)[state.received - offset :]
            if len(fresh):
                state.stream.push(Audio(fresh, LISTEN_RATE, start + state.received))
                state.received += len(fresh)
            return await (state.stream.finish() if final else state.stream.partial())

    @property
    def _stt(self) -> Transcriber:
        return cast(Transcriber, self.engine)

    def _drop_unused(self) -> None:
        limit = time.monotonic() - UTTERANCE_TTL_S
        self._utterances = {name: state for name, state in self._utterances.items() if state.used_at >= limit}


@dataclass
class _RemoteUtteranceState:
    """An utterance that this replica transcribes. received: its samples so far. used_at: monotonic seconds."""

    stream: Utterance
    received: int = 0
    used_at: float = 0.0


class Thinking(EngineDeployment):
    """The language model. The embedded model and vLLM batch sessions token by token themselves."""

    task = "llm"

    async def facts(self) -> dict[str, Any]:
        """Add the model's name."""
        return {**await super().facts(), "model": self._llm.model}

    async def chat(
        self,
        messages: Sequence[Message],
        cache_key: str,
        max_tokens: int | None,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | Mapping[str, Any],
    ) -> AsyncGenerator[Delta, None]:
        """Stream an answer; see `ChatModel.chat`."""
        chat = self._llm.chat(
            messages, cache_key=cache_key, max_tokens=max_tokens, tools=tools, tool_choice=tool_choice
        )
        async with aclosing(self._stream(chat)) as deltas:
            async for delta in deltas:
                yield delta

    async def prefill(
        self, messages: Sequence[Message], cache_key: str, tools: Sequence[Mapping[str, Any]]
    ) -> Ending | None:
        """Read a prompt into the cache; see `ChatModel.prefill`."""
        with self._request():
            return await self._llm.prefill(messages, cache_key=cache_key, tools=tools)

    @property
    def _llm(self) -> ChatModel:
        return cast(ChatModel, self.engine)


class Speaking(EngineDeployment):
    """Text to speech."""

    task = "tts"

    async def facts(self) -> dict[str, Any]:
        """Add the sample rate, voices and languages."""
        voice = self._tts
        facts = {"rate": voice.rate, "voices": tuple(voice.voices), "languages": dict(voice.languages)}
        return {**await super().facts(), **facts}

    async def speak(
        self, text: str, voice: str | None, speed: float, language: str | None
    ) -> AsyncGenerator[tuple[Samples, int], None]:
        """Yield pieces of sound with their sample rate; see `Voice.speak`."""
        async with aclosing(self._stream(self._tts.speak(text, voice=voice, speed=speed, language=language))) as pieces:
            async for piece in pieces:
                yield piece.pcm, piece.rate

    @property
    def _tts(self) -> Voice:
        return cast(Voice, self.engine)


def replica_facts() -> dict[str, Any]:
    """Return the replica's node, process id, and CPU and memory use with its child processes."""
    import ray
    from ray import serve

    context = serve.get_replica_context()
    return {
        "replica": context.replica_id.unique_id,
        "node": ray.get_runtime_context().get_node_id(),
        "pid": os.getpid(),
        **resource_usage(),
    }
