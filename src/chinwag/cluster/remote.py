"""Engines that run in deployments, as a session knows engines. What a dying replica loses is asked of another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np

from chinwag.audio import Audio, Samples
from chinwag.cluster.serving import Missing
from chinwag.engines import registry
from chinwag.engines.protocols import (
    About,
    ChatModel,
    Delta,
    Ending,
    Engine,
    EngineOptions,
    Message,
    Task,
    Transcriber,
    Transcript,
    Voice,
)
from chinwag.errors import ChinwagError, EngineError
from chinwag.ids import new_id

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

LOAD_S = 900.0
"""The first replica of a deployment has so long to fetch and load its engine."""

AGAIN_S = 0.05
"""A lost question is asked again after so long: the router has heard by then who is gone."""

T = TypeVar("T")


class Lost(Exception):
    """The replica died, hangs, or cannot be reached: what was asked can be asked of another."""


class Line:
    """The way to one deployment. silent_s: who says nothing for so long is lost. total_s: then the question fails."""

    def __init__(self, handle: DeploymentHandle[Any], engine: str, silent_s: float, total_s: float) -> None:
        self._handle, self.engine, self._silent_s, self._total_s = handle, engine, silent_s, total_s

    def facts(self) -> dict[str, Any]:
        """What its engine is; blocks until there is one. Raises EngineError."""
        try:
            told: dict[str, Any] = self._handle.facts.remote().result(timeout_s=LOAD_S)
        except Exception as error:
            raise self._explained(error) from error
        return told

    async def ask(self, method: str, *asked: Any, key: str = "", **named: Any) -> Any:
        """One answer. key: who has the same is sent to the same replica. Raises Lost, or the engine's own error."""
        response = getattr(self._handle.options(session_id=key), method).remote(*asked, **named)
        return await self._told(response, response)

    async def stream(self, method: str, *asked: Any, key: str = "") -> AsyncGenerator[Any, None]:
        """Answers as they are made; closing it stops the work. Raises as `ask`."""
        response = getattr(self._handle.options(session_id=key, stream=True), method).remote(*asked)
        ended = False
        try:
            while True:
                try:
                    piece = await self._told(anext(response), response)
                except StopAsyncIteration:
                    ended = True
                    return
                yield piece
        finally:
            if not ended:
                with suppress(Exception):
                    response.cancel()

    async def again(self, ask: Callable[[int], Awaitable[T]]) -> T:
        """What `ask(attempt)` returns, asked anew as long as it is Lost. Raises EngineError after total_s."""
        async for attempt in self.attempts():
            try:
                return await ask(attempt)
            except Lost:
                continue
        raise self.gone()

    async def attempts(self) -> AsyncIterator[int]:
        """Numbers of attempts, until total_s has gone by."""
        now = asyncio.get_running_loop().time
        until = now() + self._total_s
        for attempt in itertools.count():
            yield attempt
            if now() >= until:
                return
            await asyncio.sleep(AGAIN_S)

    def gone(self) -> EngineError:
        """Nobody is left who could answer."""
        return EngineError(
            f"No replica of the engine {self.engine} answers.",
            "`chinwag cluster status` tells how its deployment is.",
            self.engine,
        )

    async def _told(self, answer: Any, response: Any) -> Any:
        try:
            return await asyncio.wait_for(answer, self._silent_s)
        except asyncio.CancelledError:
            with suppress(Exception):
                response.cancel()
            raise
        except StopAsyncIteration:
            raise
        except TimeoutError:
            with suppress(Exception):
                response.cancel()
            raise Lost from None
        except (ChinwagError, Lost):
            raise
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        """An engine's own error, without Ray's wrapping; Lost for a replica that is gone."""
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        cause: Any = error
        while isinstance(cause, RayTaskError):
            if cause.cause is None or cause.cause is cause:
                break
            cause = cause.cause
        if isinstance(cause, ChinwagError):
            return cause
        if isinstance(cause, RayTaskError):
            return EngineError(f"The engine {self.engine} failed: {_last_line(cause)}.", "Try again.", self.engine)
        if isinstance(cause, RayError | RayServeException | TimeoutError):
            return Lost(str(cause))
        return EngineError(
            f"The engine {self.engine} failed: {str(cause).strip() or type(cause).__name__}.", "Try again.", self.engine
        )


class _Remote:
    """A deployment's engine, made by `remote`."""

    name: ClassVar[str]
    about: ClassVar[About]
    _line: ClassVar[Line]

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """None can be chosen: the deployment has one."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Nothing here: the deployment fetches its own weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Wait until the deployment answers."""
        return cls(cls._line.facts())

    def __init__(self, facts: Mapping[str, Any]) -> None:
        pass

    async def close(self) -> None:
        """The deployment lives on."""


class RemoteTranscriber(_Remote):
    """Hears in a deployment."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.languages: tuple[str, ...] = facts["languages"]

    def open(self, language: str | None = None) -> RemoteUtterance:
        """Begin an utterance."""
        from chinwag.language import base

        if language and "*" not in self.languages and base(language) not in self.languages:
            raise EngineError(
                f"The stt engine {self.name} does not hear {language}.",
                f"It hears: {', '.join(self.languages)}.",
                self.name,
            )
        return RemoteUtterance(self._line, language)


class RemoteUtterance:
    """Keeps its sound, so that any replica can be given all of it; the one that hears it is sent only what is new."""

    def __init__(self, line: Line, language: str | None) -> None:
        self._line, self._language, self._id = line, language, new_id("utt")
        self._pieces: list[Samples] = []
        self._start = self._length = self._known = 0
        self._attempt = 0

    def push(self, audio: Audio) -> None:
        """Add sound."""
        if not self._pieces:
            self._start = audio.start
        self._pieces.append(audio.pcm)
        self._length += len(audio.pcm)

    async def partial(self) -> Transcript:
        """The words so far."""
        return await self._line.again(lambda attempt: self._ask(attempt, final=False))

    async def finish(self) -> Transcript:
        """The final words."""
        return await self._line.again(lambda attempt: self._ask(attempt, final=True))

    async def _ask(self, attempt: int, *, final: bool) -> Transcript:
        if attempt:  # another one, which knows nothing of it yet
            self._attempt, self._known = self._attempt + 1, 0
        key = f"{self._id}#{self._attempt}"
        while True:
            known, until = self._known, self._length
            fresh = self._sound()[known:until]
            told = await self._line.ask(
                "hear", self._id, self._language, self._start, known, fresh, key=key, final=final
            )
            if isinstance(told, Missing):
                self._known = told.have
                continue
            self._known = max(self._known, until)
            return cast(Transcript, told)

    def _sound(self) -> Samples:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)]
        return self._pieces[0]


class RemoteChat(_Remote):
    """Thinks in a deployment: a conversation stays with the replica that has read its prompt."""

    continues: ClassVar[bool] = False

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.model: str = facts["model"]

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """A replica that dies before its first word is asked anew; later another goes on from the words so far."""
        text, count, calls = "", 0, False
        async for attempt in self._line.attempts():
            if attempt and (calls or (text and not (self.continues and not tools))):
                break  # what was said cannot be unsaid, and this model cannot go on from it
            asked = _with(messages, text)
            left = None if max_tokens is None else max_tokens - count
            if left is not None and left <= 0:
                yield Delta(finish_reason="length")
                return
            key = f"{cache_key}#{attempt}" if attempt else cache_key
            try:
                made = self._line.stream("chat", asked, cache_key, left, list(tools), tool_choice, key=key)
                async with aclosing(made) as deltas:
                    async for delta in deltas:
                        text, count, calls = text + delta.text, count + bool(delta.text), calls or bool(delta.call)
                        yield delta
                return
            except Lost:
                continue
        raise self._line.gone()

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """A hint: what is lost is not asked again."""
        try:
            told = await self._line.ask("prefill", list(messages), cache_key, list(tools), key=cache_key)
        except (Lost, EngineError):
            return None
        return cast("Ending | None", told)


class RemoteVoice(_Remote):
    """Speaks in a deployment."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.rate: int = facts["rate"]
        self.voices: tuple[str, ...] = facts["voices"]
        self.languages: Mapping[str, tuple[str, ...]] = facts["languages"]

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """A clause whose replica dies is spoken again by another, from where its sound broke off."""
        given = 0
        async for attempt in self._line.attempts():
            skip = given
            key = f"{new_id('say')}#{attempt}"
            try:
                async with aclosing(self._line.stream("speak", text, voice, speed, language, key=key)) as pieces:
                    async for pcm, rate in pieces:
                        fresh = pcm[skip:]
                        skip = max(0, skip - len(pcm))
                        if len(fresh):
                            given += len(fresh)
                            yield Audio(fresh, rate)
                return
            except Lost:
                continue
        raise self._line.gone()


KINDS: dict[Task, type[_Remote]] = {"stt": RemoteTranscriber, "llm": RemoteChat, "tts": RemoteVoice}


def remote(task: Task, name: str, line: Line) -> type[Engine]:
    """The class of the engine that answers by that line, under the name of the one the deployment has loaded."""
    own = registry.look(task, name)
    known: dict[str, Any] = {"name": name, "about": replace(own.about, modules=()), "_line": line}
    if task == "llm":
        known["continues"] = cast(type[ChatModel], own).continues
    return cast(type[Engine], type(f"Remote_{name}", (KINDS[task],), known))


def _with(messages: Sequence[Message], text: str) -> list[Message]:
    """The prompt, and behind it what was answered so far."""
    if not text:
        return list(messages)
    if messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
        return [*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + text}]
    return [*messages, {"role": "assistant", "content": text}]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _checked() -> tuple[type[Transcriber], type[ChatModel], type[Voice]]:
    """For the type checker: each keeps what its protocol promises."""
    return RemoteTranscriber, RemoteChat, RemoteVoice
