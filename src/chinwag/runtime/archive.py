"""The archive: the stored conversations of a server, and the recorders of its running sessions."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from chinwag.config import StoreSettings
from chinwag.errors import Refused, StoreError
from chinwag.ids import new_id
from chinwag.runtime.peers import NoPeers, Peers

if TYPE_CHECKING:
    from chinwag.runtime.recorder import Recorder
    from chinwag.store import ConversationStore, StoredConversation, StoredItem

ID = re.compile(r"conv_[0-9a-f]{20}")

NEW = "new"
"""In place of an id: store the conversation under a new id."""

MOST_ITEMS = 500
"""Last items of a reopened conversation that the session and the client get."""

ENDS_WITHIN_S = 5.0
"""Time limit for the end of a session whose conversation is opened elsewhere."""

TRY_AGAIN_S = 15.0
"""Seconds until a database that could not be opened is tried again."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Archive:
    """The conversations of one server. The database is opened at its first use, on a thread.

    live: recorders of running sessions, by conversation id. peers: the other replicas.
    """

    def __init__(self, settings: StoreSettings, peers: Peers | None = None) -> None:
        self.settings = settings
        self._peers = peers or NoPeers()
        self.error: StoreError | None = None
        self.live: dict[str, Recorder] = {}
        self._store: ConversationStore | None = None
        self._opening = asyncio.Lock()
        self._last_attempt_at = -TRY_AGAIN_S

    @property
    def on(self) -> bool:
        """Whether conversations are stored at all."""
        return self.settings.keep != "off"

    async def open(self) -> ConversationStore | None:
        """Return the store; None if it is off or cannot be opened: `error` and the log have the reason."""
        async with self._opening:
            if self._store is None and self.on and time.monotonic() - self._last_attempt_at >= TRY_AGAIN_S:
                self._last_attempt_at = time.monotonic()
                try:
                    self._store = await asyncio.to_thread(_open, self.settings)
                    self.error = None
                except StoreError as error:
                    if self.error is None:
                        log.warning("%s", error)
                    self.error = error
        return self._store

    async def close(self) -> None:
        """Write what is pending, and close the store."""
        store, self._store = self._store, None
        self._last_attempt_at = time.monotonic()
        if store:
            await asyncio.to_thread(store.close)

    async def ask(self, work: Callable[[ConversationStore], T]) -> T:
        """Run `work` with the store on a thread. Raises StoreError, also if there is no store."""
        store = await self.open()
        if store is None:
            raise self.error or StoreError("This server stores no conversations.", "Set store.keep to asked or all.")
        return await asyncio.to_thread(work, store)

    async def recorder(self, wanted: str | None, instructions: str, *, may_reopen: bool) -> Recorder | None:
        """Return the recorder of a new or reopened conversation; None if it is not stored.

        wanted: the client's request, an id or NEW. instructions: the server's own.
        Raises Refused if it cannot be reopened, or the client may not reopen it.
        """
        if wanted not in (None, NEW):
            return await self._reopened(wanted, instructions, may=may_reopen)
        if not self.on or (wanted is None and self.settings.keep != "all"):
            return None
        await self.open()
        return self._recorder(None, instructions)

    async def rename(self, conversation_id: str, title: str) -> None:
        """Rename a conversation; its running session and the other replicas are notified."""
        await self.ask(lambda store: store.rename(conversation_id, title))
        self.renamed(conversation_id, title)
        await self._peers.notify("renamed", conversation_id=conversation_id, title=title)

    def renamed(self, conversation_id: str, title: str) -> None:
        """Notify the running session of a new title."""
        if recorder := self.live.get(conversation_id):
            recorder.renamed(title)

    async def forget(self, conversation_id: str) -> bool:
        """Delete one; return False if there is none. Its running session continues without being stored."""
        was_running = self.forgotten(conversation_id)
        await self._peers.notify("forgotten", conversation_id=conversation_id)
        return await self.ask(lambda store: store.delete(conversation_id)) or was_running

    async def forget_all(self) -> int:
        """Delete all conversations; return their number."""
        self.forgotten(None)
        await self._peers.notify("forgotten", conversation_id=None)
        return await self.ask(lambda store: store.delete_all())

    def forgotten(self, conversation_id: str | None) -> bool:
        """Stop recording a conversation, or all for None; return whether one was running here."""
        recorders = [recorder for recorder in self.live.values() if conversation_id in (None, recorder.id)]
        for recorder in recorders:
            recorder.forget()
        return bool(recorders)

    async def let_go(self, conversation_id: str) -> None:
        """End the session of a conversation that continues at another replica, after its items are written."""
        if conversation_id in self.live:
            await self._take_over(conversation_id)
            await self.ask(lambda store: store.get(conversation_id))  # reads are ordered after pending writes

    # ---------------------------------------------------------------------------------------------------------

    async def _reopened(self, conversation_id: str, instructions: str, *, may: bool) -> Recorder:
        if not may:
            fix = "Leave `conversation` out, or use an API key."
            raise Refused("conversation_not_allowed", "A client secret begins new conversations only.", fix)
        unknown = Refused(
            "conversation_not_found",
            f"There is no conversation {conversation_id[:80]!r} here.",
            "It may have been deleted, or never kept: begin a new one.",
            "conversation",
        )
        if not ID.fullmatch(conversation_id) or not self.on:
            raise unknown
        await self._take_over(conversation_id)
        await self._peers.notify("taken_over", conversation_id=conversation_id)
        try:
            one = await self.ask(lambda store: store.get(conversation_id))
            known = await self.ask(lambda store: store.items(conversation_id, MOST_ITEMS)) if one else []
        except StoreError as error:
            raise Refused("conversation_not_readable", error.message, error.fix, "conversation") from error
        if one is None:
            raise unknown
        return self._recorder(one, instructions, known)

    async def _take_over(self, conversation_id: str) -> None:
        """End the running session of a conversation, so that the one opened last continues it."""
        if recorder := self.live.get(conversation_id):
            recorder.hand_over()
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await recorder.over.wait()
            except TimeoutError:
                fix = "Try again in a moment."
                raise Refused("conversation_busy", "This conversation is still open elsewhere.", fix) from None

    def _recorder(
        self, one: StoredConversation | None, instructions: str, known: Sequence[StoredItem] = ()
    ) -> Recorder:
        from chinwag.runtime.recorder import Recorder
        from chinwag.store import StoredConversation

        return Recorder(
            self._store,
            one or StoredConversation(new_id("conv")),
            self.live,
            known=known,
            instructions=instructions,
            sound=self.settings.audio,
            trouble="" if self._store else str(self.error),
        )


def opened_with(recorder: Recorder | None, opening: dict[str, Any]) -> dict[str, Any]:
    """Return the first settings of a session: those of the client secret over those of the stored conversation."""
    return {"instructions": recorder.instructions, **opening} if recorder and recorder.instructions else opening


def _open(settings: StoreSettings) -> ConversationStore:
    # SQLAlchemy takes half a second to import, which a server that stores nothing need not spend
    from chinwag.store import ConversationStore

    return ConversationStore(settings.folder, settings.url, settings.audio_max_mb * 1_000_000)
