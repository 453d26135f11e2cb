"""Engines that run in Serve deployments, behind the engine protocols. Requests lost with a replica go to another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np

from chinwag.audio import Audio, Samples
from chinwag.cluster.serving import MissingAudio
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
"""Limit for the first replica of a deployment to fetch and load its engine."""

RETRY_S = 0.05
"""Delay before a lost request is repeated; by then the router knows which replica is gone."""

T = TypeVar("T")


class ReplicaLost(Exception):
    """The replica died, hangs or cannot be reached; another replica can take the request."""


class DeploymentClient:
    """A client of one deployment.

    silent_s: a replica that sends nothing for so long counts as lost. total_s: limit of a request with its repetitions.
    """

    def __init__(self, handle: DeploymentHandle[Any], engine: str, silent_s: float, total_s: float) -> None:
        self._handle, self.engine, self._silent_s, self._total_s = handle, engine, silent_s, total_s

    def facts(self) -> dict[str, Any]:
        """Return the facts of the deployment's engine; blocks until it is loaded. Raises EngineError."""
        try:
            facts: dict[str, Any] = self._handle.facts.remote().result(timeout_s=LOAD_S)
        except Exception as error:
            raise self._unwrap(error) from error
        return facts

    async def request(self, method: str, *args: Any, key: str = "", **kwargs: Any) -> Any:
        """Call a method of a replica; equal keys go to the same replica. Raises ReplicaLost or the engine's error."""
        response = getattr(self._handle.options(session_id=key), method).remote(*args, **kwargs)
        return await self._receive(response, response)

    async def stream(self, method: str, *args: Any, key: str = "") -> AsyncGenerator[Any, None]:
        """Yield the pieces of a streamed result; closing the generator stops the work. Raises as `request`."""
        response = getattr(self._handle.options(session_id=key, stream=True), method).remote(*args)
        ended = False
        try:
            while True:
                try:
                    piece = await self._receive(anext(response), response)
                except StopAsyncIteration:
                    ended = True
                    return
                yield piece
        finally:
            if not ended:
                with suppress(Exception):
                    response.cancel()

    async def retry(self, call: Callable[[int], Awaitable[T]]) -> T:
        """Return `call(attempt)`, repeated as long as it raises ReplicaLost. Raises EngineError after total_s."""
        async for attempt in self.attempts():
            try:
                return await call(attempt)
            except ReplicaLost:
                continue
        raise self.no_replica()

    async def attempts(self) -> AsyncIterator[int]:
        """Yield the number of each attempt, from 0, until total_s have passed."""
        now = asyncio.get_running_loop().time
        until = now() + self._total_s
        for attempt in itertools.count():
            yield attempt
            if now() >= until:
                return
            await asyncio.sleep(RETRY_S)

    def no_replica(self) -> EngineError:
        """Return the error for a deployment without a replica that answers."""
        return EngineError(
            f"No replica of the engine {self.engine} answers.",
            "`chinwag cluster status` shows the state of its deployment.",
            self.engine,
        )

    async def _receive(self, result: Any, response: Any) -> Any:
        try:
            return await asyncio.wait_for(result, self._silent_s)
        except asyncio.CancelledError:
            with suppress(Exception):
                response.cancel()
            raise
        except StopAsyncIteration:
            raise
        except TimeoutError:
            with suppress(Exception):
                response.cancel()
            raise ReplicaLost from None
        except (ChinwagError, ReplicaLost):
            raise
        except Exception as error:
            raise self._unwrap(error) from error

    def _unwrap(self, error: Exception) -> Exception:
        """Return the engine's own error without Ray's wrapping, or ReplicaLost if the replica is gone."""
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
            return ReplicaLost(str(cause))
        return EngineError(
            f"The engine {self.engine} failed: {str(cause).strip() or type(cause).__name__}.", "Try again.", self.engine
        )


class _Remote:
    """Base of a deployment's engine; `remote_engine_class` makes the concrete classes."""

    name: ClassVar[str]
    about: ClassVar[About]
    _client: ClassVar[DeploymentClient]

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return no models: the deployment has one."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return no weights: the deployment fetches its own."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Wait until the deployment answers."""
        return cls(cls._client.facts())

    def __init__(self, facts: Mapping[str, Any]) -> None:
        pass

    async def close(self) -> None:
        """Do nothing: the deployment lives on."""


class RemoteTranscriber(_Remote):
    """A transcriber in a deployment."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.languages: tuple[str, ...] = facts["languages"]

    def open(self, language: str | None = None) -> RemoteUtterance:
        """Begin an utterance."""
        from chinwag.language import primary_subtag

        if language and "*" not in self.languages and primary_subtag(language) not in self.languages:
            raise EngineError(
                f"The stt engine {self.name} does not understand {language}.",
                f"It understands: {', '.join(self.languages)}.",
                self.name,
            )
        return RemoteUtterance(self._client, language)


class RemoteUtterance:
    """An utterance that keeps its audio, so that another replica can receive all of it.

    The replica that already transcribes it receives only the new audio.
    """

    def __init__(self, client: DeploymentClient, language: str | None) -> None:
        self._client, self._language, self._id = client, language, new_id("utt")
        self._pieces: list[Samples] = []
        self._start = self._length = self._sent = 0
        self._attempt = 0

    def push(self, audio: Audio) -> None:
        """Append audio, 16 kHz."""
        if not self._pieces:
            self._start = audio.start
        self._pieces.append(audio.pcm)
        self._length += len(audio.pcm)

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._client.retry(lambda attempt: self._transcribe(attempt, final=False))

    async def finish(self) -> Transcript:
        """Return the final transcript."""
        return await self._client.retry(lambda attempt: self._transcribe(attempt, final=True))

    async def _transcribe(self, attempt: int, *, final: bool) -> Transcript:
        if attempt:  # a new replica has none of the audio yet
            self._attempt, self._sent = self._attempt + 1, 0
        key = f"{self._id}#{self._attempt}"
        while True:
            sent, until = self._sent, self._length
            fresh = self._pcm()[sent:until]
            result = await self._client.request(
                "transcribe", self._id, self._language, self._start, sent, fresh, key=key, final=final
            )
            if isinstance(result, MissingAudio):
                self._sent = result.received
                continue
            self._sent = max(self._sent, until)
            return cast(Transcript, result)

    def _pcm(self) -> Samples:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)]
        return self._pieces[0]


class RemoteChat(_Remote):
    """A chat model in a deployment. A session stays with the replica that has its prompt in the cache."""

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
        """Stream the answer. If the replica dies, another one starts anew or continues after the text so far."""
        text, count, calls = "", 0, False
        async for attempt in self._client.attempts():
            if attempt and (calls or (text and not (self.continues and not tools))):
                break  # the text was already sent, and this model cannot continue from it
            prompt = _with_text(messages, text)
            remaining = None if max_tokens is None else max_tokens - count
            if remaining is not None and remaining <= 0:
                yield Delta(finish_reason="length")
                return
            key = f"{cache_key}#{attempt}" if attempt else cache_key
            try:
                stream = self._client.stream("chat", prompt, cache_key, remaining, list(tools), tool_choice, key=key)
                async with aclosing(stream) as deltas:
                    async for delta in deltas:
                        text, count, calls = text + delta.text, count + bool(delta.text), calls or bool(delta.call)
                        yield delta
                return
            except ReplicaLost:
                continue
        raise self._client.no_replica()

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Prefill the prompt; a lost request is not repeated, as a prefill is only a hint."""
        try:
            ending = await self._client.request("prefill", list(messages), cache_key, list(tools), key=cache_key)
        except (ReplicaLost, EngineError):
            return None
        return cast("Ending | None", ending)


class RemoteVoice(_Remote):
    """A voice in a deployment."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.rate: int = facts["rate"]
        self.voices: tuple[str, ...] = facts["voices"]
        self.languages: Mapping[str, tuple[str, ...]] = facts["languages"]

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Synthesise a clause. If the replica dies, another one repeats it and the samples already sent are skipped."""
        sent = 0
        async for attempt in self._client.attempts():
            skip = sent
            key = f"{new_id('say')}#{attempt}"
            try:
                async with aclosing(self._client.stream("speak", text, voice, speed, language, key=key)) as pieces:
                    async for pcm, rate in pieces:
                        fresh = pcm[skip:]
                        skip = max(0, skip - len(pcm))
                        if len(fresh):
                            sent += len(fresh)
                            yield Audio(fresh, rate)
                return
            except ReplicaLost:
                continue
        raise self._client.no_replica()


KINDS: dict[Task, type[_Remote]] = {"stt": RemoteTranscriber, "llm": RemoteChat, "tts": RemoteVoice}


def remote_engine_class(task: Task, name: str, client: DeploymentClient) -> type[Engine]:
    """Make the class of a remote engine with the name and facts of the engine that the deployment loads."""
    local = registry.lookup(task, name)
    attributes: dict[str, Any] = {"name": name, "about": replace(local.about, modules=()), "_client": client}
    if task == "llm":
        attributes["continues"] = cast(type[ChatModel], local).continues
    return cast(type[Engine], type(f"Remote_{name}", (KINDS[task],), attributes))


def _with_text(messages: Sequence[Message], text: str) -> list[Message]:
    """Return the prompt with the answer so far as its end."""
    if not text:
        return list(messages)
    if messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
        return [*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + text}]
    return [*messages, {"role": "assistant", "content": text}]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _checked() -> tuple[type[Transcriber], type[ChatModel], type[Voice]]:
    """Let the type checker verify that each class implements its protocol."""
    return RemoteTranscriber, RemoteChat, RemoteVoice
