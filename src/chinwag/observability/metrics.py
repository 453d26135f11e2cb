"""Prometheus metrics of the server. Every label has few values, and none of them comes from a client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chinwag.conversation import events
from chinwag.engines import registry, worker
from chinwag.engines.protocols import TASKS

if TYPE_CHECKING:
    from chinwag.config import Config

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = (
    "last_words",
    "draft_started",
    "transcript_final",
    "turn_decided",
    "first_token",
    "first_clause",
    "first_audio",
)
"""Stages of a turn's trace; docs/realtime-api.md explains them."""

KINDS = ("hearing_failed", "transcription_failed", "response_failed", "request_failed", "language_not_spoken")
REASONS = ("not_ready", "draining", "server_full", "session_not_found", "conversation_not_found")

LATENCY = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
WAITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LENGTHS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
OTHER = "other"


class Metrics:
    """The metrics of one server."""

    def __init__(self, config: Config) -> None:
        own = self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=own)
        self._engines = {name for task in TASKS for name in registry.names(task)}
        self.sessions = Counter("chinwag_sessions", "Sessions that have started.", ["transport"], registry=own)
        self.open_sessions = Gauge(
            "chinwag_sessions_open",
            "Sessions that are open, including those that wait for their client to reconnect.",
            ["transport"],
            registry=own,
        )
        self.lengths = Histogram("chinwag_session_seconds", "Duration of sessions.", buckets=LENGTHS, registry=own)
        self.refusals = Counter(
            "chinwag_sessions_refused", "Clients that could not start a session.", ["reason"], registry=own
        )
        self.turns = Counter("chinwag_turns", "Committed turns.", registry=own)
        self.retractions = Counter(
            "chinwag_turns_taken_back",
            "Retracted turns: the user continued before any of the response was heard.",
            registry=own,
        )
        self.cut_ins = Counter(
            "chinwag_cut_ins", "Responses that were heard before the user had finished.", registry=own
        )
        self.interruptions = Counter("chinwag_interruptions", "Responses that the user interrupted.", registry=own)
        self.backchannels = Counter(
            "chinwag_backchannels", "Speech or noise over a response that did not stop it.", registry=own
        )
        self.responses = Counter("chinwag_replies", "Responses that have ended.", ["status"], registry=own)
        self.stages = Histogram(
            "chinwag_turn_stage_seconds",
            "Time from the end of the user's speech to each stage of the response; earlier stages count as 0.",
            ["stage"],
            buckets=LATENCY,
            registry=own,
        )
        self.voice_to_voice = Histogram(
            "chinwag_voice_to_voice_seconds",
            "Time from the end of the user's speech to the first audio of the response, as sent.",
            buckets=LATENCY,
            registry=own,
        )
        self.errors = Counter("chinwag_errors", "Errors by engine.", ["engine", "kind"], registry=own)
        self.waits = Histogram(
            "chinwag_worker_wait_seconds",
            "Time that a step waited for an engine's thread.",
            ["worker", "priority"],
            buckets=WAITS,
            registry=own,
        )
        self.steps = Histogram(
            "chinwag_worker_step_seconds",
            "Time that a step ran on an engine's thread.",
            ["worker", "priority"],
            buckets=WAITS,
            registry=own,
        )
        self.requests = Counter(
            "chinwag_http_requests", "HTTP requests that were answered.", ["route", "code"], registry=own
        )
        for priority in worker.Priority:  # a rate needs the series to exist before its first value
            for task in ("vad", "turn", "stt", "tts"):
                name = getattr(config, task).engine
                if name in self._engines:
                    self.waits.labels(name, priority.name.lower())

    def open(self) -> None:
        """Start to observe the engines' threads."""
        worker.observers.add(self._on_step)

    def close(self) -> None:
        """Stop to observe the engines' threads."""
        worker.observers.discard(self._on_step)

    def observe_session(self, transport: str) -> SessionMetrics:
        """Return the observer of a new session."""
        return SessionMetrics(self, transport)

    def count_refusal(self, reason: str) -> None:
        """Count a refused session."""
        self.refusals.labels(reason if reason in REASONS else OTHER).inc()

    def count_error(self, engine: str, kind: str) -> None:
        """Count an error. engine: empty if none caused it."""
        named = engine if engine in self._engines else OTHER if engine else "none"
        self.errors.labels(named, kind if kind in KINDS else OTHER).inc()

    def render(self) -> bytes:
        """Return all metrics in CONTENT_TYPE. Call it on a thread: it queries the system about child processes."""
        return generate_latest(self.registry)

    def _on_step(self, step: worker.FinishedStep) -> None:
        """Called on an engine's thread."""
        labels = self._worker(step.worker), step.priority.name.lower()
        self.waits.labels(*labels).observe(step.waited_s)
        self.steps.labels(*labels).observe(step.took_s)

    def _worker(self, name: str) -> str:
        return name if name in self._engines else OTHER


class SessionMetrics:
    """Observes one session."""

    def __init__(self, metrics: Metrics, transport: str) -> None:
        self._metrics, self._transport = metrics, transport
        metrics.sessions.labels(transport).inc()
        metrics.open_sessions.labels(transport).inc()
        self._began = time.monotonic()

    def on_event(self, event: events.Event) -> None:
        """Handle an event of the session."""
        metrics = self._metrics
        match event:
            case events.InputCommitted():
                metrics.turns.inc()
            case events.TurnRetracted():
                metrics.retractions.inc()
            case events.SpeechStarted(interrupted="answer"):
                metrics.interruptions.inc()
            case events.SpeechStarted(interrupted="early_answer"):
                metrics.cut_ins.inc()
            case events.ResponseUnducked():
                metrics.backchannels.inc()
            case events.TurnTraced():
                for stage in STAGES:
                    if stage in event.stages:
                        metrics.stages.labels(stage).observe(max(0.0, event.stages[stage]))
                if "first_audio" in event.stages:
                    metrics.voice_to_voice.observe(max(0.0, event.stages["first_audio"]))
            case events.ResponseEnded():
                metrics.responses.labels(event.status).inc()
                if event.status == "failed":
                    metrics.count_error(event.engine, "response_failed")
            case events.TranscriptionFailed():
                metrics.count_error(event.engine, "transcription_failed")
            case events.ErrorOccurred():
                metrics.count_error(event.engine, event.code)

    def on_end(self) -> None:
        """Handle the end of the session."""
        self._metrics.lengths.observe(time.monotonic() - self._began)
        self._metrics.open_sessions.labels(self._transport).dec()


class RequestMetricsMiddleware:
    """ASGI middleware that counts responses by the route's pattern, never by the requested path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request and count its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "page")
                self._metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
