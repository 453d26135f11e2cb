"""Engines in deployments, without Ray: what a replica that hangs loses is asked of another, at virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import numpy as np
import pytest

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.cluster.remote import DeploymentClient, remote_engine_class
from chinwag.cluster.serving import Hearing, Speaking, Thinking
from chinwag.engines import registry
from chinwag.engines.fake import FakeChat, FakeTranscriber, FakeVoice, loud
from chinwag.engines.protocols import ChatModel, EngineOptions, Message, Task, Transcriber, Voice
from chinwag.errors import EngineError

pytestmark = pytest.mark.unit

SILENT_S, TOTAL_S = 2.0, 10.0
HELLO: list[Message] = [{"role": "user", "content": "Hello?"}]


class Deployment:
    """Stands in for a handle: replicas by turns, each key always the same. stuck: those that say nothing any more."""

    def __init__(self, replicas: list[Any]) -> None:
        self.replicas, self.stuck = replicas, set[int]()
        self.keys: dict[str, int] = {}
        self.asked: list[int] = []
        self.cancelled = 0

    def options(self, *, session_id: str, stream: bool = False) -> _Asked:
        number = self.keys.setdefault(session_id, len(self.keys) % len(self.replicas))
        return _Asked(self, number, stream)

    def __getattr__(self, method: str) -> Any:
        return getattr(_Asked(self, 0, False), method)


class _Asked:
    def __init__(self, deployment: Deployment, number: int, stream: bool) -> None:
        self._deployment, self._number, self._stream = deployment, number, stream

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._deployment.replicas[self._number], method)

        class Method:
            def remote(_, *asked: Any, **named: Any) -> Any:
                self._deployment.asked.append(self._number)
                if self._stream:
                    return _Pieces(self._deployment, self._number, call(*asked, **named))
                return _Answer(self._deployment, self._number, call(*asked, **named))

        return Method()


class _Answer:
    def __init__(self, deployment: Deployment, number: int, made: Awaitable[Any]) -> None:
        self._deployment, self._number, self._made = deployment, number, made

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        answer = await self._made
        if self._number in self._deployment.stuck:
            await asyncio.Event().wait()
        return answer

    def result(self, timeout_s: float) -> Any:
        coroutine = cast(Any, self._made)
        try:
            coroutine.send(None)
        except StopIteration as ended:
            return ended.value
        raise AssertionError("it would block")

    def cancel(self) -> None:
        self._deployment.cancelled += 1


class _Pieces:
    def __init__(self, deployment: Deployment, number: int, made: AsyncIterator[Any]) -> None:
        self._deployment, self._number, self._made = deployment, number, made

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> Any:
        if self._number in self._deployment.stuck:
            await asyncio.Event().wait()
        return await anext(self._made)

    def cancel(self) -> None:
        self._deployment.cancelled += 1


def served(kind: type[Any], engine: Any) -> Any:
    """A replica around an engine, as if it had loaded it."""
    replica: Any = object.__new__(kind)
    replica._requests, replica._busy_since, replica._utterances = 0, {}, {}
    replica._lease = type("Lease", (), {"engine": engine})()
    return replica


def engine(
    task: Task, replicas: list[Any], monkeypatch: pytest.MonkeyPatch, known: type[Any]
) -> tuple[Any, Deployment]:
    deployment = Deployment(replicas)
    monkeypatch.setattr(registry, "lookup", lambda task, name: known)
    line = DeploymentClient(cast(Any, deployment), "fake", SILENT_S, TOTAL_S)
    return remote_engine_class(task, "fake", line).load(EngineOptions(None)), deployment


async def all_of(model: ChatModel, on: Callable[[str], None] = lambda text: None, **more: Any) -> str:
    text = ""
    async for delta in model.chat(HELLO, **more):
        text += delta.text
        on(text)
    return text


async def test_an_utterance_is_sent_once_and_to_one_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = [served(Hearing, FakeTranscriber()) for _ in range(2)]
    stt, deployment = engine("stt", heard, monkeypatch, FakeTranscriber)
    utterance = cast(Transcriber, stt).open("en")
    for number in range(5):
        utterance.push(Audio(loud(0.2, LISTEN_RATE).pcm, LISTEN_RATE, number * 3200))
        await utterance.partial()
    words = await utterance.finish()
    assert (words.text, words.final, words.until) == ("word0 word1 word2 word3 word4", True, 16000)
    assert set(deployment.asked[1:]) == {0}
    assert next(iter(heard[0]._utterances.values())).received == 16000
    assert not heard[1]._utterances


async def test_another_replica_is_given_all_of_an_utterance(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = [served(Hearing, FakeTranscriber()) for _ in range(2)]
    stt, deployment = engine("stt", heard, monkeypatch, FakeTranscriber)
    utterance = cast(Transcriber, stt).open()
    utterance.push(loud(0.4, LISTEN_RATE))
    await utterance.partial()
    deployment.stuck.add(0)
    utterance.push(Audio(loud(0.2, LISTEN_RATE).pcm, LISTEN_RATE, 6400))
    assert (await utterance.finish()).text == "word0 word1 word2"
    assert deployment.cancelled == 1
    heard[1]._utterances.clear()  # it was restarted: only what is new is sent, and then all
    utterance.push(Audio(loud(0.2, LISTEN_RATE).pcm, LISTEN_RATE, 9600))
    assert (await utterance.finish()).text == "word0 word1 word2 word3"


async def test_an_answer_begins_again_or_goes_on_from_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for after in ("", "This is the"):
        models = [FakeChat(), FakeChat()]
        llm, deployment = engine("llm", [served(Thinking, model) for model in models], monkeypatch, FakeChat)
        models[1]._answer = FakeChat.answer  # what a real model makes of the words so far
        deployment.keys["talk"] = 0
        if not after:
            deployment.stuck.add(0)
        breaks = lambda text, at=after, to=deployment: to.stuck.add(0) if text == at else None  # noqa: E731
        assert await all_of(llm, breaks, cache_key="talk") == FakeChat.answer
        assert len(models[1].prompts) == (0 if after else 1)
        assert set(deployment.asked[1:]) == {0, 1}


async def test_a_model_that_cannot_go_on_tells_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(FakeChat):
        continues = False

    llm, deployment = engine(
        "llm", [served(Thinking, FakeChat()), served(Thinking, FakeChat())], monkeypatch, Forgetful
    )
    deployment.keys["talk"] = 0
    with pytest.raises(EngineError) as told:
        await all_of(llm, lambda text: deployment.stuck.add(0) if text else None, cache_key="talk")
    assert told.value.fix


async def test_a_clause_is_spoken_on_from_where_it_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class InPieces(FakeVoice):
        async def speak(self, text: str, **style: Any) -> AsyncIterator[Audio]:  # type: ignore[override]
            for number in range(4):
                await asyncio.sleep(0.1)
                yield Audio(np.arange(100, dtype=np.float32) + 100 * number, self.rate)

    tts, deployment = engine("tts", [served(Speaking, InPieces()) for _ in range(2)], monkeypatch, FakeVoice)
    heard: list[Any] = []
    async for piece in cast(Voice, tts).speak("Hello."):
        heard.append(piece.pcm)
        if len(heard) == 2:
            deployment.stuck.add(deployment.asked[-1])
    assert (np.concatenate(heard) == np.arange(400)).all()


async def test_where_all_are_gone_it_is_said_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stt, deployment = engine("stt", [served(Hearing, FakeTranscriber())], monkeypatch, FakeTranscriber)
    deployment.stuck.add(0)
    utterance = cast(Transcriber, stt).open()
    utterance.push(loud(0.2, LISTEN_RATE))
    began = asyncio.get_running_loop().time()
    with pytest.raises(EngineError) as told:
        await utterance.finish()
    assert TOTAL_S <= asyncio.get_running_loop().time() - began < TOTAL_S + 2 * SILENT_S
    assert "chinwag cluster status" in told.value.fix


async def test_an_engines_own_error_is_nobodys_death(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = EngineError("It is broken.", "Mend it.", "fake")
    stt, deployment = engine("stt", [served(Hearing, FakeTranscriber(failure=wrong))], monkeypatch, FakeTranscriber)
    with pytest.raises(EngineError, match="It is broken"):
        await cast(Transcriber, stt).open().finish()
    assert len(deployment.asked) == 2
