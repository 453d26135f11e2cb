"""Session observers: pass each event of a session to the metrics and the traces, and log its start and end.

They are the only source of metrics and traces: the conversation's own code does not know them.
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
    """Observes one session."""

    def on_event(self, event: Event) -> None:
        """Handle an event of the session."""

    def on_end(self) -> None:
        """Handle the end of the session."""


class Observers:
    """The observers of one server."""

    def __init__(self, config: Config) -> None:
        self.metrics = Metrics(config)
        self._config = config
        self._tracer: Tracer | None = None

    def open(self) -> None:
        """Start metrics, and traces if the environment configures them."""
        self.metrics.open()
        self._tracer = create_tracer()

    def close(self) -> None:
        """Stop, and send pending traces."""
        self.metrics.close()
        if self._tracer:
            self._tracer.close()
            self._tracer = None

    def observe_session(self, session_id: str, transport: Transport) -> SessionObservers:
        """Return the observers of a new session."""
        observers: list[Observer] = [self.metrics.observe_session(transport)]
        if self._tracer:
            observers.append(self._tracer.observe_session(session_id, transport))
        return SessionObservers(observers, transport)


class SessionObservers:
    """The observers of one session. One that fails is removed; the session is not affected."""

    def __init__(self, observers: list[Observer], transport: Transport) -> None:
        self._observers, self._transport = observers, transport
        self._began, self._turns = time.monotonic(), 0
        log.info("session started", extra={"fields": {"transport": transport}})

    def on_event(self, event: Event) -> None:
        """Handle an event of the session."""
        self._turns += isinstance(event, InputCommitted)
        for observer in tuple(self._observers):
            try:
                observer.on_event(event)
            except Exception:
                self._observers.remove(observer)
                log.exception("An observer failed and was removed from its session.")

    def on_end(self) -> None:
        """Handle the end of the session."""
        for observer in self._observers:
            try:
                observer.on_end()
            except Exception:
                log.exception("An observer failed at the end of its session.")
        lasted = {"seconds": round(time.monotonic() - self._began, 1), "turns": self._turns}
        log.info("session ended", extra={"fields": {"transport": self._transport, **lasted}})
