"""One answer: from the prompt to sound at the listener's ear, in one task.

A *draft* is a Reply whose gate is shut: it works out its first clauses in silence. Opening the gate makes it the
answer; discarding it leaves no trace.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.gain import DUCKED, GainRamp
from chinwag.conversation.events import (
    CancelReason,
    Event,
    ResponseAudio,
    ResponseDucked,
    ResponseEnded,
    ResponseStarted,
    ResponseStatus,
    ResponseText,
    ResponseUnducked,
)
from chinwag.conversation.tool_calls import ToolCallAssembler
from chinwag.conversation.tool_items import ToolCall
from chinwag.engines.protocols import Engines, Message, Usage
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import join_sentences, separator, split_words
from chinwag.load import LoadLevel, PriorityTicket
from chinwag.speech.playout import Playout, SpokenClause
from chinwag.speech.synthesis import FRAME, Style, estimate_duration_s, synthesise
from chinwag.text.clauses import ClauseSplitter, ends_sentence
from chinwag.text.speakable.speakable import Speakable
from chinwag.text.speakable.symbols import symbol_names_for
from chinwag.tools.tool import Tool, ToolChoice

SEND_AHEAD_S = 0.4
"""Sound is sent this far ahead of the ear: enough for a network's jitter, little enough that a cut is exact."""

DRAFT_TOKENS = 40
"""As much as a draft may write before it is adopted: the first sentence or two, about a second of a small model."""

BUSY_DRAFT_TOKENS = 12
"""The same while the cores are busy: its first clause."""

CLAUSE_ENDS = (".", "!", "?", ",", ";", ":", "。", "！", "？", "，", "、")

LITTLE_S, ENOUGH_S, PLENTY_S = 1.2, 2.5, 4.0
"""Seconds ahead of the ear, while several talk: what is to be kept up, what lets others go first, what is enough."""

LOOKS_EVERY_S = 0.1

BUFFERED_FRAMES = 250
"""Ten seconds of sound made ahead; a longer answer waits for the listener."""

VOICE_TIMEOUT_S = 20.0
"""A voice that makes no sound for so long has failed."""

LETTING_GO_S = 1.0
"""A stopped reply has let the model go within a token; one that has not by now never will."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResponseOptions:
    """What a reply is asked for.

    audio: spoken, else written. cache_key: the conversation's name in the model's cache.
    already: words of this answer that were heard before; the model goes on behind them. opening: said before the
    model's words. asks: the model is to go on from there.
    lead_s: sound is sent so far ahead of the ear. ducks: the client lowers the reply itself when it is told to.
    tools, tool_choice: what the model may call. passing: said while a result is awaited; the model is not told of it.
    tag: whatever who asked for it wants to find with the reply.
    """

    messages: Sequence[Message]
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    cache_key: str = ""
    already: str = ""
    opening: str = ""
    asks: bool = True
    send_ahead_s: float = SEND_AHEAD_S
    client_ducks: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    passing: bool = False
    tag: Any = None


class Response:
    """An answer on its way. It stands in the history and tells what of it was heard."""

    role: Literal["assistant"] = "assistant"

    def __init__(
        self,
        response_id: str,
        item_id: str,
        options: ResponseOptions,
        engines: Engines,
        emit: Callable[[Event], None],
        after: asyncio.Task[None] | None = None,
    ) -> None:
        """after: the reply before it, whose model call is let end first, so that this one finds the cache free."""
        self.response_id, self.item_id, self.options = response_id, item_id, options
        self.usage = Usage()
        self.marks: dict[str, float] = {}
        self.status: ResponseStatus | Literal["in_progress"] = "in_progress"
        self.failure: ChinwagError | None = None
        self._llm, self._voice, self._load = engines.llm, engines.tts, engines.load
        self._release_engines = engines.hold("llm", "tts")
        self._emit, self._after = emit, after
        self._awaited: PriorityTicket | None = None
        self._loop = asyncio.get_running_loop()
        self._gate = asyncio.Event()
        self._made: asyncio.Queue[tuple[SpokenClause, Audio | None] | None] = asyncio.Queue(BUFFERED_FRAMES)
        self._spoken: list[SpokenClause] = []
        self._finish_reason: str | None = None
        self._written = ""
        self._clauses: list[str] = []
        self._wanted, self._ramp = 1.0, GainRamp()
        self.draft_exhausted = False
        """It was too long to be drafted to its end, and its model cannot go on where it was stopped."""
        self._calling = ToolCallAssembler(response_id, options.tools, emit)
        self._cut = self._began_in_words = self._winding_down = False
        self.ready = asyncio.Event()
        """The first of it is made, or it has come to its end without."""
        self.playout = Playout(WIRE_RATE, self._loop.time)
        self.task = self._loop.create_task(self._run(), name=f"reply {response_id}")
        self.task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._after = None  # a cancelled task holds its reply: each would hold all that were cancelled before it
        self._release_engines()
        self._begins()

    def _begins(self) -> None:
        """The first of it is made, or will not be."""
        self.ready.set()
        if self._awaited:
            self._awaited.release()

    def finish_sentence(self) -> None:
        """Come to an end behind the sentence that is being said; what is only written is written to its end."""
        self._winding_down = True

    @property
    def active(self) -> bool:
        """Adopted, and more of it is to come."""
        return self._gate.is_set() and self.status == "in_progress"

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The calls of tools that it makes."""
        return self._calling.calls

    @property
    def wrote_before_tool_call(self) -> bool:
        """It wrote something to say before its first call."""
        return self._began_in_words

    @property
    def announced(self) -> bool:
        """The client knows of its words."""
        return bool(self._spoken)

    @property
    def is_filler(self) -> bool:
        """The model is not told of it."""
        return self.options.passing

    @property
    def text(self) -> str:
        """All of it that was sent."""
        return self._joined(spoken.text for spoken in self._spoken)

    @property
    def heard_text(self) -> str:
        """What of it was heard; of a written answer, what was sent."""
        if not self.options.audio:
            return self.text
        played = self.playout.played
        return self._joined(spoken.text_heard(played) for spoken in self._spoken)

    @property
    def unheard_text(self) -> str:
        """What was made and not heard."""
        return "".join(split_words(join_sentences(self._clauses))[len(split_words(self.heard_text)) :])

    @property
    def written_completely(self) -> bool:
        """All of it was written."""
        return self._finish_reason in ("stop", "tool_calls") or not self.options.asks

    @property
    def audible(self) -> bool:
        """It is being heard, or about to be."""
        return self.active or (self.playout.ahead_s > 0 and not self.playout.stopped)

    @property
    def ducked(self) -> bool:
        """It is to be heard low."""
        return self._wanted < 1.0

    def duck(self, *, low: bool) -> None:
        """Be heard low, or at full volume again."""
        if low is not self.ducked:
            self._wanted = DUCKED if low else 1.0
            told = ResponseDucked if low else ResponseUnducked
            self._emit(told(self.response_id, self.item_id))

    def open(self) -> None:
        """Let it be heard."""
        if not self._gate.is_set():
            self._gate.set()
            if not self.ready.is_set():
                self._awaited = self._load.prioritise()
            self._emit(ResponseStarted(self.response_id))
            self._calling.open()

    def stop(self, reason: CancelReason) -> None:
        """Fall silent at once. What was heard stays in the history; the work ends behind the scenes."""
        self.playout.stop()
        if self.status == "in_progress":
            self._end("cancelled", reason)
            self.task.cancel()

    async def cut(self) -> None:
        """Say no more than the frame that is due, faded out, and come to an end."""
        self._cut = True
        await asyncio.wait({self.task}, timeout=LETTING_GO_S)

    def discard(self) -> None:
        """Drop a draft nobody heard of."""
        self.status = "cancelled"
        self.task.cancel()

    def _end(
        self,
        status: ResponseStatus,
        reason: CancelReason | Literal["max_output_tokens"] | None = None,
        error: str | None = None,
    ) -> None:
        if self.status != "in_progress":
            return
        self.status = status
        self._calling.end(whole=False)  # what is not whole by now never will be
        if self._gate.is_set():
            engine = getattr(self.failure, "engine", "") if error else ""
            self._emit(ResponseEnded(self.response_id, self.item_id, status, reason, error, engine))

    def mark(self, stage: str) -> None:
        """Note when that stage was first reached."""
        self.marks.setdefault(stage, self._loop.time())

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make())
                group.create_task(self._say())
        except ExceptionGroup as errors:
            log.exception("a reply broke off")
            self._end("failed", error=f"The answer broke off: {errors.exceptions[0]}.")

    async def _make(self) -> None:
        """Model to clauses to sound, as far ahead as the buffer allows. A failure waits until what was made is said."""
        try:
            if self._after and not self._after.done():
                await asyncio.wait({self._after}, timeout=LETTING_GO_S)
            await (self._make_sound() if self.options.audio else self._make_text())
        except ChinwagError as error:
            self.failure = error
        except TimeoutError:
            self.failure = EngineError(
                f"The voice made no sound for {VOICE_TIMEOUT_S:.0f} seconds.",
                "Choose another voice engine, or restart.",
                self._voice.name,
            )
        except Exception as error:
            log.exception("a reply failed")
            self.failure = EngineError(f"The answer failed unexpectedly: {error}.", "The server's log says more.")
        self._begins()
        await self._made.put(None)

    async def _make_text(self) -> None:
        async with aclosing(self._chat()) as deltas:
            async for text in deltas:
                self.mark("first_clause")
                self._begins()
                await self._made.put((SpokenClause(text, 0), None))

    async def _make_sound(self) -> None:
        speakable, splitter = Speakable(symbol_names_for(self.options.style.language)), ClauseSplitter()
        async with aclosing(self._chat()) as deltas:
            async for text in deltas:
                for clause in splitter.push(speakable.push(text)):
                    await self._voice_clause(clause)
        for clause in [*splitter.push(speakable.finish()), *splitter.finish()]:
            await self._voice_clause(clause)

    async def _chat(self) -> AsyncGenerator[str, None]:
        if self.options.opening:
            self._written = self.options.opening
            yield self._written
        if self.options.asks:
            async with aclosing(self._written_by_model()) as pieces:
                async for piece in pieces:
                    self.mark("first_token")
                    self._written += piece
                    yield piece

    async def _written_by_model(self) -> AsyncGenerator[str, None]:
        """What the model writes; a draft stops at DRAFT_TOKENS and goes on once it is adopted.

        What is far ahead of the ear stops as well, between two clauses, where others wait for their first.
        """
        request, drafted, count = self.options, not self._gate.is_set(), 0
        continues = self._llm.continues and not request.tools  # in the middle of a call none goes on
        draft = DRAFT_TOKENS if self._load.level is LoadLevel.CALM else BUSY_DRAFT_TOKENS
        most = draft if drafted and continues else None
        while True:
            piece, gives_way = 0, False
            async with aclosing(self._deltas(most)) as deltas:
                async for delta in deltas:
                    self._load.mark_active(request.cache_key)
                    count, piece = count + 1, piece + 1
                    if drafted and count > draft and not self._gate.is_set():
                        self.draft_exhausted = True
                        return
                    yield delta
                    between = continues and delta.rstrip().endswith(CLAUSE_ENDS)
                    gives_way = between and self._can_wait(ENOUGH_S, PLENTY_S)
                    if gives_way:
                        break
            most = None if request.max_tokens is None else request.max_tokens - count
            if most is not None and most <= 0:
                return
            if gives_way:
                self.usage += Usage(output_tokens=piece)  # told at an answer's end, which this one will not come to
                await self._give_way(LITTLE_S, ENOUGH_S)
            elif drafted and continues and self._finish_reason == "length":
                await self._gate.wait()
                drafted, self._finish_reason = False, None
            else:
                return

    async def _give_way(self, while_others_wait_s: float, always_s: float) -> None:
        """Wait while that can wait."""
        while True:
            if not self._can_wait(while_others_wait_s, always_s):
                return
            await asyncio.sleep(LOOKS_EVERY_S)

    def _can_wait(self, while_others_wait_s: float, always_s: float) -> bool:
        """Whether so much of it is made, ahead of the ear, that another's answer is better made first."""
        if self._load.sessions < 2 or not self.active or not self.options.audio:
            return False
        ahead = self.playout.ahead_s + self._made.qsize() * FRAME / WIRE_RATE
        return ahead > (while_others_wait_s if self._load.priority_pending else always_s)

    async def _deltas(self, most: int | None) -> AsyncGenerator[str, None]:
        """One call of the model: on from what is written so far."""
        request = self.options
        limits = [limit for limit in (most, request.max_tokens) if limit is not None]
        messages = list(request.messages)
        if begun := join_sentences((request.already, self._written)).strip():
            messages.append({"role": "assistant", "content": begun})
        chat = self._llm.chat(
            messages,
            cache_key=request.cache_key,
            max_tokens=min(limits, default=None),
            tools=[tool.as_openai for tool in request.tools],
            tool_choice=request.tool_choice,
        )
        async with aclosing(chat) as deltas:
            async for delta in deltas:
                if delta.call:
                    self._began_in_words = self._began_in_words or (not self.tool_calls and bool(self._written.strip()))
                    self._calling.take(delta.call)
                if delta.usage:
                    self.usage = self.usage + delta.usage
                if delta.finish_reason:
                    self._finish_reason = delta.finish_reason
                    self._calling.end(whole=delta.finish_reason != "length")
                if delta.text:
                    yield delta.text

    async def _voice_clause(self, clause: str) -> None:
        self.mark("first_clause")
        if self._clauses:
            await self._give_way(ENOUGH_S, math.inf)
        self._clauses.append(clause)
        spoken = SpokenClause(clause, 0, expected=round(estimate_duration_s(clause) * WIRE_RATE))
        async with aclosing(synthesise(self._voice, clause, self.options.style)) as sound:
            while True:
                async with asyncio.timeout(VOICE_TIMEOUT_S):
                    frame = await anext(sound, None)
                if frame is None:
                    break
                spoken.samples += len(frame.pcm)
                self._begins()
                await self._made.put((spoken, frame))
        spoken.complete = True

    async def _say(self) -> None:
        """Behind the gate: send what is made, no more than LEAD_S ahead of the ear."""
        await self._gate.wait()
        while (piece := await self._made.get()) is not None and self.status == "in_progress":
            spoken, frame = piece
            if not self._spoken or self._spoken[-1] is not spoken:
                if self._winding_down and self.options.audio and self._spoken and ends_sentence(self._spoken[-1].text):
                    self._end("cancelled")
                    self.task.cancel()
                    return
                spoken.start = self.playout.sent
                between = separator(self._spoken[-1].text, spoken.text) if self._spoken and self.options.audio else ""
                self._spoken.append(spoken)
                self._emit(ResponseText(self.response_id, self.item_id, between + spoken.text))
            if frame is None:
                continue
            if (early := self.playout.ahead_s - self.options.send_ahead_s) > 0:
                await asyncio.sleep(early)
            if self.status != "in_progress":  # stopped in the very moment it woke, ahead of its cancellation
                return
            self.mark("first_audio")
            placed = Audio(self._at_volume(frame), frame.rate, self.playout.sent)
            self.playout.add_sent(len(frame.pcm))
            self._emit(ResponseAudio(self.response_id, self.item_id, placed))
            if self._cut:
                break
        if self.failure:
            self._end("failed", error=str(self.failure))
        elif self._finish_reason == "length":
            self._end("incomplete", "max_output_tokens")
        else:
            self._end("completed")

    def _at_volume(self, frame: Audio) -> Samples:
        """For a client that cannot lower the reply itself, it is sent low."""
        gain = 1.0 if self.options.client_ducks else self._wanted
        return self._ramp.apply(frame.pcm, 0.0 if self._cut else gain, frame.rate)

    def _joined(self, clauses: Iterable[str]) -> str:
        return join_sentences(clauses) if self.options.audio else "".join(clauses)
