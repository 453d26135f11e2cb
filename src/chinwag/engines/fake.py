"""Engines for unit tests at virtual time: scripted, no threads, every delay an `asyncio.sleep`."""

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
    """P(speech) is 1 where the sound is louder than 0.01. failure: raised by every `feed`."""

    frame: ClassVar[int] = 512
    failure: Exception | None = None

    def open(self) -> FakeVad:
        """Itself: it has no state."""
        return self

    async def feed(self, audio: Audio) -> float:
        """1.0 for loud sound, else 0.0."""
        if self.failure:
            raise self.failure
        return float(np.abs(audio.pcm).max(initial=0.0) > 0.01)


@dataclass
class FakeTurnJudge(_Fake):
    """Always of the same opinion. delay_s: how long it thinks; failure: raised instead."""

    finished: float = 1.0
    delay_s: float = 0.02
    failure: Exception | None = None

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """`finished`, after `delay_s`."""
        await asyncio.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        return self.finished


@dataclass
class FakeTranscriber(_Fake):
    """One scripted word for each 200 ms of loud sound in an utterance; utterances go on through `words`.

    heard_in: the language that it hears, where none is asked for. asked: how often it was asked for words.
    """

    languages: tuple[str, ...] = ("en",)
    asked: int = 0
    words: list[str] = field(default_factory=lambda: [f"word{i}" for i in range(200)])
    delay_s: float = 0.03
    failure: Exception | None = None
    spent: int = 0
    heard_in: str | None = None

    def open(self, language: str | None = None) -> FakeUtterance:
        """Begin an utterance."""
        return FakeUtterance(self, language)


class FakeUtterance:
    """Counts loud samples."""

    def __init__(self, engine: FakeTranscriber, language: str | None = None) -> None:
        self._engine, self._loud, self._until, self._language = engine, 0, 0, language

    def push(self, audio: Audio) -> None:
        """Add sound."""
        self._loud += int((np.abs(audio.pcm) > 0.01).sum())
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Words so far."""
        return await self._transcript(final=False)

    async def finish(self) -> Transcript:
        """Final words."""
        return await self._transcript(final=True)

    async def _transcript(self, *, final: bool) -> Transcript:
        self._engine.asked += 1
        await asyncio.sleep(self._engine.delay_s)
        if self._engine.failure:
            raise self._engine.failure
        count = self._loud // (LISTEN_RATE // 5)
        language = self._language or self._engine.heard_in
        return Transcript(" ".join(self._engine.words[:count]), final, self._until, language=language)


@dataclass(frozen=True)
class FakeCalls:
    """An answer that calls tools: each a name and the text of its arguments, behind some words or none."""

    calls: tuple[tuple[str, str], ...]
    text: str = ""


@dataclass
class FakeChat(_Fake):
    """Writes `answer`, or the next of `answers`, token by token; `asked` holds the messages of every call.

    turns: instead, by how many answers the prompt holds already, whatever was drafted meanwhile.
    offered, choices: the tools and the tool_choice of every call.
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
    asked: list[list[Message]] = field(default_factory=list)
    offered: list[list[str]] = field(default_factory=list)
    choices: list[str | Mapping[str, Any]] = field(default_factory=list)
    prefilled: list[list[Message]] = field(default_factory=list)
    prefill_s: float = 0.02
    sense: Callable[[str], float | None] = lambda words: 0.97
    whole: Callable[[str], float | None] = lambda words: None
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
        """The next answer, word by word."""
        begun = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else ""
        if not begun:
            self.asked.append(list(messages))
            self.offered.append([tool["function"]["name"] for tool in tools])
            self.choices.append(tool_choice)
            self._answer = self.answers.pop(0) if self.answers else self.answer
            given = sum(message["role"] == "assistant" for message in messages)
            if given < len(self.turns):
                self._answer = self.turns[given]
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
        """Note it in `prefilled`, and tell what `sense` and `whole` say of the last message's words."""
        self.prefilled.append(list(messages))
        await asyncio.sleep(self.prefill_s)
        sense = self.sense(messages[-1]["content"]) if messages else None
        return None if sense is None else Ending(sense, self.whole(messages[-1]["content"]))


@dataclass
class FakeVoice(_Fake):
    """Each character is 50 ms of sound.

    spoken: the clauses. styles: with which voice and language. failure: raised after `fails_after` clauses.
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
        """One piece, +0.5 and -0.5 by turns, faded in and out: a microphone at 16 kHz hears no echo of it."""
        await asyncio.sleep(self.delay_s)
        if self.failure and len(self.spoken) >= self.fails_after:
            raise self.failure
        self.spoken.append(text)
        self.styles.append((voice, language))
        places = np.arange(len(text) * self.rate // 20)
        fade = np.minimum(1.0, np.minimum(places + 1, places[::-1] + 1) / (self.rate / 200))
        yield Audio(((places % 2 - 0.5) * fade).astype(np.float32), self.rate)


@dataclass
class Fakes:
    """A whole set, each of them to be scripted by the test."""

    vad: FakeVad = field(default_factory=FakeVad)
    turn: FakeTurnJudge = field(default_factory=FakeTurnJudge)
    stt: FakeTranscriber = field(default_factory=FakeTranscriber)
    llm: FakeChat = field(default_factory=FakeChat)
    tts: FakeVoice = field(default_factory=FakeVoice)
    load: Load = field(default_factory=Load)

    def engines(self) -> Engines:
        """As a session takes them."""
        return Engines(self.vad, self.turn, self.stt, self.llm, self.tts, self.load)


def loud(seconds: float, rate: int = WIRE_RATE) -> Audio:
    """Sound that FakeVad takes for speech."""
    return Audio(np.full(round(seconds * rate), 0.5, np.float32), rate)
