"""The answers of one conversation: what is drafted, what is being given, and what of the prompt was read ahead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chinwag.audio import LISTEN_RATE
from chinwag.conversation.events import Event, ResponseAudio, ResponseEnded, ToolCallStarted, TurnTraced
from chinwag.conversation.history import History
from chinwag.conversation.response import SEND_AHEAD_S, Response, ResponseOptions
from chinwag.engines.protocols import Ending, Engines, Message
from chinwag.errors import PromptTooLong
from chinwag.ids import new_id
from chinwag.listening.endpointing.features import strip_final_punctuation, word_key
from chinwag.listening.turn import Turn
from chinwag.speech.synthesis import Style
from chinwag.tasks import TaskSet
from chinwag.text.commands import Command, find_command
from chinwag.tools.tool import Tool, ToolChoice

DRAFTS = 6
"""Answers begun ahead in one turn; who pauses more often is answered when the turn has ended."""

GIVES_WAY_S = 0.4
"""What is read ahead waits so long, at most, for others' answers."""

RELEASED_WITHIN_S = 0.5
"""A dropped draft has let the model go by then."""


@dataclass(frozen=True)
class Manner:
    """How this conversation is answered. tag: goes with the reply, for who asked for it."""

    instructions: str = ""
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    lead_s: float = SEND_AHEAD_S
    ducks: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tag: Any = None

    @property
    def offers(self) -> list[dict[str, Any]]:
        """The tools as the model is told of them."""
        return [tool.as_openai for tool in self.tools]

    @property
    def besides(self) -> int:
        """Bytes that the tools take of what the model can read."""
        return len(json.dumps(self.offers).encode()) if self.tools else 0


@dataclass
class _Draft:
    said: str
    reply: Response


class ResponseScheduler:
    """At most one is being given, and one drafted; beside the conversation there may be others.

    emit: is told of all that happens. sensed: is told what the model expects behind each text that was read ahead.
    """

    def __init__(
        self,
        engines: Engines,
        history: History,
        key: str,
        emit: Callable[[Event], None],
        sensed: Callable[[str, Ending | None], None],
    ) -> None:
        self._engines, self._history, self._key = engines, history, key
        self._emit, self._sensed = emit, sensed
        self.last: Response | None = None
        self._asides: dict[str, Response] = {}
        self._draft: _Draft | None = None
        self._next: Response | None = None
        self._drafts = 0
        self._working: asyncio.Task[None] | None = None
        self._trace: tuple[str, Turn, Response] | None = None
        self._to_read: tuple[str, Manner, bool] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._being_read = ""
        self._read: str | None = None
        self._tasks = TaskSet()
        self._winding_down = False

    @property
    def active(self) -> Response | None:
        """The reply that is being given."""
        return self.last if self.last and self.last.active else None

    @property
    def coming(self) -> Response | None:
        """The reply that is being given, or will be as soon as what is said in passing ends."""
        return self._next or (self.active if self.active and not self.active.is_filler else None)

    @property
    def sounding(self) -> Response | None:
        """The reply that is being heard."""
        return self.last if self.last and self.last.audible else None

    async def close(self) -> None:
        """Stop all of it."""
        await self._tasks.close()

    def change(self, engines: Engines) -> None:
        """The next answer is theirs; what is being given goes on with those it began with."""
        self._engines = engines
        self.drop()
        self.forget_reading()

    def wind_down(self) -> None:
        """What is being said, and what is still to be, ends behind a sentence."""
        self._winding_down = True
        if self.last:
            self.last.finish_sentence()

    # --- ahead of the end of a turn --------------------------------------------------------------------------

    def read(self, said: str, manner: Manner, *, awaited: bool = False) -> None:
        """Have the model read the conversation up to these words, and tell what it expects behind them.

        The newest words count: those that came meanwhile are read when it is free. awaited: the turn's end hangs on it;
        else it gives way to what others wait for.
        """
        self._to_read = said, manner, awaited
        if self._draft and word_key(self._draft.said) != word_key(said):
            self.drop()
        if awaited and self._reading and word_key(self._being_read) != word_key(said):
            self._reading.cancel()
            self._reading = None
        if self._reading is None or self._reading.done():
            self._reading = self._tasks.start(self._read_on())

    async def _read_on(self) -> None:
        while self._to_read is not None:
            if not self._to_read[2]:
                await self._engines.load.yield_to_priority(GIVES_WAY_S)
            (said, manner, awaited), self._to_read = self._to_read, None
            self._being_read = said
            if self._read is not None and word_key(said) == word_key(self._read):
                continue
            if self._working and not self._working.done() and not self.active:
                await asyncio.wait({self._working}, timeout=RELEASED_WITHIN_S)
            messages = self._prompt(manner, strip_final_punctuation(said))
            if not messages:
                continue
            llm = self._engines.llm
            waiting = self._engines.load.prioritise() if awaited else None
            try:
                expected = await llm.prefill(messages, cache_key=self._key, tools=manner.offers)
            finally:
                if waiting:
                    waiting.release()
            if llm is not self._engines.llm:  # another has come meanwhile, which has read nothing
                self._to_read = self._to_read or (said, manner, awaited)
                continue
            self._read = said
            if said:
                self._sensed(said, expected)

    def forget_reading(self) -> None:
        """The conversation has changed before its end: what was read of it no longer counts."""
        self._read = None

    def draft(self, said: str, manner: Manner) -> None:
        """Begin the answer to these words behind a shut gate; the same words are answered once."""
        if self._draft and word_key(self._draft.said) == word_key(said):
            return
        self.drop()
        if self._drafts < DRAFTS:
            self._drafts += 1
            request = self._request(self._prompt(manner, said.strip()), manner, said)
            self._draft = _Draft(said, self._begin(request))
            self._draft.reply.mark("draft_started")

    def drop(self) -> None:
        """They went on: the draft is of no use."""
        if self._draft:
            self._draft.reply.discard()
            self._draft = None

    def pass_over(self) -> None:
        """The turn is over, and not answered."""
        self.drop()
        self._drafts = 0

    # --- answers ---------------------------------------------------------------------------------------------

    def answer(self, item_id: str, turn: Turn, manner: Manner) -> None:
        """Give the answer to a turn that is in the history: the draft, where it was asked the same."""
        self.drop_next()
        draft, self._draft, self._drafts = self._draft, None, 0
        request = self._request(self._prompt(manner), manner, turn.text)
        if draft and (not _same(draft.reply.options, request) or draft.reply.failure or draft.reply.draft_exhausted):
            draft.reply.discard()
            draft = None
        reply = draft.reply if draft else self._begin(request)
        self._trace = item_id, turn, reply
        self._give(reply)

    def give(self, manner: Manner, *, opening: str = "", asks: bool = True, hint: str = "") -> None:
        """Answer the conversation as it stands. opening: said first. hint: what only this answer is told.

        What is being said in passing is cut off when the answer is ready.
        """
        self.drop_next()
        messages = self._prompt(manner)
        if hint:
            messages.append({"role": "system", "content": hint})
        reply = self._begin(replace(self._plain(messages, manner), opening=opening, asks=asks))
        if self.active and self.active.is_filler:
            self._next = reply
            self._tasks.start(self._follow(self.active, reply))
        else:
            self._give(reply)

    def fill(self, words: str, manner: Manner) -> None:
        """Say that in passing, while something is awaited."""
        self._give(self._begin(replace(self._plain((), manner), opening=words, asks=False, passing=True, tools=())))

    def drop_next(self) -> None:
        """What was to follow is not wanted any more."""
        if self._next:
            self._next.discard()
            self._next = None

    async def _follow(self, passing: Response, reply: Response) -> None:
        """Give the answer as soon as it can be heard, or what is said before it is over."""
        ready = asyncio.ensure_future(reply.ready.wait())
        try:
            await asyncio.wait({ready, passing.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        await passing.cut()
        if self._next is reply:
            self._next = None
            self._give(reply)

    def _prompt(self, manner: Manner, said: str = "") -> list[Message]:
        return self._history.prompt(manner.instructions, said, besides=manner.besides)

    def give_to(self, messages: Sequence[Message], manner: Manner, *, aside: bool) -> None:
        """Answer these messages. aside: no part of the conversation, and beside what else is being given."""
        request = self._plain(messages, manner)
        if not aside:
            self.drop_next()
            self._give(self._begin(request))
            return
        request = replace(request, cache_key=f"{self._key}/aside")  # what was read of the conversation stays read
        reply = Response(new_id("resp"), new_id("item"), request, self._engines, self._emit)
        self._tasks.add(reply.task)
        self._asides[reply.response_id] = reply
        reply.task.add_done_callback(lambda _: self._asides.pop(reply.response_id, None))
        reply.open()

    @property
    def out_of_band(self) -> int:
        """How many are given beside the conversation."""
        return len(self._asides)

    def aside(self, response_id: str) -> Response | None:
        """The one of that id."""
        return self._asides.get(response_id)

    def cancel_aside(self, response_id: str) -> bool:
        """Stop the one of that id; False where it is not under way."""
        reply = self._asides.get(response_id)
        if reply is None or not reply.active:
            return False
        reply.stop("client_cancelled")
        return True

    def _give(self, reply: Response) -> None:
        if self.last:
            reply.playout.queue_after(self.last.playout)
        self.last = reply
        self._history.add(reply)
        if self._winding_down:
            reply.finish_sentence()
        reply.open()

    def _begin(self, request: ResponseOptions) -> Response:
        reply = Response(new_id("resp"), new_id("item"), request, self._engines, self._told, self._working)
        task = self._tasks.add(reply.task)
        if request.asks:
            self._working = task
        return reply

    def _plain(self, messages: Sequence[Message], manner: Manner) -> ResponseOptions:
        return ResponseOptions(
            messages,
            manner.style,
            manner.audio,
            manner.max_tokens,
            cache_key=self._key,
            send_ahead_s=manner.lead_s,
            client_ducks=manner.ducks,
            tools=manner.tools,
            tool_choice=manner.tool_choice,
            tag=manner.tag,
        )

    def _request(self, messages: Sequence[Message], manner: Manner, said: str) -> ResponseOptions:
        """What to ask for these words: usually the model; what was said before, where they want that."""
        request = self._plain(messages, manner)
        wanted, last = self.wants(said), self.last
        if wanted == "again" and last and not last.is_filler:
            return replace(request, opening=last.text, asks=False)
        if wanted == "go_on" and last and (last.unheard_text or self._engines.llm.continues):
            before = self._history.prompt(manner.instructions, until=last.item_id)
            asks = not last.written_completely and self._engines.llm.continues
            if last.unheard_text or asks:
                rest = replace(request, already=last.heard_text, opening=last.unheard_text, asks=asks)
                return replace(rest, messages=before, tools=(), tool_choice="auto")
        return request

    def wants(self, said: str) -> Command | None:
        """What the words ask of the conversation itself."""
        last = self.last
        interrupted = last is not None and last.status == "cancelled" and bool(last.heard_text) and not last.is_filler
        return find_command(said, interrupted=interrupted, spoken=last is not None and bool(last.heard_text))

    def _told(self, event: Event) -> None:
        if isinstance(event, ResponseEnded) and self.last and isinstance(self.last.failure, PromptTooLong):
            self._history.shrink()  # so that the next one finds room
        if isinstance(event, ToolCallStarted) and self.last:
            self._keep(self.last, event.item_id)
        if isinstance(event, ResponseAudio) and self._trace and self._trace[2].response_id == event.response_id:
            _, turn, reply = self._trace
            words_s = max(0.0, turn.transcript_at - turn.ended_at)
            self._engines.load.response_delay.add(words_s + max(0.0, reply.marks["first_audio"] - turn.decided_at))
            self._emit(_traced(*self._trace))
            self._trace = None
        self._emit(event)

    def _keep(self, reply: Response, item_id: str) -> None:
        """A call takes its place behind the words it goes with, under an id that no other call has."""
        made = [call.item_id for call in reply.tool_calls]
        number = made.index(item_id)
        call = reply.tool_calls[number]
        if self._history.find_call(call.call_id):  # some servers count anew in each answer
            call.call_id = new_id("call")
        after = made[number - 1] if number else reply.item_id
        self._history.add(call, after if self._history.find(after) else None)
        call.announced = not call.approval_request_id


def _same(draft: ResponseOptions, fresh: ResponseOptions) -> bool:
    """The same history, and the same words behind it: a comma that was heard differently is no other question."""
    return _keyed(draft) == _keyed(fresh)


def _keyed(request: ResponseOptions) -> ResponseOptions:
    """The request with the bare words of its last message."""
    messages = list(request.messages)
    if messages:
        messages[-1] = {**messages[-1], "content": word_key(messages[-1]["content"])}
    return replace(request, messages=messages)


def _traced(item_id: str, turn: Turn, reply: Response) -> TurnTraced:
    marks = {
        "last_words": turn.text_stable_at,
        "transcript_final": turn.transcript_at,
        "turn_decided": turn.decided_at,
        **reply.marks,
    }
    stages = {stage: at - turn.ended_at for stage, at in marks.items()}
    return TurnTraced(reply.response_id, item_id, max(0, turn.ended) * 1000 // LISTEN_RATE, stages)
