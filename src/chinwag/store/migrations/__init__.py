"""Schema migrations: Alembic runs `versions` in order at start."""
