"""One conversation. Alone it starts, adopts and stops Replies.

Every method is one synchronous step on the event loop, so no two can interleave: what the listener hears, what the
client asks and what a reply reports always meet a session in a settled state. It holds no engine's internals and no
socket, and runs at virtual time in tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, Resampler
from chinwag.engines.protocols import Engines, Message
from chinwag.errors import ChinwagError
from chinwag.events import (
    CancelReason,
    Event,
    Fault,
    InputCommitted,
    ItemAdded,
    PartialTranscript,
    ReplyAudio,
    ReplyEnded,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
    TurnTraced,
)
from chinwag.ids import new_id
from chinwag.listen.listener import LONGEST_BUFFER_S, Hearing, Listener, Turn
from chinwag.reply import Reply, Request
from chinwag.respond.history import Entry, History, Said
from chinwag.respond.instructions import COMPANION
from chinwag.speak.voicing import Style

SHORTEST_COMMIT_S = 0.1
"""OpenAI's server refuses to commit less sound than this."""

HEARING_TIMEOUT_S = 30.0
"""For the words of a whole recording that the client put into the conversation."""

log = logging.getLogger(__name__)


class Refused(ChinwagError):
    """The client asked for what cannot be done now. code, param: as an error on the wire names them."""

    def __init__(self, code: str, message: str, fix: str = "", param: str | None = None) -> None:
        super().__init__(message, fix)
        self.code, self.param = code, param


@dataclass(frozen=True)
class Settings:
    """How this conversation is held. create_response: the end of a turn asks for a reply; interrupt_response: speech
    stops one; drafts: begin it at a likely end; context_tokens: what the model can read at once."""

    instructions: str = COMPANION
    hearing: Hearing = field(default_factory=Hearing)
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    create_response: bool = True
    interrupt_response: bool = True
    drafts: bool = True
    context_tokens: int = 4096


@dataclass
class _Trace:
    """The turn whose first sound is still to come."""

    item_id: str
    turn: Turn
    reply: Reply = field(repr=False)


class Session:
    """A conversation between one person and the engines.

    emit: is told of all that happens, at once and in order; it must not block and must not raise.
    """

    def __init__(self, engines: Engines, settings: Settings, emit: Callable[[Event], None]) -> None:
        self.id = new_id("sess")
        self.history = History(settings.context_tokens - (settings.max_tokens or 0))
        self.settings = settings
        self._engines, self._emit = engines, emit
        self._listener = Listener(engines.vad, engines.turn, engines.stt, settings.hearing, self)
        self._to_listen_rate = Resampler(WIRE_RATE, LISTEN_RATE)
        self._received = 0
        self._speech_id = ""
        self._reply: Reply | None = None
        self._draft: Reply | None = None
        self._trace: _Trace | None = None
        self._working: asyncio.Task[None] | None = None
        self._unanswered = False
        self._unknown: dict[str, asyncio.Future[None]] = {}
        self._awaiting: asyncio.Task[None] | None = None
        self._prefilling: asyncio.Task[None] | None = None
        self._prefilled = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Hold the conversation until cancelled; whatever it had under way ends with it."""
        self._prefill("")
        try:
            await self._listener.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what the client asks --------------------------------------------------------------------------------

    @property
    def reply(self) -> Reply | None:
        """The reply that is being given."""
        return self._reply if self._reply and self._reply.active else None

    @property
    def last_reply(self) -> Reply | None:
        """The reply that was given last, over or not."""
        return self._reply

    def hear(self, audio: Audio) -> None:
        """More of the client's sound, 24 kHz. Raises Refused where a buffer the client commits itself is full."""
        if self._listener.full:
            raise Refused(
                "input_audio_buffer_full",
                f"The input audio buffer holds {LONGEST_BUFFER_S} seconds, and more is refused.",
                "Commit or clear it.",
            )
        self._listener.hear(self._to_listen_rate.push(Audio(audio.pcm, audio.rate, self._received)))
        self._received += len(audio.pcm)

    def commit(self) -> None:
        """Make what was heard an item now. Raises Refused where there is next to nothing."""
        buffered = self._listener.buffered_s
        if buffered < SHORTEST_COMMIT_S:
            raise Refused(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least "
                f"{SHORTEST_COMMIT_S * 1000:.0f}ms of audio, but buffer only has {buffered * 1000:.2f}ms of audio.",
                "Append sound first, or let the server find the turns.",
            )
        item_id = self._speech_id or new_id("item")
        if self._speech_id:
            self._emit(SpeechStopped(item_id, self._received * 1000 // WIRE_RATE))
        self._speech_id = ""
        self._drop_draft()
        self._listener.hear(self._to_listen_rate.flush())
        self._listener.commit(item_id)
        self._await_words(item_id)
        previous = self.history.add(Said(item_id, "user", "", spoken=True))
        self._emit(InputCommitted(item_id, previous))
        self._emit(ItemAdded(item_id, previous))

    def clear(self) -> None:
        """Forget the sound that is not an item yet."""
        self._speech_id = ""
        self._drop_draft()
        self._listener.hear(self._to_listen_rate.flush())
        self._listener.clear()

    def add(self, entry: Said, after: str | None = None) -> None:
        """Put words into the history, or sound whose words are then found. Raises Refused for an unknown place."""
        if self.history.find(entry.item_id):
            raise Refused("item_already_exists", f"There is an item {entry.item_id} already.", param="item.id")
        try:
            previous = self.history.add(entry, after)
        except KeyError:
            raise _no_item(str(after), "previous_item_id") from None
        self._emit(ItemAdded(entry.item_id, previous))
        if entry.audio is not None and not entry.words:
            self._await_words(entry.item_id)
            self._start(self._find_words(entry, entry.audio))

    def item(self, item_id: str) -> Entry:
        """The item of that id. Raises Refused where there is none."""
        entry = self.history.find(item_id)
        if entry is None:
            raise _no_item(item_id)
        return entry

    def delete(self, item_id: str) -> None:
        """Take an item out of the conversation. Raises Refused where there is none."""
        if not self.history.remove(item_id):
            raise _no_item(item_id)

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """The listener heard this much of a reply, and no more. Raises Refused where that cannot be."""
        reply = self.item(item_id)
        if not isinstance(reply, Reply):
            raise Refused("invalid_value", f"Item {item_id} is not an answer of mine.", param="item_id")
        sent_ms = reply.playout.sent * 1000 // WIRE_RATE
        if audio_end_ms > sent_ms:
            message = f"Audio content of {sent_ms}ms is already shorter than {audio_end_ms}ms."
            raise Refused("invalid_value", message, param="audio_end_ms")
        reply.playout.stop()
        reply.playout.report(audio_end_ms * WIRE_RATE // 1000)

    def played(self, item_id: str, played_ms: int) -> None:
        """The listener's player has come this far in a reply's sound."""
        reply = self.history.find(item_id)
        if isinstance(reply, Reply):
            reply.playout.report(played_ms * WIRE_RATE // 1000)

    def respond(self, settings: Settings | None = None) -> None:
        """Answer now. settings: of this one reply. Raises Refused while another is being given."""
        if self.reply or self._awaiting:
            raise Refused(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._reply and self._reply.reply_id}.",
                "Wait until the response is finished before creating a new one, or cancel it.",
            )
        settings = settings or self.settings
        if self._unknown:
            self._awaiting = self._start(self._respond_once_known(settings))
        else:
            self._give(self._new_reply(self.history.prompt(settings.instructions), settings))

    def cancel(self, reason: CancelReason = "client_cancelled") -> bool:
        """Stop the reply that is being given; False where there is none."""
        if self._awaiting:
            self._awaiting.cancel()
            self._awaiting = None
            return True
        self._unanswered = False
        if reply := self.reply:
            reply.stop(reason)
            return True
        return False

    def update(self, settings: Settings) -> None:
        """Go on with other settings. Raises EngineError where an engine cannot do what they ask."""
        if settings.hearing.language != self.settings.hearing.language:
            self._engines.stt.open(settings.hearing.language)
        before, self.settings = self.settings, settings
        if settings.hearing != before.hearing:
            self._listener.change(settings.hearing)
        if settings.instructions != before.instructions:
            self._drop_draft()
            self._prefilled = ""
            self._prefill("")

    # --- what the listener tells -----------------------------------------------------------------------------

    def speech_started(self, at: int) -> None:
        """Speech began at that sample of the listening stream: the client falls silent first, then the reply."""
        self._speech_id = new_id("item")
        self._emit(SpeechStarted(self._speech_id, _ms(at)))
        if self.settings.interrupt_response and self._reply:
            self._reply.stop("turn_detected")

    def words_so_far(self, text: str) -> None:
        """Live words; they are read into the model's cache as they come."""
        if text:
            self._emit(PartialTranscript(self._speech_id, text))
        if text and not self.reply:
            self._prefill(text.rstrip(" .,!?…"))  # the mark at its end is a guess while they speak

    def likely_end(self, text: str) -> None:
        """They may have finished: begin the answer behind a shut gate."""
        if text:
            self._emit(PartialTranscript(self._speech_id, text))
        if not (text and self.settings.drafts and self.settings.create_response and self.settings.hearing.automatic):
            return
        if self.reply or self._unknown:
            return
        self._drop_draft()
        self._draft = self._new_reply(self.history.prompt(self.settings.instructions, said=text.strip()), self.settings)

    def went_on(self) -> None:
        """They had not."""
        self._drop_draft()

    def turn_ended(self, turn: Turn) -> None:
        """They had: the words become an item, and the answer is opened."""
        if turn.token:
            self._know_words(turn.token, turn.text, turn.audio, failed=turn.failed)
            return
        draft, self._draft = self._draft, None
        item_id, self._speech_id = self._speech_id, ""
        self._emit(SpeechStopped(item_id, _ms(turn.ended)))
        previous = self.history.add(Said(item_id, "user", turn.text, turn.audio, spoken=True))
        self._emit(InputCommitted(item_id, previous))
        self._emit(ItemAdded(item_id, previous))
        self._tell_words(item_id, turn.text, turn.audio, failed=turn.failed)
        if turn.text and self.settings.create_response:
            self._answer(item_id, turn, draft)
        elif draft:
            draft.discard()

    def hearing_failed(self, message: str) -> None:
        """An engine of the ear failed; the conversation lives."""
        self._emit(Fault("hearing_failed", message))

    def prompt_so_far(self) -> Sequence[Message]:
        """The conversation before the utterance that is being heard."""
        return self.history.prompt(self.settings.instructions)

    # --- replies ---------------------------------------------------------------------------------------------

    def _answer(self, item_id: str, turn: Turn, draft: Reply | None) -> None:
        if self.reply or self._awaiting:  # interruption is off, so they are answered once this one is told
            self._unanswered = True
            if draft:
                draft.discard()
            return
        messages = self.history.prompt(self.settings.instructions)
        if draft and (draft.request.messages != messages or draft.failure):
            draft.discard()
            draft = None
        reply = draft or self._new_reply(messages, self.settings)
        self._trace = _Trace(item_id, turn, reply)
        self._give(reply)

    def _new_reply(self, messages: Sequence[Message], settings: Settings) -> Reply:
        request = Request(messages, settings.style, settings.audio, settings.max_tokens, cache_key=self.id)
        engines, before = self._engines, self._working
        reply = Reply(new_id("resp"), new_id("item"), request, engines.llm, engines.tts, self._from_reply, before)
        self._working = self._track(reply.task)
        return reply

    def _give(self, reply: Reply) -> None:
        self._reply = reply
        self.history.add(reply)
        reply.open()

    def _drop_draft(self) -> None:
        if self._draft:
            self._draft.discard()
            self._draft = None

    def _from_reply(self, event: Event) -> None:
        if isinstance(event, ReplyAudio) and self._trace and self._trace.reply.reply_id == event.reply_id:
            self._emit(_traced(self._trace))
            self._trace = None
        self._emit(event)
        if isinstance(event, ReplyEnded) and self._unanswered:
            self._unanswered = False
            self._give(self._new_reply(self.history.prompt(self.settings.instructions), self.settings))

    async def _respond_once_known(self, settings: Settings) -> None:
        await asyncio.wait(list(self._unknown.values()))
        self._awaiting = None
        self._give(self._new_reply(self.history.prompt(settings.instructions), settings))

    def _prefill(self, said: str) -> None:
        """Read what is known into the model's cache, one piece at a time and each only once."""
        if self._prefilling and not self._prefilling.done():
            return
        if said and said == self._prefilled:
            return
        self._prefilled = said
        messages = self.history.prompt(self.settings.instructions, said=said)
        self._prefilling = self._start(self._engines.llm.prefill(messages, cache_key=self.id))

    # --- words of items that were committed or added as sound ---------------------------------------------------

    def _await_words(self, item_id: str) -> None:
        self._unknown[item_id] = asyncio.get_running_loop().create_future()

    async def _find_words(self, entry: Said, audio: Audio) -> None:
        text, failed = "", False
        try:
            utterance = self._engines.stt.open(self.settings.hearing.language)
            utterance.push(audio)
            async with asyncio.timeout(HEARING_TIMEOUT_S):
                text = (await utterance.finish()).text.strip()
        except (ChinwagError, TimeoutError):
            log.warning("an item's sound was not recognised", exc_info=True)
            failed = True
        self._know_words(entry.item_id, text, audio, failed=failed)

    def _know_words(self, item_id: str, text: str, audio: Audio, *, failed: bool) -> None:
        entry = self.history.find(item_id)
        if isinstance(entry, Said):
            entry.words, entry.audio = text, audio
        self._tell_words(item_id, text, audio, failed=failed)
        if waiting := self._unknown.pop(item_id, None):
            waiting.set_result(None)

    def _tell_words(self, item_id: str, text: str, audio: Audio, *, failed: bool) -> None:
        if failed:
            self._emit(TranscriptionFailed(item_id, "The words could not be recognised; please say it again."))
        else:
            self._emit(Transcribed(item_id, text, audio.seconds))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._track(asyncio.get_running_loop().create_task(work))

    def _track(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _ms(sample: int) -> int:
    return max(0, sample) * 1000 // LISTEN_RATE


def _no_item(item_id: str, param: str = "item_id") -> Refused:
    return Refused("item_not_found", f"There is no item {item_id} in this conversation.", param=param)


def _traced(trace: _Trace) -> TurnTraced:
    turn = trace.turn
    marks = {"turn_decided": turn.decided_at, "transcript_final": turn.transcript_at, **trace.reply.marks}
    stages = {stage: at - turn.ended_at for stage, at in marks.items()}
    return TurnTraced(trace.reply.reply_id, trace.item_id, _ms(turn.ended), stages)
