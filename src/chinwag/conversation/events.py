"""What happens in a conversation, as the session tells it to whoever carries it to the listener."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from chinwag.audio import Audio

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]
CancelReason = Literal["turn_detected", "client_cancelled"]
Interrupted = Literal["", "answer", "early_answer", "unheard_answer"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody speaks: whatever is playing is to fall silent. at_ms: place in the input stream.

    stops: what falls silent: an answer that was being heard; one that had begun before they had finished; one of
    which nothing was heard, so that the turn is taken back; or nothing.
    """

    item_id: str
    at_ms: int
    interrupted: Interrupted = ""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Their turn is over. at_ms: place in the input stream."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """The words of the utterance so far; replaces the one before."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class EndpointingEstimated:
    """What is thought of a silence: see `listen.turn.Judgement`. speech_end_ms: place in the input stream."""

    item_id: str
    speech_end_ms: int
    silence_s: float
    end_probability: float | None
    wait_s: float
    evidence: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TurnRetracted:
    """They went on after all: that item is gone, and what it held will be part of the next one."""

    item_id: str


@dataclass(frozen=True, slots=True)
class IdleTimeoutReached:
    """Nobody has spoken for as long as the client set, and the server now does. start_ms, end_ms: of that silence."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class InputCommitted:
    """The sound heard became an item of the conversation."""

    item_id: str
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item is in the history after `previous_id`; its text may still be on its way."""

    item_id: str
    previous_id: str | None
    done: bool = True
    """Nothing of it but its text is still to come; else `ItemDone` follows."""


@dataclass(frozen=True, slots=True)
class ItemDone:
    """An item that was added unfinished is now whole."""

    item_id: str


@dataclass(frozen=True, slots=True)
class McpToolsProgress:
    """How far an MCP server is with telling its tools; the item holds them."""

    item_id: str
    state: Literal["in_progress", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model begins to call a tool; the item, which is in the history, says which."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """More of a call's arguments, as JSON text."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ToolCallWritten:
    """Nothing more of a call will come; the item says whether it is whole."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ToolCallProgress:
    """The server runs a call: it begins, or it has succeeded or failed, and the item says how."""

    item_id: str
    state: Literal["in_progress", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class TranscriptionCompleted:
    """The final words of an item's sound. seconds: how long that sound was."""

    item_id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    """The sound of an item could not be turned into words. engine: that failed, where it was one."""

    item_id: str
    message: str
    engine: str = ""


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """A reply is under way for good: a turn asked for it, or the client did."""

    response_id: str


@dataclass(frozen=True, slots=True)
class ResponseText:
    """A clause of the reply, told as its sound goes out (or as it is written, where only text was asked for)."""

    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ResponseAudio:
    """A frame of the reply's sound, at its place in the item's sound."""

    response_id: str
    item_id: str
    audio: Audio


@dataclass(frozen=True, slots=True)
class ResponseDucked:
    """Somebody may be interrupting: the reply is to be heard low until that is known."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseUnducked:
    """It was no interruption: full volume again."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """Nothing more of this reply will come. engine: that failed, where it was one."""

    response_id: str
    item_id: str
    status: ResponseStatus
    reason: CancelReason | Literal["max_output_tokens"] | None = None
    error: str | None = None
    engine: str = ""


@dataclass(frozen=True, slots=True)
class TurnTraced:
    """Where the time of a turn went: seconds from the arrival of the last spoken sample to each stage."""

    response_id: str
    item_id: str
    speech_end_ms: int
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorOccurred:
    """Something failed, and the conversation goes on. engine: that did, where it was one."""

    code: str
    message: str
    engine: str = ""


ResponseEvent: TypeAlias = (
    ResponseStarted
    | ResponseText
    | ResponseAudio
    | ResponseDucked
    | ResponseUnducked
    | ResponseEnded
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallWritten
)
"""What a response emits."""

Event: TypeAlias = (
    SpeechStarted
    | SpeechStopped
    | PartialTranscript
    | EndpointingEstimated
    | TurnRetracted
    | IdleTimeoutReached
    | InputCommitted
    | ItemAdded
    | ItemDone
    | McpToolsProgress
    | ToolCallProgress
    | TranscriptionCompleted
    | TranscriptionFailed
    | ResponseEvent
    | TurnTraced
    | ErrorOccurred
)
