"""OpenTelemetry traces: one trace for each spoken turn, with its stages as spans. No attribute has user text.

Environment variables of the OpenTelemetry specification turn them on and configure them: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_*, and so on.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chinwag import __version__
from chinwag.conversation import events

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SUPPORTED_PROTOCOL = "http/protobuf"

MAX_OPEN = 64
"""Utterances and responses of a session whose start is remembered; only a malicious client has more."""

STAGES = (
    ("transcribe", "", "transcript_final"),
    ("decide", "", "turn_decided"),
    ("think", "asked", "first_token"),
    ("phrase", "first_token", "first_clause"),
    ("speak", "first_clause", "first_audio"),
)
"""Spans of a turn: name, the stage at its start (empty: the end of speech), the stage at its end."""

log = logging.getLogger(__name__)


def create_tracer(environment: Mapping[str, str] = os.environ) -> Tracer | None:
    """Return a tracer; None if the environment does not ask for traces, or OpenTelemetry is not installed."""
    chosen = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    asked = chosen == "otlp" or any(environment.get(name) for name in ENDPOINTS)
    if not asked or chosen == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), SUPPORTED_PROTOCOL)
    if chosen not in ("", "otlp") or protocol != SUPPORTED_PROTOCOL:
        log.warning(
            "No traces are sent: only OTLP over %s is supported, not %s.", SUPPORTED_PROTOCOL, chosen or protocol
        )
        return None
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        log.warning("No traces are sent, though the environment asks for them: pip install 'chinwag[otel]'.")
        return None
    return Tracer(_provider(environment))


def _provider(environment: Mapping[str, str]) -> TracerProvider:
    """Return a provider of our own: the traces of libraries could contain user text."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {"service.version": __version__, **({} if named else {"service.name": "chinwag"})}
    provider = TracerProvider(resource=Resource.create(ours), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracer:
    """Sends the traces of one server."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("chinwag", __version__)

    def close(self) -> None:
        """Send pending traces. Call it on a thread: it may take seconds."""
        self._provider.shutdown()

    def observe_session(self, session_id: str, transport: str) -> SessionTraces:
        """Return the observer of a new session."""
        return SessionTraces(self, {"chinwag.session_id": session_id, "chinwag.transport": transport})

    def record(self, name: str, span: Span, children: Mapping[str, Span]) -> None:
        """Record a finished span with its children."""
        from opentelemetry.trace import StatusCode, set_span_in_context

        root = self._tracer.start_span(name, attributes=span.attributes, start_time=_ns(span.start))
        within = set_span_in_context(root)
        for child_name, child in children.items():
            started = self._tracer.start_span(
                child_name, within, attributes=child.attributes, start_time=_ns(child.start)
            )
            started.end(_ns(max(child.start, child.end)))
        if span.failed:
            root.set_status(StatusCode.ERROR)
        root.end(_ns(max(span.start, span.end)))


class Span:
    """A span. start, end: seconds since 1970."""

    def __init__(self, start: float, end: float, attributes: dict[str, Any] | None = None, *, failed: bool = False):
        self.start, self.end, self.attributes, self.failed = start, end, attributes or {}, failed


class SessionTraces:
    """Observes one session. clock: seconds since 1970."""

    def __init__(self, create_tracer: Tracer, attributes: dict[str, Any], clock: Any = time.time) -> None:
        self._tracer, self._attributes, self._clock = create_tracer, attributes, clock
        self._speech_started_ms: dict[str, int] = {}
        self._responses_began: dict[str, float] = {}
        self._turns: dict[str, tuple[events.TurnTraced, float]] = {}

    def on_event(self, event: events.Event) -> None:
        """Handle an event of the session."""
        match event:
            case events.SpeechStarted():
                _remember(self._speech_started_ms, event.item_id, event.at_ms)
            case events.ResponseStarted():
                _remember(self._responses_began, event.response_id, self._clock())
            case events.TurnTraced():  # with the first sound
                _remember(self._turns, event.response_id, (event, self._clock() - event.stages.get("first_audio", 0.0)))
            case events.ResponseEnded():
                self._record_response(event.response_id, event.status, event.reason or "", event.engine)

    def on_end(self) -> None:
        """Handle the end of the session; open responses end with it."""
        for response_id in [*self._responses_began]:
            self._record_response(response_id, "cancelled", "session_ended", "")

    def _record_response(self, response_id: str, status: str, reason: str, engine: str) -> None:
        now = self._clock()
        began, turn = self._responses_began.pop(response_id, now), self._turns.pop(response_id, None)
        attributes = {**self._attributes, "chinwag.response_id": response_id, "chinwag.status": status}
        known = {"chinwag.reason": reason, "chinwag.engine": engine}
        attributes.update({name: value for name, value in known.items() if value})
        failed = status == "failed"
        if turn is None:  # the turn was typed, or nothing of the response was heard
            self._tracer.record("reply", Span(began, now, attributes, failed=failed), {})
            return
        traced, speech_end = turn
        spoken_s = (traced.speech_end_ms - self._speech_started_ms.pop(traced.item_id, traced.speech_end_ms)) / 1000
        children = {"listen": Span(speech_end - spoken_s, speech_end), **_stages(traced.stages, speech_end)}
        if (first := traced.stages.get("first_audio")) is not None:
            children["say"] = Span(speech_end + first, now)
            attributes["chinwag.voice_to_voice_ms"] = round(first * 1000, 1)
        attributes["chinwag.item_id"] = traced.item_id
        attributes["chinwag.drafted"] = "draft_started" in traced.stages
        start = min(child.start for child in children.values())
        self._tracer.record("turn", Span(start, now, attributes, failed=failed), children)


def _stages(stages: Mapping[str, float], speech_end: float) -> dict[str, Span]:
    asked = stages.get("draft_started", stages.get("turn_decided"))
    known = {"": 0.0, **stages, **({} if asked is None else {"asked": asked})}
    return {
        name: Span(speech_end + min(known[begin], known[end]), speech_end + known[end])
        for name, begin, end in STAGES
        if begin in known and end in known
    }


def _remember(values: dict[str, Any], name: str, value: Any) -> None:
    while len(values) >= MAX_OPEN:
        values.pop(next(iter(values)))
    values[name] = value


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
