"""Creates the table of audio files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

PARENT = "conversations.id"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "sounds",
        sa.Column("conversation_id", sa.String(64), sa.ForeignKey(PARENT, ondelete="CASCADE"), primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("side", sa.String(16), nullable=False),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("began", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
