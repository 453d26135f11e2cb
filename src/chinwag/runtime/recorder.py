"""Writes down one conversation while it is held: what was said, as the other side took it in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from chinwag.audio import WIRE_RATE, Audio
from chinwag.conversation import events
from chinwag.conversation.history import Item, MessageItem
from chinwag.conversation.response import Response
from chinwag.conversation.tool_items import McpItem, ToolCall, ToolResult
from chinwag.errors import Refused
from chinwag.store.records import StoredConversation, StoredItem

if TYPE_CHECKING:
    from chinwag.realtime.connection import Connection
    from chinwag.store import ConversationStore

LOOK_EVERY_S = 0.25
"""What was heard is written down so often: who kills the server loses no more."""

SETTLED_AFTER_S = 10.0
"""A reply that was heard so long ago is not cut off any more, and no report about it comes."""

TITLE = 60
"""Characters of a title that is made of the first words."""

NOT_KEPT = "What is said is not being kept, and the talk goes on: {}"


@dataclass
class _Heard:
    """The sound of a reply. began: seconds since 1970. frames: PCM16."""

    began: float
    frames: list[np.ndarray] = field(default_factory=list)


class Recorder:
    """Looks at the history of a session, and has the store write what has changed since.

    store: None where nothing is kept. known: what was said before, where the conversation goes on. instructions: the
    server's own, which are not written down. sound: the sound is kept as well. trouble: why nothing can be kept.
    live: those that are being held, by id; a conversation is held once at a time. over: the talk has ended.
    """

    def __init__(
        self,
        store: ConversationStore | None,
        one: StoredConversation,
        live: dict[str, Recorder],
        *,
        known: Sequence[StoredItem] = (),
        instructions: str = "",
        sound: bool = False,
        trouble: str = "",
    ) -> None:
        self.id, self.over = one.id, asyncio.Event()
        self.entries: list[Item] = [_entry(item) for item in known]
        self._store, self._one, self._titled = store, one, bool(one.title)
        self._rows = {item.item_id: item for item in known}
        self._settled = set(self._rows)
        self._instructions, self._sound, self._trouble, self._live = instructions, sound, trouble, live
        self._connection: Connection | None = None
        self._began: dict[str, float] = {}
        self._heard: dict[str, _Heard] = {}

    @property
    def shown(self) -> dict[str, object]:
        """As clients are told of it."""
        return {"id": self.id, "title": self._one.title, "kept": self._store is not None and not self._trouble}

    @property
    def instructions(self) -> str:
        """That it was held with before; empty for the server's own."""
        return self._one.instructions

    def on_event(self, event: events.Event) -> None:
        """What happens in the session, for the sound of it."""
        if not (self._sound and self._connection):
            return
        match event:
            case events.SpeechStarted():
                self._began[event.item_id] = (
                    time.time() - (self._connection.session.received_audio_ms - event.at_ms) / 1000
                )
            case events.ResponseAudio():
                heard = self._heard.setdefault(event.item_id, _Heard(time.time()))
                heard.frames.append(np.frombuffer(event.audio.to_pcm16(), "<i2"))

    async def run(self, connection: Connection) -> None:
        """Write down what is said in that connection's session, until cancelled."""
        self._connection = connection
        if (held := self._live.get(self.id)) and held is not self:
            held.hand_over()
        self._live[self.id] = self
        if self._trouble:
            self._connection.send_fault("conversation_not_kept", NOT_KEPT.format(self._trouble))
        if self._store is None:
            return
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                self._look()
                if self._store and self._store.trouble != self._trouble:
                    self._tell_of_trouble(self._store.trouble)
        finally:
            self._look(last=True)
            if self._store:
                self._store.keep_no_empty(self.id)

    def close(self) -> None:
        """The session is over."""
        if self._live.get(self.id) is self:
            del self._live[self.id]
        self.over.set()

    def hand_over(self) -> None:
        """End the talk: it goes on elsewhere."""
        if self._connection:
            self._connection.end(Refused("conversation_taken_over", "This conversation was opened elsewhere."))

    def renamed(self, title: str) -> None:
        """It was given a name by hand."""
        self._one, self._titled = replace(self._one, title=title), True
        self._tell()

    def forget(self) -> None:
        """The conversation was deleted: nothing more of it is written."""
        self._store = None
        self._tell()

    # ---------------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        if self._connection:
            self._connection.send_extension("chinwag.conversation", conversation=self.shown)

    def _tell_of_trouble(self, trouble: str) -> None:
        """Said when it begins, once, and when it is over."""
        began, self._trouble = trouble and not self._trouble, trouble
        if began and self._connection:
            self._connection.send_fault("conversation_not_kept", NOT_KEPT.format(f"{trouble}."))
        if began or not trouble:
            self._tell()

    def _look(self, *, last: bool = False) -> None:
        """Have written what has changed."""
        store, connection = self._store, self._connection
        if store is None or connection is None:
            return
        entries = list(connection.session.history)
        present = {entry.item_id for entry in entries}
        gone = [item_id for item_id in self._rows if item_id not in present]
        changed: list[StoredItem] = []
        settled: list[Item] = []
        for number, entry in enumerate(entries):
            if entry.item_id in self._settled:
                continue
            item = self._item(entries, number)
            if item is None and entry.item_id in self._rows:
                gone.append(entry.item_id)
            elif item and item != self._rows.get(item.item_id):
                self._rows[item.item_id] = item
                changed.append(item)
            if last or _settled(entry, final=number + 1 == len(entries)):
                self._settled.add(entry.item_id)
                settled.append(entry)
        for item_id in gone:
            del self._rows[item_id]
        if changed or gone:
            self._keep_conversation(store)
        for item in changed:
            store.keep_item(self.id, item)
        for entry in settled:
            if entry.item_id in self._rows:
                self._keep_sound(entry)
        for held in (self._heard, self._began):  # of what nobody heard, or is no part of the conversation any more
            for item_id in [one for one in held if one in self._settled or (last and one not in present)]:
                del held[item_id]
        for item_id in gone:
            store.keep_without(self.id, item_id)

    def _keep_conversation(self, store: ConversationStore) -> None:
        assert self._connection is not None
        session, before = self._connection.session, self._one
        title = before.title if self._titled else self._title()
        instructions = session.settings.instructions
        self._one = replace(
            before,
            title=title,
            language=session.language or before.language,
            instructions="" if instructions == self._instructions else instructions,
            created=before.created or time.time(),
            updated=time.time(),
        )
        store.keep(self._one)
        if title != before.title:
            self._tell()

    def _title(self) -> str:
        rows = sorted(self._rows.values(), key=lambda item: item.place)
        said = [item for item in rows if item.kind == "message" and item.words and item.role != "system"]
        first = next((item for item in said if item.role == "user"), said[0] if said else None)
        return title_of(first.words) if first else ""

    def _item(self, entries: Sequence[Item], number: int) -> StoredItem | None:
        """The entry as it is kept; None where nothing of it was heard, or it is no part of what was said."""
        entry = entries[number]
        if isinstance(entry, McpItem) or entry.is_filler:
            return None
        before = self._rows.get(entry.item_id)
        place = before.place if before else self._place(entries, number)
        made = StoredItem(
            entry.item_id, place, "message", entry.role, created=before.created if before else time.time()
        )
        if isinstance(entry, ToolCall):
            if entry.status != "completed":
                return None
            call = replace(made, kind="function_call", call_id=entry.call_id, name=entry.name)
            ran = replace(call, server=entry.server, called=entry.called, output=entry.result)
            return replace(ran, arguments=entry.arguments)
        if isinstance(entry, ToolResult):
            return replace(made, kind="function_call_output", call_id=entry.call_id, output=entry.output)
        words, whole, spoken = entry.heard_text.strip(), True, isinstance(entry, MessageItem) and entry.spoken
        if isinstance(entry, Response):
            whole, spoken = entry.status == "completed" and words == entry.text.strip(), entry.options.audio
        return replace(made, words=words, spoken=spoken, whole=whole) if words else None

    def _place(self, entries: Sequence[Item], number: int) -> float:
        """Behind what is before it, in front of what follows."""
        before = next((row.place for one in entries[:number][::-1] if (row := self._rows.get(one.item_id))), None)
        behind = next((row.place for one in entries[number + 1 :] if (row := self._rows.get(one.item_id))), None)
        if behind is None:
            return 1.0 if before is None else before + 1
        return behind - 1 if before is None else (before + behind) / 2

    def _keep_sound(self, entry: Item) -> None:
        if not (self._sound and self._store):
            return
        if isinstance(entry, MessageItem) and entry.audio is not None:
            began = self._began.pop(entry.item_id, time.time() - entry.audio.seconds)
            self._store.keep_sound(self.id, entry.item_id, "user", began, entry.audio)
        elif isinstance(entry, Response) and (heard := self._heard.pop(entry.item_id, None)) and not entry.is_filler:
            pcm = np.concatenate(heard.frames)[: entry.playout.played].astype(np.float32) / 32768.0
            if len(pcm):
                self._store.keep_sound(self.id, entry.item_id, "assistant", heard.began, Audio(pcm, WIRE_RATE))


def _settled(entry: Item, *, final: bool) -> bool:
    """Nothing of it will change."""
    match entry:
        case Response():
            over = asyncio.get_running_loop().time() - entry.playout.ends_at > SETTLED_AFTER_S
            return over and not final and not entry.audible
        case MessageItem():
            return bool(entry.heard_text)
        case ToolCall():
            return entry.status != "in_progress" and (not entry.server or entry.result is not None)
    return True


def title_of(words: str) -> str:
    """The first words, on one line, cut between two of them."""
    line = " ".join(words.split())
    if len(line) <= TITLE:
        return line.rstrip(".,;:")
    return (line[:TITLE].rsplit(" ", 1)[0] if " " in line[:TITLE] else line[:TITLE]).rstrip(".,;:") + " …"


def _entry(item: StoredItem) -> Item:
    """What was kept, as the session has it."""
    if item.kind == "function_call":
        call = ToolCall(item.item_id, item.call_id, item.name, item.arguments, server=item.server, called=item.called)
        call.status, call.result, call.announced = "completed", item.output, True
        return call
    if item.kind == "function_call_output":
        return ToolResult(item.item_id, item.call_id, item.output or "")
    return MessageItem(item.item_id, item.role, item.words, spoken=item.spoken)
