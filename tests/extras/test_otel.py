"""chinwag[otel]: a turn's trace reaches a receiver over OTLP/HTTP, with nothing but that extra."""

from __future__ import annotations

import pytest
from otlp import receiving

from chinwag.conversation import events
from chinwag.observability.tracing import create_tracer

pytestmark = pytest.mark.engines

FILES = ("src/chinwag/observability/*.py",)


def test_a_turn_is_sent_with_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        sends = create_tracer()
        assert sends
        session = sends.observe_session("sess_1", "websocket")
        session.on_event(events.SpeechStarted("item", 1000))
        session.on_event(events.ResponseStarted("resp"))
        session.on_event(events.TurnTraced("resp", "item", 2000, {"turn_decided": 0.1, "first_audio": 0.4}))
        session.on_event(events.ResponseEnded("resp", "item_2", "completed"))
        sends.close()
        (turn,) = received.named("turn")
        assert set(received.within(turn)) == {"listen", "decide", "say"}
        assert received.resources[0]["service.name"] == "chinwag"
