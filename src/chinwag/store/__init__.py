"""Conversations that are kept: tables, search, sound files. It knows nothing of a session: what it keeps is plain data.

Everything here blocks, and is called on a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chinwag.audio import Audio
from chinwag.errors import StoreError
from chinwag.store import repository as conversations
from chinwag.store import search
from chinwag.store.audio_files import Sounds, wav
from chinwag.store.database import WRITES, open_database, reason
from chinwag.store.records import Role, SearchHit, StoredConversation, StoredItem, StoredSound
from chinwag.store.writer import Writer

__all__ = ["ConversationStore", "Role", "SearchHit", "StoredConversation", "StoredItem", "StoredSound"]

SETTLES_S = 5.0
"""What was just said is written within so long, or the disk is in trouble."""

MOST_SOUND = 64 * 1024 * 1024
"""Bytes of sound that wait to be written; more is given up, as its words are not."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class ConversationStore:
    """One database. `keep_…` are quick and may be called on the event loop; all else blocks and raises StoreError.

    url: of PostgreSQL; empty for SQLite in the folder. most_sound: bytes of sound files. Opening raises StoreError.
    """

    def __init__(self, folder: Path, url: str = "", most_sound: int = 0) -> None:
        self._engine = open_database(url, folder)
        self._sounds = Sounds(folder / "sounds", most_sound)
        self._writer = Writer(self._engine)
        self._waiting = 0

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return self._writer.trouble

    def close(self) -> None:
        """Write what is left, and let the database go."""
        self._writer.close(SETTLES_S)
        self._engine.dispose()

    # --- written soon, in order ------------------------------------------------------------------------------

    def keep(self, one: StoredConversation) -> None:
        """Write a conversation, or what has changed of it."""
        self._writer.put((one.id,), partial(conversations.put_conversation, one=one))

    def keep_item(self, conversation_id: str, item: StoredItem) -> None:
        """Write an item, or what has changed of it; its conversation was given before."""
        write = partial(conversations.put_item, conversation_id=conversation_id, item=item)
        self._writer.put((conversation_id, item.item_id), write)

    def keep_without(self, conversation_id: str, item_id: str) -> None:
        """That item is gone."""

        def write(connection: Connection) -> None:
            conversations.remove_item(connection, conversation_id, item_id)
            self._sounds.tidy(connection, conversation_id)

        self._writer.drop(lambda key: key == (conversation_id, item_id, "sound"))
        self._writer.put((conversation_id, item_id), write)

    def keep_sound(self, conversation_id: str, item_id: str, side: Role, began: float, audio: Audio) -> None:
        """The sound of an item; began: seconds since 1970."""
        size = audio.pcm.nbytes
        if self._waiting + size > MOST_SOUND:
            log.warning("the sound of an item was not kept: the disk takes too little. Its words are.")
            return
        self._waiting += size
        written = False

        def write(connection: Connection) -> None:
            nonlocal written
            self._sounds.keep(connection, conversation_id, item_id, side, began, audio)
            if not written:
                self._waiting, written = self._waiting - size, True

        self._writer.put((conversation_id, item_id, "sound"), write)

    def keep_no_empty(self, conversation_id: str) -> None:
        """The talk is over: where nothing is left of it, it is forgotten."""
        self._writer.put((conversation_id, "", "over"), partial(_over, conversation_id=conversation_id))

    # --- asked -----------------------------------------------------------------------------------------------

    def newest(self, limit: int, after: str | None = None, query: str = "") -> list[StoredConversation]:
        """The next so many, talked in last first. query: only those in which one item has all of these words."""
        wanted = search.terms(query) if query.strip() else None
        if wanted == []:
            return []
        return self._read(lambda connection: conversations.newest(connection, limit, after, wanted))

    def get(self, conversation_id: str) -> StoredConversation | None:
        """One of them; None where there is none."""
        return self._read(lambda connection: conversations.get(connection, conversation_id))

    def items(self, conversation_id: str, last: int | None = None) -> list[StoredItem]:
        """In their order. last: only so many, from the end."""
        return self._read(lambda connection: conversations.items_of(connection, conversation_id, last))

    def wav(self, conversation_id: str) -> Iterator[bytes] | None:
        """Its sound, piece by piece; None where none is kept."""
        kept: Sequence[StoredSound] = self._read(
            lambda connection: conversations.sounds_of(connection, conversation_id)
        )
        return wav(kept, self._sounds, conversation_id) if kept else None

    def rename(self, conversation_id: str, title: str) -> bool:
        """Name it; False where there is none."""
        return self._write(lambda connection: conversations.rename(connection, conversation_id, title))

    def delete(self, conversation_id: str) -> bool:
        """Delete it with all that belongs to it, for good; False where there is none."""
        self._writer.settle(SETTLES_S)
        self._writer.drop(lambda key: isinstance(key, tuple) and key[0] == conversation_id)

        def gone(connection: Connection) -> int:
            number = conversations.delete(connection, conversation_id)
            if number:
                self._sounds.tidy(connection, conversation_id)
            return number

        return bool(self._write(gone, erase=True))

    def delete_all(self) -> int:
        """Delete all there is; how many there were."""
        self._writer.settle(SETTLES_S)
        self._writer.drop(lambda key: True)
        number = self._write(conversations.delete, erase=True)
        self._sounds.tidy_all()
        return number

    # ---------------------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Connection], T]) -> T:
        """After what was put before it."""
        self._writer.settle(SETTLES_S)
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise _failed("read", error) from error

    def _write(self, work: Callable[[Connection], T], *, erase: bool = False) -> T:
        self._writer.settle(SETTLES_S)
        try:
            with self._engine.connect().execution_options(**WRITES) as connection, connection.begin():
                done = work(connection)
            if erase and self._engine.dialect.name == "sqlite":  # else the log still holds what was deleted
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("COMMIT")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                    connection.exec_driver_sql("BEGIN")
        except (SQLAlchemyError, OSError) as error:
            raise _failed("changed", error) from error
        return done


def _over(connection: Connection, conversation_id: str) -> None:
    conversations.remove_empty(connection, conversation_id)


def _failed(done: str, error: BaseException) -> StoreError:
    return StoreError(
        f"What is kept cannot be {done}: {reason(error)}.",
        "Look whether the disk is full, or the database away; then try again.",
    )
