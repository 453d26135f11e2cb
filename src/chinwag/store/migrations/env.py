"""Alembic's entry point; the connection comes from `chinwag.store.database`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
