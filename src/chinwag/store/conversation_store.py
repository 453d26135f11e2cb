"""The store of saved conversations: a database and a folder of audio files."""

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
from chinwag.store.records import Role, StoredConversation, StoredItem, StoredSound
from chinwag.store.writer import Writer

SETTLES_S = 5.0
"""Seconds within which pending writes are done, unless the disk has a fault."""

MOST_SOUND = 64 * 1024 * 1024
"""Bytes of audio that may wait to be written; further audio is dropped, its transcript is not."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class ConversationStore:
    """One database. `keep…` methods only queue a write and may be called on the event loop; others block.

    url: of PostgreSQL; empty for SQLite in the folder. most_sound: limit of the audio files in bytes.
    Opening and the blocking methods raise StoreError.
    """

    def __init__(self, folder: Path, url: str = "", most_sound: int = 0) -> None:
        self._engine = open_database(url, folder)
        self._sounds = Sounds(folder / "sounds", most_sound)
        self._writer = Writer(self._engine)
        self._waiting = 0

    @property
    def trouble(self) -> str:
        """Why writing fails now; empty if it works."""
        return self._writer.trouble

    def close(self) -> None:
        """Finish the pending writes and close the database."""
        self._writer.close(SETTLES_S)
        self._engine.dispose()

    # --- queued writes, in order ------------------------------------------------------------------------------

    def keep(self, one: StoredConversation) -> None:
        """Insert or update a conversation."""
        self._writer.put((one.id,), partial(conversations.put_conversation, conversation=one))

    def keep_item(self, conversation_id: str, item: StoredItem) -> None:
        """Insert or update an item of a conversation that was kept before."""
        write = partial(conversations.put_item, conversation_id=conversation_id, item=item)
        self._writer.put((conversation_id, item.item_id), write)

    def keep_without(self, conversation_id: str, item_id: str) -> None:
        """Delete an item and its audio."""

        def write(connection: Connection) -> None:
            conversations.remove_item(connection, conversation_id, item_id)
            self._sounds.tidy(connection, conversation_id)

        self._writer.drop(lambda key: key == (conversation_id, item_id, "sound"))
        self._writer.put((conversation_id, item_id), write)

    def keep_sound(self, conversation_id: str, item_id: str, side: Role, began: float, audio: Audio) -> None:
        """Save the audio of an item. began: seconds since 1970."""
        size = audio.pcm.nbytes
        if self._waiting + size > MOST_SOUND:
            log.warning("Audio of an item was not saved: the disk is too slow. The transcript is saved.")
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
        """Delete the conversation if it has no items; called when its session ends."""
        self._writer.put((conversation_id, "", "over"), partial(_remove_empty, conversation_id=conversation_id))

    # --- blocking methods --------------------------------------------------------------------------------

    def newest(self, limit: int, after: str | None = None, query: str = "") -> list[StoredConversation]:
        """List conversations, the most recent first. query: only those with an item that has all of these words."""
        wanted = search.terms(query) if query.strip() else None
        if wanted == []:
            return []
        return self._read(lambda connection: conversations.newest(connection, limit, after, wanted))

    def get(self, conversation_id: str) -> StoredConversation | None:
        """Read a conversation; None if there is none with that id."""
        return self._read(lambda connection: conversations.get(connection, conversation_id))

    def items(self, conversation_id: str, last: int | None = None) -> list[StoredItem]:
        """Read the items in order. last: only that many, from the end."""
        return self._read(lambda connection: conversations.items_of(connection, conversation_id, last))

    def wav(self, conversation_id: str) -> Iterator[bytes] | None:
        """Read the audio as a WAV file, in pieces; None if none is saved."""
        sounds: Sequence[StoredSound] = self._read(
            lambda connection: conversations.sounds_of(connection, conversation_id)
        )
        return wav(sounds, self._sounds, conversation_id) if sounds else None

    def rename(self, conversation_id: str, title: str) -> bool:
        """Set the title; False if there is no such conversation."""
        return self._write(lambda connection: conversations.rename(connection, conversation_id, title))

    def delete(self, conversation_id: str) -> bool:
        """Delete a conversation with its items and audio; False if there is none."""
        self._writer.settle(SETTLES_S)
        self._writer.drop(lambda key: isinstance(key, tuple) and key[0] == conversation_id)

        def remove(connection: Connection) -> int:
            number = conversations.delete(connection, conversation_id)
            if number:
                self._sounds.tidy(connection, conversation_id)
            return number

        return bool(self._write(remove, erase=True))

    def delete_all(self) -> int:
        """Delete all conversations and return their number."""
        self._writer.settle(SETTLES_S)
        self._writer.drop(lambda key: True)
        number = self._write(conversations.delete, erase=True)
        self._sounds.tidy_all()
        return number

    # ---------------------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Connection], T]) -> T:
        """Read after all pending writes."""
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
            if erase and self._engine.dialect.name == "sqlite":  # otherwise its log still contains the deleted data
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("COMMIT")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                    connection.exec_driver_sql("BEGIN")
        except (SQLAlchemyError, OSError) as error:
            raise _failed("changed", error) from error
        return done


def _remove_empty(connection: Connection, conversation_id: str) -> None:
    conversations.remove_empty(connection, conversation_id)


def _failed(action: str, error: BaseException) -> StoreError:
    return StoreError(
        f"Saved conversations cannot be {action}: {reason(error)}.",
        "Check that the disk has space and the database runs, then try again.",
    )
