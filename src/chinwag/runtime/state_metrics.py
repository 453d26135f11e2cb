"""Gauges of a server's state: readiness, sessions, queue, load, weights and engines."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chinwag import __version__
from chinwag.engines import worker
from chinwag.observability.process import resource_usage
from chinwag.runtime.runtime import Runtime


class RuntimeCollector(Collector):
    """Reads a runtime's state at each scrape."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges of this moment; called by prometheus_client at each scrape."""
        runtime = self._runtime
        now = resource_usage()
        weights = runtime.progress.as_dict()
        yield _gauge("chinwag_info", "Version of the server.", 1, version=__version__)
        yield _gauge(
            "chinwag_ready", "1 while sessions can begin.", int(runtime.stage == "ready" and not runtime.draining)
        )
        yield _gauge("chinwag_draining", "1 once the server is about to stop.", int(runtime.draining))
        yield _gauge("chinwag_sessions_connected", "Connected clients.", runtime.sessions)
        limit = runtime.config.server.max_sessions
        yield _gauge(
            "chinwag_sessions_limit", "server.max_sessions; +Inf if it is auto.", math.inf if limit == "auto" else limit
        )
        yield _gauge("chinwag_sessions_waiting", "Clients in the queue of a full server.", runtime.admission.waiting)
        load = runtime.load
        yield _gauge("chinwag_load_pressure", "From 1 on, sessions wait for one another.", load.pressure)
        yield _gauge("chinwag_load_fullness", "From 1 on, max_sessions = auto admits no more sessions.", load.fullness)
        yield _gauge(
            "chinwag_startup_seconds", "Time from process start to ready; 0 until then.", runtime.startup_s or 0
        )
        yield _gauge("chinwag_weights_bytes", "Size of the models that were missing at the start.", weights["total"])
        yield _gauge("chinwag_weights_fetched_bytes", "Bytes of these that have been fetched.", weights["done"])
        yield _gauge("chinwag_memory_bytes", "Memory of the server and its child processes.", now["rss_mb"] * 1e6)
        yield _gauge(
            "chinwag_cpu_seconds", "Processor time of the server and its running children.", now["cpu_seconds"]
        )
        loads = GaugeMetricFamily("chinwag_engine_load_seconds", "Time to load an engine.", labels=["task", "engine"])
        depth = GaugeMetricFamily("chinwag_worker_queue_depth", "Steps that wait for a thread.", labels=["worker"])
        for task, state in runtime.states.items():
            if state.load_ms is not None:
                loads.add_metric([task, state.name], state.load_ms / 1000)
        waiting: dict[str, int] = {}
        for engine_worker in tuple(worker.workers):
            waiting[engine_worker.name] = waiting.get(engine_worker.name, 0) + engine_worker.waiting
        for name, steps in sorted(waiting.items()):
            depth.add_metric([name], steps)
        yield loads
        yield depth


def _gauge(name: str, about: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
