"""Writes on a thread of its own, in order, and goes on trying where that fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from chinwag.store.database import WRITES, reason

Write = Callable[[Connection], None]

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Between two tries at a database that does not take what is written."""

MOST_PENDING = 20_000
"""Writes that wait for a database that is away; of more, the oldest are given up."""

log = logging.getLogger(__name__)


class Writer:
    """Takes writes from any thread. What is put under the same key again takes the earlier one's place.

    trouble: why nothing can be written now; empty while all is well.
    """

    def __init__(self, engine: Engine) -> None:
        self.trouble = ""
        self._engine = engine
        self._pending: dict[Hashable, Write] = {}
        self._news = threading.Condition()
        self._writing = self._closing = False
        self._thread = threading.Thread(target=self._run, name="conversations", daemon=True)
        self._thread.start()

    def put(self, key: Hashable, write: Write) -> None:
        """Write that soon; it does not wait."""
        with self._news:
            self._pending[key] = write
            while len(self._pending) > MOST_PENDING:
                self._pending.pop(next(iter(self._pending)))
            self._news.notify_all()

    def drop(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Give up what waits under such keys."""
        with self._news:
            for key in [key for key in self._pending if unwanted(key)]:
                del self._pending[key]
            self._news.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was put has been written; False where it cannot be. For a thread, not the event loop."""
        with self._news:
            self._news.wait_for(lambda: self.trouble or not (self._pending or self._writing), timeout_s)
            return not (self._pending or self._writing)

    def close(self, timeout_s: float) -> None:
        """Write what is left, try no more, and end."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._thread.join(timeout_s)
        if self._pending:
            log.warning("%d writes of conversations were given up: %s", len(self._pending), self.trouble)

    # ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            with self._news:
                self._news.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                batch = dict(self._pending)
                self._pending.clear()
                self._writing = True
            failed = self._write(batch)
            with self._news:
                self._writing = False
                if failed:
                    self._pending = {**batch, **self._pending}  # what came meanwhile is newer
                self._told(failed)
                self._news.notify_all()
                if failed and self._closing:
                    return
                if failed:
                    self._news.wait_for(lambda: self._closing, wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S) if failed else FIRST_WAIT_S

    def _write(self, batch: dict[Hashable, Write]) -> str:
        """Write all of it; why not, where the database or the disk takes nothing."""
        try:
            self._all(batch)
        except (OperationalError, InterfaceError, OSError) as error:
            return reason(error)
        except SQLAlchemyError as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                return reason(error)
            return self._each(batch) if len(batch) > 1 else self._given_up(error)
        except Exception as error:
            return self._each(batch) if len(batch) > 1 else self._given_up(error)
        return ""

    def _each(self, batch: dict[Hashable, Write]) -> str:
        """One of them is at fault: it alone is given up."""
        for key, write in batch.items():
            if trouble := self._write({key: write}):
                return trouble
        return ""

    def _all(self, batch: dict[Hashable, Write]) -> None:
        with self._engine.connect().execution_options(**WRITES) as connection, connection.begin():
            for write in batch.values():
                write(connection)

    def _given_up(self, error: Exception) -> str:
        log.error("a write of a conversation was given up", exc_info=error)
        return ""

    def _told(self, failed: str) -> None:
        if failed and not self.trouble:
            log.warning("conversations are not being kept: %s. It is tried again.", failed)
        elif self.trouble and not failed:
            log.warning("conversations are being kept again")
        self.trouble = failed
