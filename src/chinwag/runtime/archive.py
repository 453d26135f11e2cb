"""Which conversations of a server are kept, and which of them are being held now."""

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
"""In place of an id: a conversation that begins, and is to be kept."""

MOST_ITEMS = 500
"""Of a conversation that goes on, so many are given to the session and told to the client, from the end."""

ENDS_WITHIN_S = 5.0
"""A talk that goes on elsewhere is over by then."""

TRY_AGAIN_S = 15.0
"""A database that could not be opened is tried again after so long."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Archive:
    """The conversations of one server. The database is opened when it is first needed, and off the event loop.

    live: those that are being held, by their id. peers: servers that may hold others.
    """

    def __init__(self, settings: StoreSettings, peers: Peers | None = None) -> None:
        self.settings = settings
        self._peers = peers or NoPeers()
        self.error: StoreError | None = None
        self.live: dict[str, Recorder] = {}
        self._store: ConversationStore | None = None
        self._opening = asyncio.Lock()
        self._tried_at = -TRY_AGAIN_S

    @property
    def on(self) -> bool:
        """Whether anything is ever kept."""
        return self.settings.keep != "off"

    async def open(self) -> ConversationStore | None:
        """The store; None where it is off, or cannot be opened, which `error` and the log tell."""
        async with self._opening:
            if self._store is None and self.on and time.monotonic() - self._tried_at >= TRY_AGAIN_S:
                self._tried_at = time.monotonic()
                try:
                    self._store = await asyncio.to_thread(_open, self.settings)
                    self.error = None
                except StoreError as error:
                    if self.error is None:
                        log.warning("%s", error)
                    self.error = error
        return self._store

    async def close(self) -> None:
        """Write what is left."""
        store, self._store = self._store, None
        self._tried_at = time.monotonic()
        if store:
            await asyncio.to_thread(store.close)

    async def ask(self, work: Callable[[ConversationStore], T]) -> T:
        """What the store answers, asked on a thread. Raises StoreError, also where there is none."""
        store = await self.open()
        if store is None:
            raise self.error or StoreError("This server keeps no conversations.", "Set store.keep to asked or all.")
        return await asyncio.to_thread(work, store)

    async def recorder(self, wanted: str | None, instructions: str, *, may_reopen: bool) -> Recorder | None:
        """For a conversation that begins, or goes on; None where it is not kept.

        wanted: what the client asks for, its id or NEW. instructions: the server's own.
        Raises Refused where it cannot go on, or a client may not ask for that.
        """
        if wanted not in (None, NEW):
            return await self._reopened(wanted, instructions, may=may_reopen)
        if not self.on or (wanted is None and self.settings.keep != "all"):
            return None
        await self.open()
        return self._recorder(None, instructions)

    async def rename(self, conversation_id: str, title: str) -> None:
        """Call it otherwise; who holds it is told."""
        await self.ask(lambda store: store.rename(conversation_id, title))
        self.renamed(conversation_id, title)
        await self._peers.notify("renamed", conversation_id=conversation_id, title=title)

    def renamed(self, conversation_id: str, title: str) -> None:
        """It is called otherwise now."""
        if held := self.live.get(conversation_id):
            held.renamed(title)

    async def forget(self, conversation_id: str) -> bool:
        """Delete one; False where there is none. If it is being held, the talk goes on and is not kept."""
        held = self.forgotten(conversation_id)
        await self._peers.notify("forgotten", conversation_id=conversation_id)
        return await self.ask(lambda store: store.delete(conversation_id)) or held

    async def forget_all(self) -> int:
        """Delete all; how many there were."""
        self.forgotten(None)
        await self._peers.notify("forgotten", conversation_id=None)
        return await self.ask(lambda store: store.delete_all())

    def forgotten(self, conversation_id: str | None) -> bool:
        """Nothing more is written of it, or of any; whether it is being held here."""
        held = [one for one in self.live.values() if conversation_id in (None, one.id)]
        for one in held:
            one.forget()
        return bool(held)

    async def let_go(self, conversation_id: str) -> None:
        """It goes on at another server: who holds it here ends, and what was said is written by then."""
        if conversation_id in self.live:
            await self._take_over(conversation_id)
            await self.ask(lambda store: store.get(conversation_id))  # which is read behind what was to be written

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
        """Who holds it now lets it go: it goes on where it was opened last."""
        if held := self.live.get(conversation_id):
            held.hand_over()
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await held.over.wait()
            except TimeoutError:
                fix = "Try again in a moment."
                raise Refused("conversation_busy", "This conversation is still held elsewhere.", fix) from None

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
    """The session's settings at its beginning: those of the client secret, over what the conversation had before."""
    return {"instructions": recorder.instructions, **opening} if recorder and recorder.instructions else opening


def _open(settings: StoreSettings) -> ConversationStore:
    # imported late, on a thread: SQLAlchemy takes half a second, which a server that keeps nothing saves
    from chinwag.store import ConversationStore

    return ConversationStore(settings.folder, settings.url, settings.audio_max_mb * 1_000_000)
