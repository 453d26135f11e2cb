"""Opens the database, a SQLite file or PostgreSQL, and migrates an older one."""

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
"""Seconds to wait for SQLite's write lock while another process has it."""

CONNECT_S = 10
"""Seconds to wait for a connection to PostgreSQL."""

MIGRATION_LOCK = 0x6368696E
"""PostgreSQL's advisory lock for migrations, because two servers may start at the same time."""

WRITES = {"chinwag_writes": True}
"""Execution options of a connection that writes: SQLite then takes the write lock when the transaction begins."""

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str, folder: Path) -> Engine:
    """Open and migrate the database. url: of PostgreSQL, or empty for a SQLite file in the folder.

    Raises StoreError if it cannot be opened, or if a newer Chinwag wrote it.
    """
    address = _address(url, folder)
    try:
        engine = create_engine(address, **_options(address))
    except ModuleNotFoundError:
        raise StoreError(
            "Conversations cannot be saved in PostgreSQL: its driver is not installed.",
            "pip install 'chinwag[postgres]'",
        ) from None
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        _migrate(engine, display_name(address))
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        engine.dispose()
        raise StoreError(
            f"Conversations cannot be saved in {display_name(address)}: {reason(error)}.",
            "Repair it and start again, set store.url or store.folder to another place, or set store.keep = false.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    if address.database and engine.dialect.name == "sqlite":
        Path(address.database).chmod(0o600)
    return engine


def display_name(url: URL) -> str:
    """Format the database's address for messages, without the password."""
    return url.database or "memory" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def reason(error: BaseException) -> str:
    """Return the first line of the driver's error message."""
    message = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return message.splitlines()[0].rstrip(".")


def _address(url: str, folder: Path) -> URL:
    if not url:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"Conversations cannot be saved in {folder}: {error.strerror}.",
                "Set store.folder to a writable folder, or set store.keep = false.",
            ) from error
        return URL.create("sqlite", database=str(folder / FILE))
    try:
        address = make_url(url)
    except ArgumentError:
        address = None
    backend = address.get_backend_name() if address else ""
    if address is None or backend not in ("sqlite", "postgres", "postgresql"):
        raise StoreError(
            "store.url is not the address of a supported database.",
            "Write it as postgresql://user:password@host/name, or leave it out to use a SQLite file.",
        )
    return address.set(drivername="sqlite" if backend == "sqlite" else "postgresql+psycopg")


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    return {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True, "pool_recycle": 1800}


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def opened(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy begins the transactions, also those of DDL
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # only a power cut can lose the last writes
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # overwrite deleted data

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
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        present = set(MigrationContext.configure(connection).get_current_heads())
        if newer := present - known:
            raise StoreError(
                f"A newer Chinwag wrote {name} (schema version {', '.join(sorted(newer))}).",
                "Install the newer Chinwag, or set store.folder or store.url to another place.",
            )
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
