"""Opens the database: SQLite in a file, or PostgreSQL by its address. An older one is brought up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as Alembic
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from chinwag.errors import StoreError

FILE = "conversations.db"

BUSY_S = 10.0
"""So long another process may hold SQLite's one place for a writer."""

CONNECT_S = 10
"""So long PostgreSQL may take to answer."""

ONE_AT_A_TIME = 0x6368696E
"""PostgreSQL's advisory lock while a database is brought up to date: two servers may start together."""

WRITES = {"chinwag_writes": True}
"""Execution options of a connection that writes: SQLite then takes the place for a writer at once, or waits for it."""

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str, folder: Path) -> Engine:
    """The database, up to date. url: of PostgreSQL, or empty for a file in the folder.

    Raises StoreError where it cannot be opened, or was written by a newer Chinwag.
    """
    place = _place(url, folder)
    try:
        engine = create_engine(place, **_options(place))
    except ModuleNotFoundError:
        raise StoreError(
            "Conversations cannot be kept in PostgreSQL: its driver is not installed.",
            "pip install 'chinwag[postgres]'",
        ) from None
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        _migrate(engine, shown(place))
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        engine.dispose()
        raise StoreError(
            f"Conversations cannot be kept in {shown(place)}: {reason(error)}.",
            "Mend that and start again, or set store.url or store.folder to another place, or store.keep = false.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    if place.database and engine.dialect.name == "sqlite":
        Path(place.database).chmod(0o600)
    return engine


def shown(url: URL) -> str:
    """For a person, without the password."""
    return url.database or "memory" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def reason(error: BaseException) -> str:
    """The first line of what the driver says."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0].rstrip(".")


def _place(url: str, folder: Path) -> URL:
    if not url:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"Conversations cannot be kept in {folder}: {error.strerror}.",
                "Set store.folder to a folder that can be written, or store.keep = false.",
            ) from error
        return URL.create("sqlite", database=str(folder / FILE))
    try:
        known = make_url(url)
    except ArgumentError:
        known = None
    backend = known.get_backend_name() if known else ""
    if known is None or backend not in ("sqlite", "postgres", "postgresql"):
        raise StoreError(
            "store.url is no address of a database that Chinwag knows.",
            "Write it as postgresql://user:password@host/name, or leave it out for a file of SQLite.",
        )
    return known.set(drivername="sqlite" if backend == "sqlite" else "postgresql+psycopg")


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    return {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True, "pool_recycle": 1800}


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def opened(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, DDL in them as well
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, a power cut a moment
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("chinwag_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine, name: str) -> None:
    settings = Alembic()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {step.revision for step in ScriptDirectory.from_config(settings).walk_revisions()}
    with engine.connect().execution_options(**WRITES) as connection, connection.begin():
        if connection.dialect.name != "sqlite":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        found = set(MigrationContext.configure(connection).get_current_heads())
        if newer := found - known:
            raise StoreError(
                f"{name} was written by a newer Chinwag (version {', '.join(sorted(newer))} of its tables).",
                "Install that Chinwag again, or set store.folder or store.url to another place.",
            )
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
