"""The recorder: stores the conversation of a session while it runs, as far as it was heard."""

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

WRITE_EVERY_S = 0.25
"""Seconds between two writes: a server that is killed loses no more."""

SETTLED_AFTER_S = 10.0
"""Seconds after its playback in which a response may still be truncated or reported on."""

TITLE = 60
"""Maximum characters of a title that is made from the first words."""

NOT_SAVED = "This conversation is not being saved; it continues: {}"


@dataclass
class _Heard:
    """The audio of a response. began: seconds since 1970. frames: PCM16."""

    began: float
    frames: list[np.ndarray] = field(default_factory=list)


class Recorder:
    """Compares the history of a session with the store at intervals, and writes the changes.

    store: None if nothing is stored. known: items of a reopened conversation. instructions: the server's own, which
    are not stored. sound: store audio too. trouble: why nothing can be stored. live: running recorders by conversation
    id; a conversation runs once at a time. over: set when the session has ended.
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
        self._store, self._stored, self._titled = store, one, bool(one.title)
        self._rows = {item.item_id: item for item in known}
        self._settled = set(self._rows)
        self._instructions, self._sound, self._trouble, self._live = instructions, sound, trouble, live
        self._connection: Connection | None = None
        self._began: dict[str, float] = {}
        self._heard: dict[str, _Heard] = {}

    @property
    def extension_fields(self) -> dict[str, object]:
        """The conversation, as clients get it."""
        return {"id": self.id, "title": self._stored.title, "kept": self._store is not None and not self._trouble}

    @property
    def instructions(self) -> str:
        """Instructions of the stored conversation; empty for the server's own."""
        return self._stored.instructions

    def on_event(self, event: events.Event) -> None:
        """Collect the audio of an event of the session."""
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
        """Store the conversation of that connection's session, until cancelled."""
        self._connection = connection
        if (other := self._live.get(self.id)) and other is not self:
            other.hand_over()
        self._live[self.id] = self
        if self._trouble:
            self._connection.send_fault("conversation_not_kept", NOT_SAVED.format(self._trouble))
        if self._store is None:
            return
        try:
            while True:
                await asyncio.sleep(WRITE_EVERY_S)
                self._write_changes()
                if self._store and self._store.trouble != self._trouble:
                    self._send_trouble(self._store.trouble)
        finally:
            self._write_changes(last=True)
            if self._store:
                self._store.keep_no_empty(self.id)

    def close(self) -> None:
        """Unregister the recorder at the end of the session."""
        if self._live.get(self.id) is self:
            del self._live[self.id]
        self.over.set()

    def hand_over(self) -> None:
        """End the session, because its conversation was opened elsewhere."""
        if self._connection:
            self._connection.end(Refused("conversation_taken_over", "This conversation was opened elsewhere."))

    def renamed(self, title: str) -> None:
        """Use a title that a person gave."""
        self._stored, self._titled = replace(self._stored, title=title), True
        self._send_conversation()

    def forget(self) -> None:
        """Stop writing: the conversation was deleted."""
        self._store = None
        self._send_conversation()

    # ---------------------------------------------------------------------------------------------------------

    def _send_conversation(self) -> None:
        if self._connection:
            self._connection.send_extension("chinwag.conversation", conversation=self.extension_fields)

    def _send_trouble(self, trouble: str) -> None:
        """Notify the client when saving begins to fail, and when it works again."""
        began, self._trouble = trouble and not self._trouble, trouble
        if began and self._connection:
            self._connection.send_fault("conversation_not_kept", NOT_SAVED.format(f"{trouble}."))
        if began or not trouble:
            self._send_conversation()

    def _write_changes(self, *, last: bool = False) -> None:
        """Write the items that have changed."""
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
            self._write_conversation(store)
        for item in changed:
            store.keep_item(self.id, item)
        for entry in settled:
            if entry.item_id in self._rows:
                self._write_audio(entry)
        for by_item in (self._heard, self._began):  # drop audio that was not heard or whose item was deleted
            for item_id in [key for key in by_item if key in self._settled or (last and key not in present)]:
                del by_item[item_id]
        for item_id in gone:
            store.keep_without(self.id, item_id)

    def _write_conversation(self, store: ConversationStore) -> None:
        assert self._connection is not None
        session, before = self._connection.session, self._stored
        title = before.title if self._titled else self._title()
        instructions = session.settings.instructions
        self._stored = replace(
            before,
            title=title,
            language=session.language or before.language,
            instructions="" if instructions == self._instructions else instructions,
            created=before.created or time.time(),
            updated=time.time(),
        )
        store.keep(self._stored)
        if title != before.title:
            self._send_conversation()

    def _title(self) -> str:
        rows = sorted(self._rows.values(), key=lambda item: item.place)
        said = [item for item in rows if item.kind == "message" and item.words and item.role != "system"]
        first = next((item for item in said if item.role == "user"), said[0] if said else None)
        return title_of(first.words) if first else ""

    def _item(self, entries: Sequence[Item], number: int) -> StoredItem | None:
        """Return the entry as it is stored; None if nothing of it was heard, or it is not stored at all."""
        entry = entries[number]
        if isinstance(entry, McpItem) or entry.is_filler:
            return None
        before = self._rows.get(entry.item_id)
        place = before.place if before else self._place(entries, number)
        stored = StoredItem(
            entry.item_id, place, "message", entry.role, created=before.created if before else time.time()
        )
        if isinstance(entry, ToolCall):
            if entry.status != "completed":
                return None
            call = replace(stored, kind="function_call", call_id=entry.call_id, name=entry.name)
            ran = replace(call, server=entry.server, called=entry.called, output=entry.result)
            return replace(ran, arguments=entry.arguments)
        if isinstance(entry, ToolResult):
            return replace(stored, kind="function_call_output", call_id=entry.call_id, output=entry.output)
        words, whole, spoken = entry.heard_text.strip(), True, isinstance(entry, MessageItem) and entry.spoken
        if isinstance(entry, Response):
            whole, spoken = entry.status == "completed" and words == entry.text.strip(), entry.options.audio
        return replace(stored, words=words, spoken=spoken, whole=whole) if words else None

    def _place(self, entries: Sequence[Item], number: int) -> float:
        """Return a sort position between the neighbours of the entry."""
        before = next((row.place for one in entries[:number][::-1] if (row := self._rows.get(one.item_id))), None)
        behind = next((row.place for one in entries[number + 1 :] if (row := self._rows.get(one.item_id))), None)
        if behind is None:
            return 1.0 if before is None else before + 1
        return behind - 1 if before is None else (before + behind) / 2

    def _write_audio(self, entry: Item) -> None:
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
    """Return whether the entry is final."""
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
    """Return the first words on one line, cut between two words."""
    line = " ".join(words.split())
    if len(line) <= TITLE:
        return line.rstrip(".,;:")
    return (line[:TITLE].rsplit(" ", 1)[0] if " " in line[:TITLE] else line[:TITLE]).rstrip(".,;:") + " …"


def _entry(item: StoredItem) -> Item:
    """Convert a stored item to an item of the session's history."""
    if item.kind == "function_call":
        call = ToolCall(item.item_id, item.call_id, item.name, item.arguments, server=item.server, called=item.called)
        call.status, call.result, call.announced = "completed", item.output, True
        return call
    if item.kind == "function_call_output":
        return ToolResult(item.item_id, item.call_id, item.output or "")
    return MessageItem(item.item_id, item.role, item.words, spoken=item.spoken)
