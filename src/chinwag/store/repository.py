"""Queries and changes of the tables. Each function takes a connection that has a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from chinwag.store import search
from chinwag.store.records import SearchHit, StoredConversation, StoredItem, StoredSound
from chinwag.store.schema import conversations, items, sounds


def put_conversation(connection: Connection, conversation: StoredConversation) -> None:
    """Insert or update a conversation. A title that the user set stays."""
    title = plain(conversation.title)
    values: dict[str, Any] = {"title": title, "searched": search.searchable(title), "language": conversation.language}
    values |= {"instructions": plain(conversation.instructions), "updated": conversation.updated}
    put = _insert(connection, conversations).values(
        id=conversation.id, named=False, created=conversation.created, **values
    )
    own_title = {
        key: sa.case((conversations.c.named, conversations.c[key]), else_=values[key]) for key in ("title", "searched")
    }
    connection.execute(put.on_conflict_do_update(index_elements=["id"], set_={**values, **own_title}))


def put_item(connection: Connection, conversation_id: str, item: StoredItem) -> None:
    """Insert or update an item."""
    values = {key: plain(value) if isinstance(value, str) else value for key, value in asdict(item).items()}
    created = values.pop("created")
    values["searched"] = search.searchable(values["words"])
    put = _insert(connection, items).values(conversation_id=conversation_id, created=created, **values)
    connection.execute(put.on_conflict_do_update(index_elements=["conversation_id", "item_id"], set_=values))


def remove_item(connection: Connection, conversation_id: str, item_id: str) -> None:
    """Delete an item and the row of its audio; `Sounds.tidy` deletes the file."""
    for table in (items, sounds):
        connection.execute(_of(sa.delete(table), table, conversation_id).where(table.c.item_id == plain(item_id)))


def remove_empty(connection: Connection, conversation_id: str) -> None:
    """Delete a conversation if it has no items."""
    any_item = sa.select(items.c.number).where(items.c.conversation_id == conversation_id)
    connection.execute(sa.delete(conversations).where(conversations.c.id == conversation_id, ~any_item.exists()))


def put_sound(connection: Connection, conversation_id: str, sound: StoredSound) -> None:
    """Insert or update the row of an audio file."""
    values = {**asdict(sound), "item_id": plain(sound.item_id)}
    put = _insert(connection, sounds).values(conversation_id=conversation_id, **values)
    connection.execute(put.on_conflict_do_update(index_elements=["conversation_id", "item_id"], set_=values))


def rename(connection: Connection, conversation_id: str, title: str) -> bool:
    """Set the user's title; False if there is no such conversation."""
    values = {"title": plain(title), "searched": search.searchable(title), "named": True}
    return bool(connection.execute(_by_id(sa.update(conversations), conversation_id).values(**values)).rowcount)


def delete(connection: Connection, conversation_id: str | None = None) -> int:
    """Delete one conversation, or all, with items and audio rows. Return the number of conversations."""
    for table in (sounds, items):
        chosen = sa.delete(table)
        connection.execute(chosen if conversation_id is None else _of(chosen, table, conversation_id))
    chosen = sa.delete(conversations)
    deleted = connection.execute(chosen if conversation_id is None else _by_id(chosen, conversation_id)).rowcount
    if connection.dialect.name == "sqlite":  # the index contains deleted words until it is merged
        connection.execute(sa.text("INSERT INTO items_search(items_search) VALUES ('optimize')"))
    return deleted


def get(connection: Connection, conversation_id: str) -> StoredConversation | None:
    """Read a conversation without its items; None if there is none with that id."""
    row = connection.execute(_summary().where(conversations.c.id == conversation_id)).one_or_none()
    return _conversation(row) if row else None


def newest(
    connection: Connection, limit: int, after: str | None = None, wanted: Sequence[Sequence[str]] | None = None
) -> list[StoredConversation]:
    """List conversations, the last changed first. after: those after this id. wanted: those with these search terms."""
    chosen = _summary().order_by(conversations.c.updated.desc(), conversations.c.id.desc()).limit(limit)
    if after is not None:
        last = sa.select(conversations.c.updated).where(conversations.c.id == after).scalar_subquery()
        older = conversations.c.updated < last
        chosen = chosen.where(older | ((conversations.c.updated == last) & (conversations.c.id < after)))
    if wanted is not None:
        chosen = chosen.where(conversations.c.id.in_(_ids_matching(connection, wanted)) | _title_matches(wanted))
    page = [_conversation(row) for row in connection.execute(chosen)]
    return [replace(each, found=_find_hit(connection, each.id, wanted)) for each in page] if wanted else page


def items_of(connection: Connection, conversation_id: str, last: int | None = None) -> list[StoredItem]:
    """Read the items in order. last: only that many, from the end."""
    columns = [items.c[name] for name in StoredItem.__dataclass_fields__]
    chosen = _of(sa.select(*columns), items, conversation_id)
    if last is None:
        return [StoredItem(*row) for row in connection.execute(chosen.order_by(items.c.place, items.c.number))]
    chosen = chosen.order_by(items.c.place.desc(), items.c.number.desc()).limit(last)
    return [StoredItem(*row) for row in connection.execute(chosen)][::-1]


def sounds_of(connection: Connection, conversation_id: str) -> list[StoredSound]:
    """Read the audio rows in the order of playback."""
    columns = [sounds.c[name] for name in StoredSound.__dataclass_fields__]
    chosen = _of(sa.select(*columns), sounds, conversation_id).order_by(sounds.c.began)
    return [StoredSound(*row) for row in connection.execute(chosen)]


def oldest_sounds(connection: Connection, bytes_over: int) -> Iterator[str]:
    """List the oldest conversations whose audio has at least that many bytes together."""
    size = sa.func.sum(sounds.c.size)
    joined = sounds.join(conversations, conversations.c.id == sounds.c.conversation_id)
    chosen = sa.select(conversations.c.id, size).select_from(joined).group_by(conversations.c.id)
    for conversation_id, freed in connection.execute(chosen.order_by(conversations.c.updated)).all():
        if bytes_over <= 0:
            return
        bytes_over -= int(freed)
        yield conversation_id


def size_of_sounds(connection: Connection) -> int:
    """Return the bytes of all audio files."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(sounds.c.size), 0))).scalar_one())


def forget_sounds(connection: Connection, conversation_id: str) -> None:
    """Delete the audio rows of a conversation."""
    connection.execute(_of(sa.delete(sounds), sounds, conversation_id))


def plain(text: str) -> str:
    """Remove what the databases cannot save: NUL (PostgreSQL) and half surrogate pairs (both)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


# ---------------------------------------------------------------------------------------------------------------


def _insert(connection: Connection, table: sa.Table) -> Any:
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def _of(statement: Any, table: sa.Table, conversation_id: str) -> Any:
    return statement.where(table.c.conversation_id == conversation_id)


def _by_id(statement: Any, conversation_id: str) -> Any:
    return statement.where(conversations.c.id == conversation_id)


def _summary() -> sa.Select[Any]:
    one = conversations.c
    count = sa.select(sa.func.count()).where(items.c.conversation_id == one.id).scalar_subquery()
    heard = sa.select(sa.func.coalesce(sa.func.sum(sounds.c.seconds), 0.0)).where(sounds.c.conversation_id == one.id)
    columns = (one.id, one.title, one.language, one.instructions, one.created, one.updated)
    return sa.select(*columns, count, heard.scalar_subquery())


def _conversation(row: Any) -> StoredConversation:
    return StoredConversation(*row)


def _matching(connection: Connection, wanted: Sequence[Sequence[str]]) -> Any:
    if connection.dialect.name == "sqlite":
        index = sa.table("items_search", sa.column("rowid"))
        match = sa.text("items_search MATCH :terms").bindparams(terms=search.fts5(wanted))
        return items.c.number.in_(sa.select(index.c.rowid).where(match))
    indexed = sa.func.to_tsvector(sa.literal_column("'simple'"), items.c.searched)
    return indexed.bool_op("@@")(sa.func.to_tsquery(sa.literal_column("'simple'"), search.tsquery(wanted)))


def _ids_matching(connection: Connection, wanted: Sequence[Sequence[str]]) -> sa.Select[Any]:
    return sa.select(items.c.conversation_id).where(_matching(connection, wanted))


def _title_matches(wanted: Sequence[Sequence[str]]) -> Any:
    padded = sa.literal(" ") + conversations.c.searched
    return sa.and_(*(padded.contains(f" {' '.join(tokens)}", autoescape=True) for tokens in wanted))


def _find_hit(connection: Connection, conversation_id: str, wanted: Sequence[Sequence[str]]) -> SearchHit | None:
    chosen = _of(sa.select(items.c.item_id, items.c.words), items, conversation_id)
    row = connection.execute(chosen.where(_matching(connection, wanted)).order_by(items.c.place).limit(1)).one_or_none()
    return SearchHit(row[0], search.excerpt(row[1], wanted)) if row else None
