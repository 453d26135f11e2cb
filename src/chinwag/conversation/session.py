"""One conversation. Alone it starts, adopts and stops Replies.

Every method is one synchronous step on the event loop, so no two can interleave: what the listener hears, what the
client asks and what a reply reports always meet a session in a settled state. It holds no engine's internals and no
socket, and runs at virtual time in tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, to_listen_rate
from chinwag.audio.gain import DUCKED
from chinwag.conversation.barge_in import BargeIn, Outcome
from chinwag.conversation.events import (
    CancelReason,
    EndpointingEstimated,
    ErrorOccurred,
    Event,
    IdleTimeoutReached,
    InputCommitted,
    Interrupted,
    ItemAdded,
    PartialTranscript,
    ResponseAudio,
    ResponseDucked,
    ResponseEnded,
    ResponseUnducked,
    SpeechStarted,
    SpeechStopped,
    TurnRetracted,
)
from chinwag.conversation.history import History, Item, MessageItem, prompt_budget
from chinwag.conversation.items import ConversationItems
from chinwag.conversation.response import SEND_AHEAD_S, Response
from chinwag.conversation.responses import Manner, ResponseScheduler
from chinwag.conversation.tool_items import McpItem
from chinwag.conversation.tools import ToolRunner
from chinwag.conversation.transcription import ItemTranscriber
from chinwag.engines.protocols import Engines, Message
from chinwag.errors import EngineError, Refused
from chinwag.ids import new_id
from chinwag.language import language_name
from chinwag.listening.listener import MAX_BUFFER_S, Listener
from chinwag.listening.overlap import InterruptionMode
from chinwag.listening.turn import EndpointingEstimate, ListenerSettings, SpeechProgress, Turn
from chinwag.speech.synthesis import OTHER_ENGINE_HINT, Style, supports_language, unsupported_language_message
from chinwag.tasks import TaskSet
from chinwag.text.fillers import translate_filler
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS, SILENCE_PROMPT, instructions_for
from chinwag.tools.offer import ToolOffer

SILENT_ACTS = ("stop", "wait")
"""What is obeyed without a word."""

ASIDES = 4
"""Replies beside the conversation that one client may have under way."""

SHORTEST_COMMIT_S = 0.1
"""OpenAI's server refuses to commit less sound than this."""

MOST_ROUNDS = 8
"""Answers in a row that may end in calls which the server runs; then the model is to say what it has."""


@dataclass(frozen=True)
class SessionSettings:
    """How this conversation is held.

    create_response: the end of a turn asks for a reply. interruption: what of speech during a reply stops it.
    drafts: begin the reply at a likely end. context_tokens: what the model can read at once. lead_s: the reply's
    sound is sent so far ahead of the ear. ducks: the client lowers it itself when told to. idle_s: silence after
    which the server speaks first; None for never. greeting: what it says at the beginning. offer: the tools. kept: the
    share of the words that is still asked about once all do not fit.
    """

    instructions: str = DEFAULT_INSTRUCTIONS
    listening: ListenerSettings = field(default_factory=ListenerSettings)
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    create_response: bool = True
    interruption: InterruptionMode = "words"
    drafts: bool = True
    context_tokens: int = 4096
    send_ahead_s: float = SEND_AHEAD_S
    client_ducks: bool = False
    idle_s: float | None = None
    greeting: str = ""
    tools: ToolOffer = field(default_factory=ToolOffer)
    history_share: float = 0.5


@dataclass(frozen=True)
class _LastTurn:
    """The turn that ended last, and the reply to it."""

    item_id: str
    reply: Response | None


class Session:
    """A conversation between one person and the engines.

    emit: is told of all that happens, at once and in order; it must not block and must not raise.
    """

    def __init__(self, engines: Engines, settings: SessionSettings, emit: Callable[[Event], None]) -> None:
        self.id = new_id("sess")
        self.history = History(prompt_budget(settings.context_tokens, settings.max_tokens), settings.history_share)
        self.settings = settings
        self._engines, self._emit = engines, emit
        self._listener = Listener(engines, settings.listening, self)
        receive = self._listener.receive_model_evidence
        self._answers = ResponseScheduler(engines, self.history, self.id, self._from_reply, receive)
        self._floor = BargeIn(self._decided)
        self._to_listen_rate = to_listen_rate()
        self._received = 0
        self._speech_id = ""
        self._speech_at = 0
        self._last_turn: _LastTurn | None = None
        self._unanswered = False
        self._reminded = False
        self._wording = ItemTranscriber(engines.stt, self.history, emit)
        self._awaiting: asyncio.Task[None] | None = None
        self._toolwork = ToolRunner(self.history, emit, self)
        self.items = ConversationItems(
            self.history, self._toolwork, emit, self._find_words, self._answers.forget_reading
        )
        """What has been said, for the client to add to and take from."""
        self._answered = settings
        self._results_due = False
        self._rounds = 0
        self._unspoken: set[str] = set()
        self._asides_awaited: set[asyncio.Task[None]] = set()
        self._tasks = TaskSet()

    async def run(self) -> None:
        """Hold the conversation until cancelled; whatever it had under way ends with it."""
        self._toolwork.set_offer(self.settings.tools)
        self._answers.read("", self._manner())
        self.greet()
        try:
            await self._listener.run()
        finally:
            if last := self._answers.last:
                last.playout.stop()  # nobody hears the rest of it
            self._floor.end()
            await self._answers.close()
            await self._toolwork.close()
            await self._tasks.close()

    def drain(self) -> None:
        """Let what is under way come to its end: the sentence that is being said, or the first one of the answer to
        what they are saying now.
        """
        self._answers.wind_down()

    @property
    def at_rest(self) -> bool:
        """Nobody speaks, and nothing is about to be said."""
        answers = self._answers
        under_way = answers.sounding or answers.coming or answers.out_of_band or self._awaiting or self._wording.pending
        return not (self._speech_id or under_way)

    def greet(self) -> None:
        """Say the greeting, if there is one and nobody has said anything yet."""
        begun = (
            self.active_response
            or self._awaiting
            or self._speech_id
            or any(not isinstance(entry, McpItem) for entry in self.history)
        )
        if self.settings.greeting and not begun:
            self._answers.give(self._manner(), opening=self.settings.greeting, asks=False)

    # --- what the client asks --------------------------------------------------------------------------------

    @property
    def active_response(self) -> Response | None:
        """The reply that is being given."""
        return self._answers.active

    def find_response(self, response_id: str) -> Response | None:
        """The reply of that id, in the conversation or beside it, while it is given."""
        last = self.last_response
        return last if last and last.response_id == response_id else self._answers.aside(response_id)

    @property
    def last_response(self) -> Response | None:
        """The reply that was given last, over or not."""
        return self._answers.last

    @property
    def language(self) -> str | None:
        """They speak it; None while that is not known."""
        return self._listener.language

    @property
    def received_audio_ms(self) -> int:
        """How much of the client's sound has come."""
        return self._received * 1000 // WIRE_RATE

    def append_audio(self, audio: Audio) -> None:
        """More of the client's sound, 24 kHz. Raises Refused where a buffer the client commits itself is full."""
        if self._listener.buffer_full:
            raise Refused(
                "input_audio_buffer_full",
                f"The input audio buffer holds {MAX_BUFFER_S} seconds, and more is refused.",
                "Commit or clear it.",
            )
        self._listener.append_audio(self._to_listen_rate.push(audio))
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
        if self._floor.doubtful:  # the client takes it for a turn
            self._floor.settle()
            self._yield("answer")
        item_id = self._speech_id or new_id("item")
        if self._speech_id:
            self._emit(SpeechStopped(item_id, self.received_audio_ms))
        self._speech_id = ""
        self._answers.pass_over()
        self._listener.append_audio(self._to_listen_rate.flush())
        self._listener.commit(item_id)
        self._wording.expect(item_id)
        self._take_in(MessageItem(item_id, "user", "", spoken=True))

    def clear(self) -> None:
        """Forget the sound that is not an item yet."""
        self._floor.close(speech_ended=False)
        self._speech_id = ""
        self._answers.pass_over()
        self._listener.append_audio(self._to_listen_rate.flush())
        self._listener.clear()

    def create_response(
        self,
        settings: SessionSettings | None = None,
        tag: Any = None,
        *,
        context: Sequence[Item] | None = None,
        aside: bool = False,
    ) -> None:
        """Answer now.

        settings: of this one reply. tag: goes with it. context: what it answers, in place of the conversation. aside:
        it is no part of the conversation, and may be given beside a reply that is.
        Raises Refused while another is being given, or many are beside.
        """
        if aside and self._answers.out_of_band + len(self._asides_awaited) >= ASIDES:
            message = f"{ASIDES} responses outside of the conversation are under way."
            raise Refused("too_many_responses", message, "Wait until one of them is done, or cancel it.")
        coming = self._answers.coming
        if not aside and (coming or self._awaiting):
            raise Refused(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {coming and coming.response_id}.",
                "Wait until the response is finished before creating a new one, or cancel it.",
            )
        settings = settings or self.settings
        if not aside:
            self._rounds = 0
        unheard = [
            entry for entry in context or () if isinstance(entry, MessageItem) and entry.audio and not entry.heard_text
        ]
        if not (self._wording.pending or unheard or (self._toolwork.running and not aside)):
            self._give(settings, tag, context, aside=aside)
            return
        task = self._tasks.start(self._respond_once_known(settings, tag, context, unheard, aside=aside))
        if aside:
            self._asides_awaited.add(task)
            task.add_done_callback(self._asides_awaited.discard)
        else:
            self._awaiting = task

    def cancel_response(self, reason: CancelReason = "client_cancelled", response_id: str | None = None) -> bool:
        """Stop the reply that is being given, or is to follow what the server runs, or the one of that id.

        False where there is none.
        """
        if response_id and response_id not in {
            reply.response_id for reply in (self.active_response, self._answers.coming) if reply
        }:
            return self._answers.cancel_aside(response_id)
        self._unanswered = self._results_due = False
        was_running, was_coming = self._toolwork.ignore_running_calls(), self._answers.coming is not None
        self._answers.drop_next()
        if self._awaiting:
            self._awaiting.cancel()
            self._awaiting = None
            return True
        if reply := self.active_response:
            reply.stop(reason)
            return True
        return was_running or was_coming

    def stop_at(self, since: float) -> None:
        """What was being said has been heard up to then, on the loop's clock, and no further."""
        if (last := self.last_response) and last.playout.ends_at > since:
            last.playout.stop(since)
        self.cancel_response()

    def update(self, settings: SessionSettings) -> None:
        """Go on with other settings. Raises EngineError where an engine cannot do what they ask."""
        if (language := settings.listening.language) != self.settings.listening.language:
            self._engines.stt.open(language)
            if settings.audio and not supports_language(self._engines.tts, language):
                raise EngineError(
                    unsupported_language_message(self._engines.tts, str(language)),
                    OTHER_ENGINE_HINT,
                    self._engines.tts.name,
                )
        before, self.settings = self.settings, settings
        self.history.history_share = settings.history_share
        if settings.listening != before.listening:
            if settings.listening.restarts(before.listening):
                self._floor.close(speech_ended=False)
                self._speech_id = ""
                self._answers.pass_over()
            self._listener.update_settings(settings.listening)
        if settings.tools != before.tools:
            self._toolwork.set_offer(settings.tools)
        asked = settings.instructions, settings.tools, settings.listening.language
        if asked != (before.instructions, before.tools, before.listening.language):
            self._answers.drop()
            self._answers.forget_reading()
            self._answers.read("", self._manner())

    def change_engines(self, engines: Engines, settings: SessionSettings) -> None:
        """Go on with other engines: the next utterance and the next reply are theirs, and nothing said is forgotten.

        Raises EngineError where they cannot hear or speak the language that is set; then nothing has changed.
        """
        before, language = self._engines, settings.listening.language
        engines.stt.open(language)
        if settings.audio and not supports_language(engines.tts, language):
            raise EngineError(
                unsupported_language_message(engines.tts, str(language)), OTHER_ENGINE_HINT, engines.tts.name
            )
        self._engines = engines
        if engines.stt is not before.stt:
            self._listener.change_engines(engines)
            self._wording.transcriber = engines.stt
        if engines.tts is not before.tts:
            self._unspoken.clear()
        self._answers.change(engines)
        self.update(settings)
        self._answers.read("", self._manner())

    # --- what the listener tells -----------------------------------------------------------------------------

    def speech_started(self, at: int, *, continues: bool, immediate: bool) -> bool:
        """Speech began at that sample of the listening stream: the client falls silent first, then the reply.

        Speech over a reply only lowers it, until it is known what it is. True where the last turn is taken back.
        """
        self._floor.speech_came()
        self._speech_id, self._speech_at = new_id("item"), at
        last, reply = self._last_turn, self._answers.sounding
        undone = last is None or last.reply is None or not (last.reply.heard_text or last.reply.tool_calls)
        # who answers by themselves may have acted on the words already
        if continues and last and self.settings.create_response and undone and last.reply is self._answers.last:
            self._take_back(last)
            return True
        begun_too_early = immediate and last is not None and reply is last.reply
        if reply and self.settings.interruption == "words" and not begun_too_early:
            self._floor.doubt(reply)
        elif self.settings.interruption == "off":
            self._yield()
        else:
            self._yield("early_answer" if begun_too_early else "answer")
        return False

    def speech_progressed(self, speech: SpeechProgress) -> None:
        """Another frame of it."""
        self._engines.load.mark_active(self.id)
        self._floor.heard(speech, self.settings.interruption, echoes=self._listener.echo_gate.lag is not None)

    def partial_transcript(self, speech: SpeechProgress) -> None:
        """Live words; they are read into the model's cache as they come."""
        self.speech_progressed(speech)
        if speech.text and self._speech_id and not self._floor.doubtful:
            self._emit(PartialTranscript(self._speech_id, speech.text))
            if not self.active_response and (speech.settled or self._engines.load.prefills):
                self._answers.read(speech.text, self._manner(), awaited=speech.settled)

    def likely_end(self, text: str) -> None:
        """They may have finished: begin the answer behind a shut gate."""
        settings = self.settings
        drafts = settings.drafts and self._engines.load.drafts
        if not (drafts and settings.create_response and settings.listening.automatic):
            return
        if (
            self.active_response
            or self._wording.pending
            or self._floor.doubtful
            or self._answers.wants(text) in SILENT_ACTS
        ):
            return
        self._answers.draft(text, self._manner())

    def endpointing_estimated(self, estimate: EndpointingEstimate) -> None:
        """What is thought of a silence."""
        if not self._speech_id:  # the client has cleared or committed it, and the listener comes to that next
            return
        known = (estimate.silence_s, estimate.end_probability, estimate.wait_s, estimate.evidence)
        self._emit(EndpointingEstimated(self._speech_id, _ms(estimate.speech_end), *known))

    def turn_ended(self, turn: Turn) -> None:
        """They had: the words become an item, and the answer is opened."""
        if turn.item_id:
            self._wording.complete(turn.item_id, turn.text, turn.audio, failed=turn.failed)
            return
        if self._floor.doubtful and self._floor.close(speech_ended=True) == "passing":
            return
        item_id, self._speech_id = self._speech_id or new_id("item"), ""
        self._emit(SpeechStopped(item_id, _ms(turn.ended)))
        wanted = self._answers.wants(turn.text)
        self._tell_language()
        self._take_in(MessageItem(item_id, "user", turn.text, turn.audio, spoken=True))
        self._wording.emit_transcript(item_id, turn.text, turn.audio, failed=turn.failed)
        self._reminded = False
        if turn.text and self.settings.create_response and wanted not in SILENT_ACTS:
            self._answer(item_id, turn)
        else:
            self._answers.pass_over()
            self._last_turn = _LastTurn(item_id, self._answers.last)
            if wanted in SILENT_ACTS:
                self._toolwork.ignore_running_calls()
                self._results_due = False
            elif not turn.text:  # a cough is no answer to a silence
                self._rest_after(self._answers.last)
                self._go_on()

    def listening_failed(self, message: str, engine: str = "") -> None:
        """An engine of the ear failed; the conversation lives."""
        self._emit(ErrorOccurred("hearing_failed", message, engine))

    def response_heard_at(self) -> float | None:
        """When the last reply had been heard; None while it still is, or where nothing was."""
        reply = self._answers.last
        heard = reply is not None and reply.playout.sent and not reply.audible
        return reply.playout.ends_at if reply and heard else None

    def prompt_before_turn(self) -> Sequence[Message]:
        """The conversation before the utterance that is being heard."""
        return self.history.prompt(instructions_for(self.settings.instructions, self._language))

    def _take_in(self, said: MessageItem) -> None:
        """What was heard becomes an item."""
        previous = self.history.add(said)
        self._emit(InputCommitted(said.item_id, previous))
        self._emit(ItemAdded(said.item_id, previous))

    def _find_words(self, said: MessageItem, audio: Audio) -> None:
        """The client put sound into the conversation; the next reply waits for its words."""
        self._wording.expect(said.item_id)
        self._tasks.start(self._wording.transcribe_item(said, audio, self.settings.listening.language))

    # --- who has the floor -----------------------------------------------------------------------------------

    def _yield(self, stops: Interrupted = "") -> None:
        """They have it: whatever is playing falls silent."""
        sounding = stops == "unheard_answer" or self._answers.sounding
        self._emit(SpeechStarted(self._speech_id, _ms(self._speech_at), stops if sounding else ""))
        if stops and self._answers.last:
            self._unanswered = False  # what they say now is answered, and with it what was said before
            self._answers.drop_next()
            self._answers.last.stop("turn_detected")
            self._listener.echo_gate.stop_playback(asyncio.get_running_loop().time())

    def _decided(self, outcome: Outcome) -> None:
        """What the speech over a reply was."""
        if outcome == "interrupts":
            self._yield("answer")
        else:
            self._speech_id = ""
            self._listener.discard_utterance()
            self._rest_after(self._answers.last)
            self._go_on()

    def _take_back(self, last: _LastTurn) -> None:
        """They go on before anything of the answer was heard: it is gone, and the turn with it."""
        self._last_turn = None
        self._yield("unheard_answer")
        if self.history.remove(last.item_id):
            self._answers.forget_reading()
            self._emit(TurnRetracted(last.item_id))

    def _rest_after(self, reply: Response | None) -> None:
        """If the reply has been sent, and they stay silent for long once they have heard it, say a gentle word."""
        idle_s = self.settings.idle_s
        if reply and idle_s is not None and not self._reminded and reply.status == "completed":
            self._floor.wait_for_speech(reply.playout.ahead_s + idle_s, self._remind)

    def _remind(self) -> None:
        if self.active_response or self._awaiting or self._speech_id or self._toolwork.busy:
            return
        self._reminded = True
        now = self.received_audio_ms
        idle_ms = round((self.settings.idle_s or 0) * 1000)
        self._emit(IdleTimeoutReached(new_id("item"), max(0, now - idle_ms), now))
        self._answers.give(replace(self._manner(), tools=(), tool_choice="auto"), hint=SILENCE_PROMPT)

    # --- replies ---------------------------------------------------------------------------------------------

    def _answer(self, item_id: str, turn: Turn) -> None:
        if self.active_response or self._awaiting:  # interruption is off, so they are answered once this one is told
            self._unanswered = True
            self._answers.pass_over()
            self._last_turn = None
            return
        self._rounds, self._results_due, self._answered = 0, False, self.settings
        self._answers.answer(item_id, turn, self._manner())
        self._last_turn = _LastTurn(item_id, self._answers.last)

    def _from_reply(self, event: Event) -> None:
        reply = self._answers.last
        if isinstance(event, ResponseAudio) and reply and reply.response_id == event.response_id:
            now = asyncio.get_running_loop().time()
            self._listener.echo_gate.add_playback(event.audio, now + reply.playout.ahead_s - event.audio.seconds)
        elif (
            isinstance(event, ResponseDucked | ResponseUnducked) and self.settings.client_ducks
        ):  # else it was sent low
            gain = DUCKED if isinstance(event, ResponseDucked) else 1.0
            self._listener.echo_gate.set_gain(gain, asyncio.get_running_loop().time())
        self._emit(event)
        self._toolwork.told(event)
        if not isinstance(event, ResponseEnded) or self._awaiting:  # what is awaited answers all there is
            return
        if self._unanswered:
            self._unanswered = False
            self._give(self.settings)
        elif self._results_due:
            self._go_on()
        elif (reply := self._answers.last) and reply.response_id == event.response_id:
            self._rest_after(reply)

    async def _respond_once_known(
        self,
        settings: SessionSettings,
        tag: Any,
        context: Sequence[Item] | None,
        unheard: Sequence[MessageItem],
        *,
        aside: bool,
    ) -> None:
        if self._wording.pending:
            await self._wording.wait_for_all()
        for entry in unheard:
            assert entry.audio is not None
            entry.heard_text = (
                entry.heard_text or await self._wording.transcribe(entry.audio, self.settings.listening.language) or ""
            )
        if not aside:
            await self._toolwork.wait_for_calls()
            self._awaiting, self._unanswered = None, False
        self._give(settings, tag, context, aside=aside)

    def _give(
        self, settings: SessionSettings, tag: Any = None, context: Sequence[Item] | None = None, *, aside: bool = False
    ) -> None:
        manner = replace(self._manner(settings), tag=tag)
        if aside:  # nobody would run what it calls
            manner = replace(manner, tools=(), tool_choice="auto")
        else:
            self._results_due, self._answered = False, settings
        if context is None and not aside:
            self._answers.give(manner)
            return
        tokens = prompt_budget(self.settings.context_tokens, manner.max_tokens)
        history = self.history if context is None else History(tokens)
        for entry in context or ():
            history.add(entry)
        messages = history.prompt(manner.instructions, besides=manner.besides)
        self._answers.give_to(messages, manner, aside=aside)

    def _manner(self, settings: SessionSettings | None = None) -> Manner:
        one = settings or self.settings
        tools, choice = self._toolwork.tools_for(one.tools)
        language = self._language
        voice = one.style.voice if one.style.voice in self._engines.tts.voices else None  # it may be the last engine's
        style = replace(one.style, voice=voice, language=language)
        instructions = instructions_for(one.instructions, language)
        return Manner(instructions, style, one.audio, one.max_tokens, one.send_ahead_s, one.client_ducks, tools, choice)

    @property
    def _language(self) -> str | None:
        """In which they are answered: the one they speak, or where the voice cannot, one that it can."""
        spoken = self._listener.language
        if not self.settings.audio or supports_language(self._engines.tts, spoken):
            return spoken
        return next(iter(self._engines.tts.languages))

    def _tell_language(self) -> None:
        """The first time that they speak one that the voice cannot, they are told why they are answered in another."""
        spoken, voice = self._listener.language, self._engines.tts
        if spoken is None or spoken in self._unspoken or self._language == spoken:
            return
        self._unspoken.add(spoken)
        answered = f"You are answered in {language_name(self._language)}."
        message = f"{unsupported_language_message(voice, spoken)} {answered} {OTHER_ENGINE_HINT}"
        self._emit(ErrorOccurred("language_not_spoken", message))

    # --- what comes of calls ---------------------------------------------------------------------------------

    def results_came(self) -> None:
        """All that the server ran for the model has ended."""
        self._results_due = True
        self._go_on()

    def _go_on(self) -> None:
        """Have the model answer with what came of its calls, as soon as nobody else speaks."""
        if not self._results_due or self._answers.coming or self._awaiting or self._speech_id:
            return
        self._results_due = False
        self._rounds += 1
        if self._rounds > MOST_ROUNDS:
            return
        manner = self._manner(self._answered)  # a call that was asked for has been made
        self._answers.give(replace(manner, tool_choice="none" if self._rounds == MOST_ROUNDS else "auto"))

    def fill(self, words: str, *, for_client: bool) -> bool:
        """Say that while a result is awaited; False where somebody speaks, or a client speaks only when it says so."""
        settings = self._answered
        unasked = self.settings.create_response and self.settings.listening.automatic
        if self._speech_id or self._answers.sounding or not settings.audio:
            return False
        if for_client and not unasked:
            return False
        self._answers.fill(translate_filler(words, self._language), self._manner(settings))
        return True


def _ms(sample: int) -> int:
    return max(0, sample) * 1000 // LISTEN_RATE
