"""The protocols that engines implement, and the types they exchange with a session.

An engine is loaded once and shared by all sessions. State of one conversation (of a VAD, of an utterance) belongs to a
stream that the engine opens. Every awaited method works on the engine's own worker and may be cancelled. Every failure
is an `EngineError` with a next step.
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
    """One message of a chat prompt, in the format of OpenAI's chat completions."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A partial or final transcript of an utterance.

    text: the transcriber's text, trimmed.
    final: whether no later sound of this utterance can change it.
    until: end of the transcribed sound, in samples of the listening stream (16 kHz).
    confidence: mean probability of the tokens, 0 to 1; 1.0 if the engine does not know it.
    language: spoken language, as "es"; None if it was neither given nor detected.
    """

    text: str
    final: bool
    until: int
    confidence: float = 1.0
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a response used."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Combine two requests of one response."""
        return Usage(
            max(self.input_tokens, other.input_tokens),
            max(self.cached_tokens, other.cached_tokens),
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """A chat model's expectation of what follows the last word of a prompt.

    sentence: P(the sentence ends there), 0 to 1.
    turn: P(no further sentence follows), given that the sentence ends; None if it was not computed.
    """

    sentence: float
    turn: float | None = None


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of a tool call.

    index: position among the response's calls. call_id, name: set in the call's first piece. arguments: a piece of the
    JSON text.
    """

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a chat model's response: text, part of a tool call, or the finish reason with the usage."""

    text: str = ""
    call: CallDelta | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class About:
    """Description of an engine, available before it is loaded.

    summary: one line.
    licence: SPDX, of the code and of bundled weights.
    languages: primary subtags of BCP 47 over all its models; ("*",) if they depend on the model or server.
    modules: imported modules that Chinwag itself does not depend on.
    extra: the pip extra that installs them, as in `pip install 'chinwag[whisper]'`.
    """

    summary: str
    licence: str
    languages: tuple[str, ...] = ("*",)
    modules: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """Arguments of `Engine.load`.

    settings: the engine's section of the configuration, e.g. `config.llm`.
    weights: the folder of each catalog name that `Engine.needs` returned.
    """

    settings: Any
    weights: Mapping[str, Path] = field(default_factory=dict)

    def only(self, engine: str, **usual: Any) -> dict[str, Any]:
        """Return `settings.options` merged over the default values. Raises EngineError for an unknown option."""
        options = dict(getattr(self.settings, "options", {}))
        if unknown := sorted(set(options) - set(usual)):
            fix = f"Options are: {', '.join(usual)}." if usual else "It takes none."
            raise EngineError(f"The engine {engine} has no option {unknown[0]}.", fix, engine)
        return {**usual, **options}

    @classmethod
    def gathered(cls, engine: type[Engine], settings: Any, folder: Callable[[str], Path]) -> Self:
        """Return options with the weights that the engine needs. folder: from a catalog name to its files' folder."""
        return cls(settings, {name: folder(name) for name in engine.needs(settings)})


@runtime_checkable
class Engine(Protocol):
    """What every engine class implements."""

    name: ClassVar[str]
    about: ClassVar[About]

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """List values for `settings.model`, the default first; empty if there is no choice.

        Blocks, as it may query a server. Raises EngineError if the server does not respond.
        """
        ...

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """List catalog names of the weights that these settings require."""
        ...

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load and warm up the engine; blocks, so it is called on a thread. Raises EngineError or WeightsError."""
        ...

    async def close(self) -> None:
        """Release threads and memory. May be called twice."""
        ...


class VadStream(Protocol):
    """Voice activity detection of one conversation."""

    async def feed(self, audio: Audio) -> float:
        """Return P(speech), 0 to 1, of the next `frame` samples at 16 kHz."""
        ...


class Vad(Engine, Protocol):
    """Voice activity detection."""

    frame: ClassVar[int]
    """Samples at 16 kHz that each `feed` takes."""

    def open(self) -> VadStream:
        """Open a stream with its own state."""
        ...


class TurnJudge(Engine, Protocol):
    """End-of-turn detection from the sound."""

    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        """Return the end-of-turn probability, 0 to 1.

        audio: the utterance so far at 16 kHz, with its trailing silence; only the last 8 s are used.
        """
        ...


class Utterance(Protocol):
    """One utterance that is being transcribed."""

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz, without any work on it."""
        ...

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        ...

    async def finish(self) -> Transcript:
        """Return the final transcript, before any queued partial. More sound may follow if the speaker goes on."""
        ...


class Transcriber(Engine, Protocol):
    """Speech to text."""

    languages: tuple[str, ...]
    """Languages of the loaded model, as "es"; ("*",) if only its server knows them."""

    def open(self, language: str | None = None) -> Utterance:
        """Open an utterance. language: BCP 47, or None to detect it.

        Raises EngineError, with the supported languages, for an unsupported one.
        """
        ...


class ChatModel(Engine, Protocol):
    """A large language model that writes responses."""

    model: str
    """The model's name on its server."""
    continues: ClassVar[bool]
    """Whether the model continues a last message of the assistant instead of beginning a new response."""

    def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the response; the last Delta has a finish_reason ("stop", "length" or "tool_calls") and the usage.

        tools, tool_choice: as in OpenAI's chat completions. cache_key: identifies the conversation in the KV cache.
        Closing the generator stops the model within a token. Use it under `contextlib.aclosing`.
        Raises EngineError, also if the model cannot call tools.
        """
        ...

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Prefill the KV cache with the prompt ahead of `chat`. This is a hint: it may do nothing, and never raises.

        Returns the probability that the last message ends after its last word; None if the engine does not know it.
        """
        ...


class Voice(Engine, Protocol):
    """Text to speech."""

    rate: int
    """Sample rate of its sound, in Hz."""
    voices: tuple[str, ...]
    """Names of its voices; the first is the default."""
    languages: Mapping[str, tuple[str, ...]]
    """The voices of each language, as "es", the best first; empty if any voice speaks any language."""

    def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Synthesize one clause and yield its sound piece by piece. speed: 1.0 is the voice's own pace.

        Closing the generator stops the work. Raises EngineError, with the available voices, for an unknown voice.
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
