"""What a session asks of its engines.

An engine is loaded once and shared by all sessions; what belongs to one conversation (a VAD's state, an
utterance) is a stream that the engine opens. Every awaited method does its work on the engine's own worker and
may be cancelled; every failure is an `EngineError` with a next step.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, Protocol, Self, TypedDict, runtime_checkable

from chinwag.audio import Audio
from chinwag.errors import EngineError
from chinwag.load import Load

Task = Literal["vad", "turn", "stt", "llm", "tts"]
TASKS: tuple[Task, ...] = ("vad", "turn", "stt", "llm", "tts")


class Message(TypedDict):
    """One message of a chat prompt, in the shape every OpenAI-compatible server takes."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Transcript:
    """Words heard.

    text: as the transcriber wrote them, trimmed.
    final: no later sound of this utterance can change them.
    until: samples of the listening stream (16 kHz) that were heard for it.
    confidence: mean probability of the tokens, 0 to 1; 1.0 where the engine cannot tell.
    language: that they were spoken in, as "es"; None where the engine cannot tell and was not told.
    """

    text: str
    final: bool
    until: int
    confidence: float = 1.0
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a reply cost."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Of two calls for one reply."""
        return Usage(
            max(self.input_tokens, other.input_tokens),
            max(self.cached_tokens, other.cached_tokens),
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """What a model expects behind the last word of a prompt.

    sentence: P(the sentence ends there), 0 to 1. turn: P(nothing follows that sentence), given that it ends; None where
    that was not asked for.
    """

    sentence: float
    turn: float | None = None


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of a function call that the model makes.

    index: which of the answer's calls. call_id, name: told with its first piece. arguments: more of their JSON.
    """

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a chat model's answer: some text, some of a call, or how it ended with what it cost."""

    text: str = ""
    call: CallDelta | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a person who chooses an engine wants to know before it is loaded.

    summary: one line. licence: SPDX, of its code and of the weights it comes with. languages: primary subtags of
    BCP 47 that it can do, whatever the model; ("*",): as its models or its server can. modules: what it imports that
    Chinwag does not itself depend on. extra: the pip extra that brings them, as in `pip install 'chinwag[whisper]'`.
    """

    summary: str
    licence: str
    languages: tuple[str, ...] = ("*",)
    modules: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is loaded with.

    settings: its section of the configuration, e.g. `config.llm`; attributes by name.
    weights: for each catalog name the engine asked for, the folder its files are in.
    """

    settings: Any
    weights: Mapping[str, Path] = field(default_factory=dict)

    def only(self, engine: str, **usual: Any) -> dict[str, Any]:
        """`settings.options` over the usual values. Raises EngineError for one the engine does not know."""
        given = dict(getattr(self.settings, "options", {}))
        if unknown := sorted(set(given) - set(usual)):
            known = f"It knows: {', '.join(usual)}." if usual else "It takes none."
            raise EngineError(f"The engine {engine} has no option {unknown[0]}.", known, engine)
        return {**usual, **given}

    @classmethod
    def gathered(cls, engine: type[Engine], settings: Any, folder: Callable[[str], Path]) -> Self:
        """With the weights that the engine needs for these settings; folder: where a catalog name's files are."""
        return cls(settings, {name: folder(name) for name in engine.needs(settings)})


@runtime_checkable
class Engine(Protocol):
    """What the registry needs of every engine class."""

    name: ClassVar[str]
    about: ClassVar[About]

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """What `settings.model` may be, the engine's own choice first; empty where there is nothing to choose.

        Blocks, as it may ask a server; raises EngineError where that does not answer.
        """
        ...

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Catalog names of the weights these settings call for."""
        ...

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load and warm up; blocks, so it is called on a thread. Raises EngineError or WeightsError."""
        ...

    async def close(self) -> None:
        """Give back threads and memory. May be called twice."""
        ...


class VadStream(Protocol):
    """One conversation's ear for speech."""

    async def feed(self, audio: Audio) -> float:
        """P(speech), 0 to 1, in the next `frame` samples of sound at 16 kHz."""
        ...


class Vad(Engine, Protocol):
    """Voice activity detection."""

    frame: ClassVar[int]
    """Samples at 16 kHz that each `feed` takes."""

    def open(self) -> VadStream:
        """Begin a stream of its own state."""
        ...


class TurnJudge(Engine, Protocol):
    """Tells from the sound whether the speaker has finished."""

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """P(finished), 0 to 1. audio: the utterance so far at 16 kHz, its silence included; the last 8 s count."""
        ...


class Utterance(Protocol):
    """One utterance on its way to words."""

    def push(self, audio: Audio) -> None:
        """Add sound (16 kHz); costs nothing until words are asked for."""
        ...

    async def partial(self) -> Transcript:
        """The words so far."""
        ...

    async def finish(self) -> Transcript:
        """The final words, ahead of any partial that waits. More sound may still be pushed (they went on)."""
        ...


class Transcriber(Engine, Protocol):
    """Speech to text."""

    languages: tuple[str, ...]
    """Of the model that is loaded, as "es"; ("*",) where only its server knows."""

    def open(self, language: str | None = None) -> Utterance:
        """Begin an utterance. language: BCP 47, or None to let the engine find out.

        Raises EngineError, naming those it can, for a language it cannot.
        """
        ...


class ChatModel(Engine, Protocol):
    """Writes the answer."""

    model: str
    """The model that answers, as its server calls it."""
    continues: ClassVar[bool]
    """Messages that end with the assistant's own have it go on from there, and not begin another answer."""

    def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the answer; the last Delta has a finish_reason ("stop", "length" or "tool_calls") and the usage.

        tools, tool_choice: as OpenAI's chat completions take them; a model that cannot is an EngineError.
        cache_key: names the conversation, so that its prompt is found in the model's cache again.
        Closing the generator stops the model within a token. Use it under `contextlib.aclosing`.
        """
        ...

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Read the prompt into the cache ahead of `chat`; a hint that may do nothing, and never raises.

        Returns whether the last message ends right behind its last word, as the model expects it to go on; None where
        it cannot tell.
        """
        ...


class Voice(Engine, Protocol):
    """Text to speech."""

    rate: int
    """Samples a second that it makes."""
    voices: tuple[str, ...]
    """Names it can speak with; the first is the default."""
    languages: Mapping[str, tuple[str, ...]]
    """For each language, as "es", its voices, the best first; empty where any voice speaks what it is given."""

    def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak one clause, piece by piece as it is made. speed: 1.0 is the voice's own pace.

        Closing the generator stops the work. An unknown voice raises EngineError naming those there are.
        """
        ...


class EngineLease(Protocol):
    """Keeps an engine loaded. It starts with one holder, and ends when each holder has released it."""

    def hold(self) -> None:
        """Add a holder."""

    def release(self) -> None:
        """Remove a holder."""


@dataclass(frozen=True)
class Engines:
    """The engines of a session. Sessions share them, and each session can be given others while it runs.

    load: how busy the machine is and whose work goes first. leases: of the engines that were loaded for this session.
    """

    vad: Vad
    turn: TurnJudge
    stt: Transcriber
    llm: ChatModel
    tts: Voice
    load: Load = field(default_factory=Load, compare=False)
    leases: Mapping[Task, EngineLease] = field(default_factory=dict, compare=False)

    def hold(self, *tasks: Task) -> Callable[[], None]:
        """Keep the engines of these tasks loaded until the returned function is called; further calls do nothing."""
        holds = ExitStack()
        for task in tasks:
            if lease := self.leases.get(task):
                lease.hold()
                holds.callback(lease.release)
        return holds.close
