"""The tables of the newest schema; migrations/ creates them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("title", Text, nullable=False),
    Column("named", Boolean, nullable=False),  # the user set the title
    Column("language", String(32), nullable=False),
    Column("instructions", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("searched", Text, nullable=False, server_default=""),  # the title, normalised by search.py
    Index("conversations_updated", "updated", "id"),
)

items = Table(
    "items",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("conversation_id", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("item_id", Text, nullable=False),
    Column("place", Double, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("role", String(16), nullable=False),
    Column("words", Text, nullable=False),
    Column("spoken", Boolean, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("output", Text),
    Column("server", Text, nullable=False),
    Column("called", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("searched", Text, nullable=False, server_default=""),
    UniqueConstraint("conversation_id", "item_id", name="items_once"),
    Index("items_in_order", "conversation_id", "place"),
)

sounds = Table(
    "sounds",
    metadata,
    Column("conversation_id", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("side", String(16), nullable=False),
    Column("file", String(64), nullable=False),
    Column("began", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("size", BigInteger, nullable=False),
)
