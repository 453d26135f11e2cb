"""What is asked of the tables, and written into them: each function is given a connection in a transaction."""

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


def put_conversation(connection: Connection, one: StoredConversation) -> None:
    """Write it, or what has changed of it. A title that was given by hand stays."""
    title = plain(one.title)
    fresh: dict[str, Any] = {"title": title, "searched": search.searchable(title), "language": one.language}
    fresh |= {"instructions": plain(one.instructions), "updated": one.updated}
    put = _insert(connection, conversations).values(id=one.id, named=False, created=one.created, **fresh)
    own = {key: sa.case((conversations.c.named, conversations.c[key]), else_=value) for key, value in fresh.items()
           if key in ("title", "searched")}  # fmt: skip
    connection.execute(put.on_conflict_do_update(index_elements=["id"], set_={**fresh, **own}))


def put_item(connection: Connection, conversation_id: str, item: StoredItem) -> None:
    """Write an item, or what has changed of it."""
    values = {key: plain(value) if isinstance(value, str) else value for key, value in asdict(item).items()}
    created = values.pop("created")
    values["searched"] = search.searchable(values["words"])
    put = _insert(connection, items).values(conversation_id=conversation_id, created=created, **values)
    connection.execute(put.on_conflict_do_update(index_elements=["conversation_id", "item_id"], set_=values))


def remove_item(connection: Connection, conversation_id: str, item_id: str) -> None:
    """It was taken back, or deleted. Its sound is no longer known; see `unknown_files`."""
    for table in (items, sounds):
        connection.execute(_of(sa.delete(table), table, conversation_id).where(table.c.item_id == plain(item_id)))


def remove_empty(connection: Connection, conversation_id: str) -> None:
    """Forget a conversation in which nothing is."""
    held = sa.select(items.c.number).where(items.c.conversation_id == conversation_id)
    connection.execute(sa.delete(conversations).where(conversations.c.id == conversation_id, ~held.exists()))


def put_sound(connection: Connection, conversation_id: str, sound: StoredSound) -> None:
    """Write down that the sound of an item is kept."""
    values = {**asdict(sound), "item_id": plain(sound.item_id)}
    put = _insert(connection, sounds).values(conversation_id=conversation_id, **values)
    connection.execute(put.on_conflict_do_update(index_elements=["conversation_id", "item_id"], set_=values))


def rename(connection: Connection, conversation_id: str, title: str) -> bool:
    """Name it by hand; False where there is none."""
    values = {"title": plain(title), "searched": search.searchable(title), "named": True}
    return bool(connection.execute(_one(sa.update(conversations), conversation_id).values(**values)).rowcount)


def delete(connection: Connection, conversation_id: str | None = None) -> int:
    """Delete one, or all, with what belongs to them; how many there were."""
    for table in (sounds, items):
        chosen = sa.delete(table)
        connection.execute(chosen if conversation_id is None else _of(chosen, table, conversation_id))
    chosen = sa.delete(conversations)
    gone = connection.execute(chosen if conversation_id is None else _one(chosen, conversation_id)).rowcount
    if connection.dialect.name == "sqlite":  # the index keeps words that are gone until it is merged
        connection.execute(sa.text("INSERT INTO items_search(items_search) VALUES ('optimize')"))
    return gone


def get(connection: Connection, conversation_id: str) -> StoredConversation | None:
    """One of them, without its items; None where there is none."""
    row = connection.execute(_summary().where(conversations.c.id == conversation_id)).one_or_none()
    return _conversation(row) if row else None


def newest(
    connection: Connection, limit: int, after: str | None = None, wanted: Sequence[Sequence[str]] | None = None
) -> list[StoredConversation]:
    """The next so many, those first that were talked in last. after: behind that one. wanted: that hold these terms."""
    chosen = _summary().order_by(conversations.c.updated.desc(), conversations.c.id.desc()).limit(limit)
    if after is not None:
        last = sa.select(conversations.c.updated).where(conversations.c.id == after).scalar_subquery()
        older = conversations.c.updated < last
        chosen = chosen.where(older | ((conversations.c.updated == last) & (conversations.c.id < after)))
    if wanted is not None:
        chosen = chosen.where(conversations.c.id.in_(_holding(connection, wanted)) | _titled(wanted))
    found = [_conversation(row) for row in connection.execute(chosen)]
    return [replace(one, found=_found(connection, one.id, wanted)) for one in found] if wanted else found


def items_of(connection: Connection, conversation_id: str, last: int | None = None) -> list[StoredItem]:
    """In their order. last: only so many, from the end."""
    columns = [items.c[name] for name in StoredItem.__dataclass_fields__]
    chosen = _of(sa.select(*columns), items, conversation_id)
    if last is None:
        return [StoredItem(*row) for row in connection.execute(chosen.order_by(items.c.place, items.c.number))]
    chosen = chosen.order_by(items.c.place.desc(), items.c.number.desc()).limit(last)
    return [StoredItem(*row) for row in connection.execute(chosen)][::-1]


def sounds_of(connection: Connection, conversation_id: str) -> list[StoredSound]:
    """In the order in which they were heard."""
    columns = [sounds.c[name] for name in StoredSound.__dataclass_fields__]
    chosen = _of(sa.select(*columns), sounds, conversation_id).order_by(sounds.c.began)
    return [StoredSound(*row) for row in connection.execute(chosen)]


def oldest_sounds(connection: Connection, bytes_over: int) -> Iterator[str]:
    """Ids of the conversations whose sound has to go so that at least so many bytes do, the oldest first."""
    size = sa.func.sum(sounds.c.size)
    joined = sounds.join(conversations, conversations.c.id == sounds.c.conversation_id)
    chosen = sa.select(conversations.c.id, size).select_from(joined).group_by(conversations.c.id)
    for conversation_id, freed in connection.execute(chosen.order_by(conversations.c.updated)).all():
        if bytes_over <= 0:
            return
        bytes_over -= int(freed)
        yield conversation_id


def size_of_sounds(connection: Connection) -> int:
    """Bytes, of all of them."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(sounds.c.size), 0))).scalar_one())


def forget_sounds(connection: Connection, conversation_id: str) -> None:
    """The sound of that conversation is no longer kept."""
    connection.execute(_of(sa.delete(sounds), sounds, conversation_id))


def plain(text: str) -> str:
    """As both databases take it: PostgreSQL has no NUL, and neither has half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


# ---------------------------------------------------------------------------------------------------------------


def _insert(connection: Connection, table: sa.Table) -> Any:
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def _of(statement: Any, table: sa.Table, conversation_id: str) -> Any:
    return statement.where(table.c.conversation_id == conversation_id)


def _one(statement: Any, conversation_id: str) -> Any:
    return statement.where(conversations.c.id == conversation_id)


def _summary() -> sa.Select[Any]:
    one = conversations.c
    count = sa.select(sa.func.count()).where(items.c.conversation_id == one.id).scalar_subquery()
    heard = sa.select(sa.func.coalesce(sa.func.sum(sounds.c.seconds), 0.0)).where(sounds.c.conversation_id == one.id)
    known = (one.id, one.title, one.language, one.instructions, one.created, one.updated)
    return sa.select(*known, count, heard.scalar_subquery())


def _conversation(row: Any) -> StoredConversation:
    return StoredConversation(*row)


def _matching(connection: Connection, wanted: Sequence[Sequence[str]]) -> Any:
    if connection.dialect.name == "sqlite":
        index = sa.table("items_search", sa.column("rowid"))
        match = sa.text("items_search MATCH :terms").bindparams(terms=search.fts5(wanted))
        return items.c.number.in_(sa.select(index.c.rowid).where(match))
    indexed = sa.func.to_tsvector(sa.literal_column("'simple'"), items.c.searched)
    return indexed.bool_op("@@")(sa.func.to_tsquery(sa.literal_column("'simple'"), search.tsquery(wanted)))


def _holding(connection: Connection, wanted: Sequence[Sequence[str]]) -> sa.Select[Any]:
    return sa.select(items.c.conversation_id).where(_matching(connection, wanted))


def _titled(wanted: Sequence[Sequence[str]]) -> Any:
    padded = sa.literal(" ") + conversations.c.searched
    return sa.and_(*(padded.contains(f" {' '.join(tokens)}", autoescape=True) for tokens in wanted))


def _found(connection: Connection, conversation_id: str, wanted: Sequence[Sequence[str]]) -> SearchHit | None:
    chosen = _of(sa.select(items.c.item_id, items.c.words), items, conversation_id)
    row = connection.execute(chosen.where(_matching(connection, wanted)).order_by(items.c.place).limit(1)).one_or_none()
    return SearchHit(row[0], search.excerpt(row[1], wanted)) if row else None
