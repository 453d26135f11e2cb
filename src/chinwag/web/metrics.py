"""Figures of the server in Prometheus' form. Every label has few values, and none of them comes from a client."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chinwag import __version__, events
from chinwag.engines import registry, worker
from chinwag.engines.protocols import TASKS
from chinwag.web.process import usage

if TYPE_CHECKING:
    from chinwag.config import Config
    from chinwag.web.host import Host

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
        self.taken_back = Counter(
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
        self.replies = Counter("chinwag_replies", "Answers that have ended.", ["status"], registry=own)
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
        worker.observers.add(self._stepped)

    def close(self) -> None:
        """No longer."""
        worker.observers.discard(self._stepped)

    def of(self, host: Host) -> None:
        """Tell that server's state as well."""
        self.registry.register(_State(host))

    def session(self, transport: str) -> SessionMetrics:
        """A session begins."""
        return SessionMetrics(self, transport)

    def refused(self, reason: str) -> None:
        """No conversation could begin."""
        self.refusals.labels(reason if reason in REASONS else OTHER).inc()

    def failed(self, engine: str, kind: str) -> None:
        """Something did. engine: empty where it was none."""
        named = engine if engine in self._engines else OTHER if engine else "none"
        self.errors.labels(named, kind if kind in KINDS else OTHER).inc()

    def exposed(self) -> bytes:
        """All of it, as CONTENT_TYPE. It asks the system about the process's children, and so belongs on a thread."""
        return generate_latest(self.registry)

    def _stepped(self, step: worker.Step) -> None:
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

    def told(self, event: events.Event) -> None:
        """That has happened in it."""
        metrics = self._metrics
        match event:
            case events.InputCommitted():
                metrics.turns.inc()
            case events.TurnTakenBack():
                metrics.taken_back.inc()
            case events.SpeechStarted(stops="answer"):
                metrics.interruptions.inc()
            case events.SpeechStarted(stops="early_answer"):
                metrics.cut_ins.inc()
            case events.ReplyResumed():
                metrics.backchannels.inc()
            case events.TurnTraced():
                for stage in STAGES:
                    if stage in event.stages:
                        metrics.stages.labels(stage).observe(max(0.0, event.stages[stage]))
                if "first_audio" in event.stages:
                    metrics.voice_to_voice.observe(max(0.0, event.stages["first_audio"]))
            case events.ReplyEnded():
                metrics.replies.labels(event.status).inc()
                if event.status == "failed":
                    metrics.failed(event.engine, "response_failed")
            case events.TranscriptionFailed():
                metrics.failed(event.engine, "transcription_failed")
            case events.Fault():
                metrics.failed(event.engine, event.code)

    def over(self) -> None:
        """Nothing more will."""
        self._metrics.lengths.observe(time.monotonic() - self._began)
        self._metrics.open_sessions.labels(self._transport).dec()


class _State(Collector):
    """What a server is like at the moment of the look."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        """Asked at each look."""
        host = self._host
        now = usage()
        weights = host.progress.as_dict()
        yield _one("chinwag_info", "The version that runs.", 1, version=__version__)
        yield _one(
            "chinwag_ready", "1 while conversations can begin.", int(host.stage == "ready" and not host.draining)
        )
        yield _one("chinwag_draining", "1 once the server is about to stop.", int(host.draining))
        yield _one("chinwag_sessions_connected", "Clients that are there.", host.sessions)
        most = host.config.server.max_sessions
        limit = math.inf if most == "auto" else most
        yield _one("chinwag_sessions_limit", "server.max_sessions; +Inf where it is auto.", limit)
        yield _one("chinwag_sessions_waiting", "Clients in the queue of a full server.", host.admission.waiting)
        load = host.load
        yield _one("chinwag_load_pressure", "From 1 on those who talk wait for one another.", load.pressure)
        yield _one("chinwag_load_fullness", "From 1 on nobody else comes in, where that is measured.", load.fullness)
        yield _one("chinwag_startup_seconds", "From the process's start to ready; 0 until then.", host.startup_s or 0)
        yield _one("chinwag_weights_bytes", "Of models that were missing at the start.", weights["total"])
        yield _one("chinwag_weights_fetched_bytes", "Of those, how many are here.", weights["done"])
        yield _one("chinwag_memory_bytes", "Of the server and its children.", now["rss_mb"] * 1e6)
        yield _one("chinwag_cpu_seconds", "Of the server and its children that live.", now["cpu_seconds"])
        loads = GaugeMetricFamily("chinwag_engine_load_seconds", "How long it took to load.", labels=["task", "engine"])
        depth = GaugeMetricFamily("chinwag_worker_queue_depth", "Steps that wait for a thread.", labels=["worker"])
        for task, state in host.states.items():
            if state.load_ms is not None:
                loads.add_metric([task, state.name], state.load_ms / 1000)
        waiting: dict[str, int] = {}
        for one in tuple(worker.workers):
            waiting[one.name] = waiting.get(one.name, 0) + one.waiting
        for name, steps in sorted(waiting.items()):
            depth.add_metric([name], steps)
        yield loads
        yield depth


def _one(name: str, about: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


class Counted:
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
