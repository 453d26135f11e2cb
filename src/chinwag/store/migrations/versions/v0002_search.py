"""Full text search: FTS5 on SQLite, a GIN index on PostgreSQL. Earlier conversations are indexed too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chinwag.store.search import searchable

revision = "0002"
down_revision = "0001"

FTS5 = (
    "CREATE VIRTUAL TABLE items_search USING fts5"
    "(searched, content='items', content_rowid='number', tokenize='unicode61 remove_diacritics 0')",
    "INSERT INTO items_search(items_search) VALUES ('rebuild')",
    "CREATE TRIGGER items_search_added AFTER INSERT ON items BEGIN"
    " INSERT INTO items_search(rowid, searched) VALUES (new.number, new.searched); END",
    "CREATE TRIGGER items_search_gone AFTER DELETE ON items BEGIN"
    " INSERT INTO items_search(items_search, rowid, searched) VALUES ('delete', old.number, old.searched); END",
    "CREATE TRIGGER items_search_changed AFTER UPDATE OF searched ON items BEGIN"
    " INSERT INTO items_search(items_search, rowid, searched) VALUES ('delete', old.number, old.searched);"
    " INSERT INTO items_search(rowid, searched) VALUES (new.number, new.searched); END",
)


def upgrade() -> None:
    """Add the column of normalised words, fill it and index it."""
    connection = op.get_bind()
    for table, key, words in (("conversations", "id", "title"), ("items", "number", "words")):
        op.add_column(table, sa.Column("searched", sa.Text, nullable=False, server_default=""))
        rows = sa.table(table, sa.column(key), sa.column(words), sa.column("searched"))
        for name, text in connection.execute(sa.select(rows.c[key], rows.c[words])).all():
            change = sa.update(rows).where(rows.c[key] == name).values(searched=searchable(text))
            connection.execute(change)
    if connection.dialect.name == "sqlite":
        for statement in FTS5:
            op.execute(statement)
    else:
        op.execute("CREATE INDEX items_search ON items USING gin (to_tsvector('simple', searched))")
