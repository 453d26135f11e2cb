"""Scripted engines for unit tests at virtual time: no threads, every delay is an `asyncio.sleep`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio
from chinwag.engines.protocols import (
    About,
    CallDelta,
    Delta,
    Ending,
    EngineOptions,
    Engines,
    Message,
    Transcript,
    Usage,
)
from chinwag.load import Load


class _Fake:
    name: ClassVar[str] = "fake"
    about: ClassVar[About] = About("For tests", "MIT")

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        return cls()

    async def close(self) -> None:
        pass


@dataclass
class FakeVad(_Fake):
    """A VAD whose P(speech) is 1 for sound louder than 0.01. failure: raised by every `feed`."""

    frame: ClassVar[int] = 512
    failure: Exception | None = None

    def open(self) -> FakeVad:
        """Return itself: it has no state."""
        return self

    async def feed(self, audio: Audio) -> float:
        """Return 1.0 for loud sound, else 0.0."""
        if self.failure:
            raise self.failure
        return float(np.abs(audio.pcm).max(initial=0.0) > 0.01)


@dataclass
class FakeTurnJudge(_Fake):
    """A turn judge that always gives `probability`, after `delay_s`. failure: raised instead."""

    probability: float = 1.0
    delay_s: float = 0.02
    failure: Exception | None = None

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """Return `probability` after `delay_s`."""
        await asyncio.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        return self.probability


@dataclass
class FakeTranscriber(_Fake):
    """A transcriber that gives one of `words` for each 200 ms of loud sound in an utterance.

    detected_language: the language it reports if none is requested. requests: number of transcripts requested.
    """

    languages: tuple[str, ...] = ("en",)
    requests: int = 0
    words: list[str] = field(default_factory=lambda: [f"word{i}" for i in range(200)])
    delay_s: float = 0.03
    failure: Exception | None = None
    detected_language: str | None = None

    def open(self, language: str | None = None) -> FakeUtterance:
        """Open an utterance."""
        return FakeUtterance(self, language)


class FakeUtterance:
    """An utterance that counts loud samples."""

    def __init__(self, engine: FakeTranscriber, language: str | None = None) -> None:
        self._engine, self._loud, self._until, self._language = engine, 0, 0, language

    def push(self, audio: Audio) -> None:
        """Append sound."""
        self._loud += int((np.abs(audio.pcm) > 0.01).sum())
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._transcript(final=False)

    async def finish(self) -> Transcript:
        """Return the final transcript."""
        return await self._transcript(final=True)

    async def _transcript(self, *, final: bool) -> Transcript:
        self._engine.requests += 1
        await asyncio.sleep(self._engine.delay_s)
        if self._engine.failure:
            raise self._engine.failure
        count = self._loud // (LISTEN_RATE // 5)
        language = self._language or self._engine.detected_language
        return Transcript(" ".join(self._engine.words[:count]), final, self._until, language=language)


@dataclass(frozen=True)
class FakeCalls:
    """A response that calls tools. calls: a name and a JSON text of arguments each. text: words before the calls."""

    calls: tuple[tuple[str, str], ...]
    text: str = ""


@dataclass
class FakeChat(_Fake):
    """A chat model that writes `answer`, or the next of `answers`, token by token.

    prompts: the messages of every request. offered_tools, tool_choices: the tools and the tool_choice of every request.
    turns: responses chosen by the number of assistant messages in the prompt, so drafts do not use them up.
    sentence_end, turn_end: from the last message's words to the probabilities that `prefill` returns.
    """

    continues: ClassVar[bool] = True
    model: str = "fake"
    answer: str = "This is the answer. It has two sentences."
    answers: list[str | FakeCalls] = field(default_factory=list)
    turns: list[str | FakeCalls] = field(default_factory=list)
    first_token_s: float = 0.1
    token_s: float = 0.03
    failure: Exception | None = None
    fails_after: int = 0
    prompts: list[list[Message]] = field(default_factory=list)
    offered_tools: list[list[str]] = field(default_factory=list)
    tool_choices: list[str | Mapping[str, Any]] = field(default_factory=list)
    prefilled: list[list[Message]] = field(default_factory=list)
    prefill_s: float = 0.02
    sentence_end: Callable[[str], float | None] = lambda words: 0.97
    turn_end: Callable[[str], float | None] = lambda words: None
    closed: int = 0
    called: int = 0
    _answer: str | FakeCalls = ""

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the next response, word by word."""
        begun = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else ""
        if not begun:
            self.prompts.append(list(messages))
            self.offered_tools.append([tool["function"]["name"] for tool in tools])
            self.tool_choices.append(tool_choice)
            self._answer = self.answers.pop(0) if self.answers else self.answer
            earlier = sum(message["role"] == "assistant" for message in messages)
            if earlier < len(self.turns):
                self._answer = self.turns[earlier]
        try:
            await asyncio.sleep(self.first_token_s)
            if isinstance(self._answer, FakeCalls):
                async for delta in self._calls(self._answer):
                    yield delta
                return
            tokens = self._answer.removeprefix(begun).split(" ")
            for number, token in enumerate(tokens[:max_tokens]):
                if self.failure and number >= self.fails_after:
                    raise self.failure
                yield Delta(token if number == 0 else f" {token}")
                await asyncio.sleep(self.token_s)
            cut = max_tokens is not None and len(tokens) > max_tokens
            yield Delta(finish_reason="length" if cut else "stop", usage=Usage(len(messages), 0, len(tokens)))
        finally:
            self.closed += 1

    async def _calls(self, answer: FakeCalls) -> AsyncGenerator[Delta, None]:
        for number, token in enumerate(answer.text.split()):
            yield Delta(token if number == 0 else f" {token}")
            await asyncio.sleep(self.token_s)
        for index, (name, arguments) in enumerate(answer.calls):
            self.called += 1
            yield Delta(call=CallDelta(index, f"call_{self.called}", name))
            half = len(arguments) // 2
            for piece in (arguments[:half], arguments[half:]):
                await asyncio.sleep(self.token_s)
                yield Delta(call=CallDelta(index, arguments=piece))
        yield Delta(finish_reason="tool_calls", usage=Usage(1, 0, 1))

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Append the messages to `prefilled`; return what `sentence_end` and `turn_end` give for the last one."""
        self.prefilled.append(list(messages))
        await asyncio.sleep(self.prefill_s)
        sentence = self.sentence_end(messages[-1]["content"]) if messages else None
        return None if sentence is None else Ending(sentence, self.turn_end(messages[-1]["content"]))


@dataclass
class FakeVoice(_Fake):
    """A voice that speaks each character as 50 ms of sound.

    spoken: the clauses. styles: voice and language of each. failure: raised after `fails_after` clauses.
    """

    rate: int = WIRE_RATE
    voices: tuple[str, ...] = ("one", "two")
    languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    delay_s: float = 0.02
    failure: Exception | None = None
    fails_after: int = 0
    spoken: list[str] = field(default_factory=list)
    styles: list[tuple[str | None, str | None]] = field(default_factory=list)

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Yield one piece that alternates +0.5 and -0.5, faded in and out: resampled to 16 kHz it leaves no echo."""
        await asyncio.sleep(self.delay_s)
        if self.failure and len(self.spoken) >= self.fails_after:
            raise self.failure
        self.spoken.append(text)
        self.styles.append((voice, language))
        samples = np.arange(len(text) * self.rate // 20)
        fade = np.minimum(1.0, np.minimum(samples + 1, samples[::-1] + 1) / (self.rate / 200))
        yield Audio(((samples % 2 - 0.5) * fade).astype(np.float32), self.rate)


@dataclass
class Fakes:
    """One fake engine for each task, to be scripted by a test."""

    vad: FakeVad = field(default_factory=FakeVad)
    turn: FakeTurnJudge = field(default_factory=FakeTurnJudge)
    stt: FakeTranscriber = field(default_factory=FakeTranscriber)
    llm: FakeChat = field(default_factory=FakeChat)
    tts: FakeVoice = field(default_factory=FakeVoice)
    load: Load = field(default_factory=Load)

    def engines(self) -> Engines:
        """Return them as the engines of a session."""
        return Engines(self.vad, self.turn, self.stt, self.llm, self.tts, self.load)


def loud(seconds: float, rate: int = WIRE_RATE) -> Audio:
    """Return sound that FakeVad classifies as speech."""
    return Audio(np.full(round(seconds * rate), 0.5, np.float32), rate)
