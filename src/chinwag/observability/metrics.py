"""Figures of the server in Prometheus' form. Every label has few values, and none of them comes from a client."""

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
"""Of a turn's trace, as docs/realtime-api.md explains them."""

KINDS = ("hearing_failed", "transcription_failed", "response_failed", "request_failed", "language_not_spoken")
REASONS = ("not_ready", "draining", "server_full", "session_not_found", "conversation_not_found")

LATENCY = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
WAITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LENGTHS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
OTHER = "other"


class Metrics:
    """The figures of one server."""

    def __init__(self, config: Config) -> None:
        own = self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=own)
        self._engines = {name for task in TASKS for name in registry.names(task)}
        self.sessions = Counter("chinwag_sessions", "Conversations that have begun.", ["transport"], registry=own)
        self.open_sessions = Gauge(
            "chinwag_sessions_open",
            "Conversations that are held, with those that wait for their client to come back.",
            ["transport"],
            registry=own,
        )
        self.lengths = Histogram(
            "chinwag_session_seconds", "How long conversations lasted.", buckets=LENGTHS, registry=own
        )
        self.refusals = Counter(
            "chinwag_sessions_refused", "Clients that could not begin a conversation.", ["reason"], registry=own
        )
        self.turns = Counter("chinwag_turns", "Turns that were taken in.", registry=own)
        self.retractions = Counter(
            "chinwag_turns_taken_back",
            "Turns that were no ends: the person went on before anything of the answer was heard.",
            registry=own,
        )
        self.cut_ins = Counter(
            "chinwag_cut_ins", "Answers that began before the person had finished, and were heard.", registry=own
        )
        self.interruptions = Counter("chinwag_interruptions", "Answers that a person stopped.", registry=own)
        self.backchannels = Counter(
            "chinwag_backchannels", "Speech or noise over an answer that did not stop it.", registry=own
        )
        self.responses = Counter("chinwag_replies", "Answers that have ended.", ["status"], registry=own)
        self.stages = Histogram(
            "chinwag_turn_stage_seconds",
            "From the arrival of a person's last sound to each stage of the answer; before it counts as 0.",
            ["stage"],
            buckets=LATENCY,
            registry=own,
        )
        self.voice_to_voice = Histogram(
            "chinwag_voice_to_voice_seconds",
            "From the arrival of a person's last sound to the first sound of the answer, as sent.",
            buckets=LATENCY,
            registry=own,
        )
        self.errors = Counter(
            "chinwag_errors", "What failed, by the engine that did.", ["engine", "kind"], registry=own
        )
        self.waits = Histogram(
            "chinwag_worker_wait_seconds",
            "How long a step waited for an engine's thread.",
            ["worker", "priority"],
            buckets=WAITS,
            registry=own,
        )
        self.steps = Histogram(
            "chinwag_worker_step_seconds",
            "How long a step ran on an engine's thread.",
            ["worker", "priority"],
            buckets=WAITS,
            registry=own,
        )
        self.requests = Counter(
            "chinwag_http_requests", "Requests over HTTP that were answered.", ["route", "code"], registry=own
        )
        for priority in worker.Priority:  # so that a rate can be drawn from the first one on
            for task in ("vad", "turn", "stt", "tts"):
                name = getattr(config, task).engine
                if name in self._engines:
                    self.waits.labels(name, priority.name.lower())

    def open(self) -> None:
        """Begin to watch the engines' threads."""
        worker.observers.add(self._on_step)

    def close(self) -> None:
        """No longer."""
        worker.observers.discard(self._on_step)

    def observe_session(self, transport: str) -> SessionMetrics:
        """A session begins."""
        return SessionMetrics(self, transport)

    def count_refusal(self, reason: str) -> None:
        """No conversation could begin."""
        self.refusals.labels(reason if reason in REASONS else OTHER).inc()

    def count_error(self, engine: str, kind: str) -> None:
        """Something did. engine: empty where it was none."""
        named = engine if engine in self._engines else OTHER if engine else "none"
        self.errors.labels(named, kind if kind in KINDS else OTHER).inc()

    def render(self) -> bytes:
        """All of it, as CONTENT_TYPE. It asks the system about the process's children, and so belongs on a thread."""
        return generate_latest(self.registry)

    def _on_step(self, step: worker.FinishedStep) -> None:
        """Called on an engine's thread."""
        labels = self._worker(step.worker), step.priority.name.lower()
        self.waits.labels(*labels).observe(step.waited_s)
        self.steps.labels(*labels).observe(step.took_s)

    def _worker(self, name: str) -> str:
        return name if name in self._engines else OTHER


class SessionMetrics:
    """Watches one session."""

    def __init__(self, metrics: Metrics, transport: str) -> None:
        self._metrics, self._transport = metrics, transport
        metrics.sessions.labels(transport).inc()
        metrics.open_sessions.labels(transport).inc()
        self._began = time.monotonic()

    def on_event(self, event: events.Event) -> None:
        """That has happened in it."""
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
        """Nothing more will."""
        self._metrics.lengths.observe(time.monotonic() - self._began)
        self._metrics.open_sessions.labels(self._transport).dec()


class RequestMetricsMiddleware:
    """ASGI middleware that counts what was answered, by the route as the code has it, never by the path as it came."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "page")
                self._metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
