"""Who watches conversations: each event of a session is told to the metrics, to the traces, and at its ends to the log.

This is the one place that they are fed from; what hears, answers and speaks knows nothing of them.
"""

from __future__ import annotations

import logging
import time
from typing import Literal, Protocol

from chinwag.config import Config
from chinwag.conversation.events import Event, InputCommitted
from chinwag.observability.metrics import Metrics
from chinwag.observability.tracing import Tracer, create_tracer

Transport = Literal["websocket", "webrtc"]

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Watches one session."""

    def on_event(self, event: Event) -> None:
        """That has happened in it."""

    def on_end(self) -> None:
        """Nothing more will."""


class Observers:
    """All that watches one server."""

    def __init__(self, config: Config) -> None:
        self.metrics = Metrics(config)
        self._config = config
        self._tracer: Tracer | None = None

    def open(self) -> None:
        """Begin: where the environment asks for traces, with those."""
        self.metrics.open()
        self._tracer = create_tracer()

    def close(self) -> None:
        """End; traces that wait are sent."""
        self.metrics.close()
        if self._tracer:
            self._tracer.close()
            self._tracer = None

    def observe_session(self, session_id: str, transport: Transport) -> SessionObservers:
        """A session begins."""
        observers: list[Observer] = [self.metrics.observe_session(transport)]
        if self._tracer:
            observers.append(self._tracer.observe_session(session_id, transport))
        return SessionObservers(observers, transport)


class SessionObservers:
    """One session. A watcher that fails is let go, and the session never notices."""

    def __init__(self, observers: list[Observer], transport: Transport) -> None:
        self._observers, self._transport = observers, transport
        self._began, self._turns = time.monotonic(), 0
        log.info("a session began", extra={"fields": {"transport": transport}})

    def on_event(self, event: Event) -> None:
        """That has happened in it."""
        self._turns += isinstance(event, InputCommitted)
        for observer in tuple(self._observers):
            try:
                observer.on_event(event)
            except Exception:
                self._observers.remove(observer)
                log.exception("a session is not watched any more")

    def on_end(self) -> None:
        """Nothing more will happen."""
        for observer in self._observers:
            try:
                observer.on_end()
            except Exception:
                log.exception("the end of a session was not noticed")
        lasted = {"seconds": round(time.monotonic() - self._began, 1), "turns": self._turns}
        log.info("a session ended", extra={"fields": {"transport": self._transport, **lasted}})
