"""Writes to the database on one thread, in order, and retries while the database fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from chinwag.store.database import WRITES, reason

Write = Callable[[Connection], None]

MIN_RETRY_S, MAX_RETRY_S = 0.5, 30.0
"""Seconds between two attempts while the database fails; the delay doubles each time."""

MOST_PENDING = 20_000
"""Largest number of pending writes while the database fails; beyond it, the oldest are dropped."""

log = logging.getLogger(__name__)


class Writer:
    """Takes writes from any thread. A new write replaces a pending one with the same key.

    trouble: why writing fails now; empty if it works.
    """

    def __init__(self, engine: Engine) -> None:
        self.trouble = ""
        self._engine = engine
        self._pending: dict[Hashable, Write] = {}
        self._changed = threading.Condition()
        self._writing = self._closing = False
        self._thread = threading.Thread(target=self._run, name="conversations", daemon=True)
        self._thread.start()

    def put(self, key: Hashable, write: Write) -> None:
        """Queue a write. Does not block."""
        with self._changed:
            self._pending[key] = write
            while len(self._pending) > MOST_PENDING:
                self._pending.pop(next(iter(self._pending)))
            self._changed.notify_all()

    def drop(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Drop the pending writes with these keys."""
        with self._changed:
            for key in [key for key in self._pending if unwanted(key)]:
                del self._pending[key]
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all pending writes are done; False if they fail. Blocks."""
        with self._changed:
            self._changed.wait_for(lambda: self.trouble or not (self._pending or self._writing), timeout_s)
            return not (self._pending or self._writing)

    def close(self, timeout_s: float) -> None:
        """Try the pending writes once more and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._pending:
            log.warning("%d pending writes of conversations were dropped: %s", len(self._pending), self.trouble)

    # ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s = MIN_RETRY_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                batch = dict(self._pending)
                self._pending.clear()
                self._writing = True
            failed = self._write(batch)
            with self._changed:
                self._writing = False
                if failed:
                    self._pending = {**batch, **self._pending}  # writes queued meanwhile are newer
                self._set_trouble(failed)
                self._changed.notify_all()
                if failed and self._closing:
                    return
                if failed:
                    self._changed.wait_for(lambda: self._closing, wait_s)
            wait_s = min(wait_s * 2, MAX_RETRY_S) if failed else MIN_RETRY_S

    def _write(self, batch: dict[Hashable, Write]) -> str:
        """Write a batch. Return the reason if the database or the disk fails, else an empty string."""
        try:
            self._write_together(batch)
        except (OperationalError, InterfaceError, OSError) as error:
            return reason(error)
        except SQLAlchemyError as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                return reason(error)
            return self._write_singly(batch) if len(batch) > 1 else self._log_dropped(error)
        except Exception as error:
            return self._write_singly(batch) if len(batch) > 1 else self._log_dropped(error)
        return ""

    def _write_singly(self, batch: dict[Hashable, Write]) -> str:
        """Write one by one, so that only the invalid write is dropped."""
        for key, write in batch.items():
            if trouble := self._write({key: write}):
                return trouble
        return ""

    def _write_together(self, batch: dict[Hashable, Write]) -> None:
        with self._engine.connect().execution_options(**WRITES) as connection, connection.begin():
            for write in batch.values():
                write(connection)

    def _log_dropped(self, error: Exception) -> str:
        log.error("A write of a conversation was dropped because of an error.", exc_info=error)
        return ""

    def _set_trouble(self, failed: str) -> None:
        if failed and not self.trouble:
            log.warning("Conversations are not being saved: %s. Chinwag tries again.", failed)
        elif self.trouble and not failed:
            log.warning("Conversations are being saved again.")
        self.trouble = failed
