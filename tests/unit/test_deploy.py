"""The files for Prometheus and Grafana, and the document, name the metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chinwag.config import Config
from chinwag.conversation import events
from chinwag.engines import worker
from chinwag.observability.metrics import KINDS, STAGES
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

NAME = re.compile(r"\b(?:chinwag|process|python)_[a-z0-9_]+")


def render() -> set[str]:
    """Each name that a server tells, once every kind of thing has happened."""
    runtime = Runtime(Config())
    create_app(runtime)
    metrics = runtime.observers.metrics
    session = metrics.observe_session("websocket")
    session.on_event(events.TurnTraced("r", "i", 0, dict.fromkeys(STAGES, 0.1)))
    session.on_event(events.ResponseEnded("r", "i", "completed"))
    metrics.count_error("", KINDS[0])
    metrics.count_refusal("draining")
    metrics.requests.labels("/", "200").inc()
    metrics._on_step(worker.FinishedStep("moonshine", worker.Priority.NOW, 0.1, 0.1))
    families = text_string_to_metric_families(metrics.render().decode())
    told = {sample.name for family in families for sample in family.samples}
    return told | {"chinwag_engine_load_seconds", "chinwag_worker_queue_depth"}  # of engines that are loaded


def expressions(file: Path) -> list[str]:
    if file.suffix == ".json":
        panels = json.loads(file.read_text("utf-8"))["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", ())]
    groups = yaml.safe_load(file.read_text("utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("file", ["grafana/chinwag.json", "prometheus/alerts.yml"])
def test_each_metric_that_a_file_names_is_one_that_exists(file: str) -> None:
    named = {name for expression in expressions(DEPLOY / file) for name in NAME.findall(expression)}
    assert len(named) > 5
    assert named <= render(), named - render()


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    shown = " ".join(expressions(DEPLOY / "grafana/chinwag.json"))
    own = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in render() if name.startswith("chinwag_")}
    assert not [name for name in own if name not in shown]


def test_the_document_names_every_metric_of_ours() -> None:
    document = (DEPLOY.parent / "docs" / "operating.md").read_text("utf-8")
    kinds = {name for name in render() if name.startswith("chinwag_") and not name.endswith("_created")}
    own = {re.sub(r"_(bucket|count|sum)$", "", name) for name in kinds}
    assert not [name for name in own if f"`{name}" not in document]


def test_the_dashboards_panels_do_not_overlap_and_have_ids() -> None:
    panels = json.loads((DEPLOY / "grafana" / "chinwag.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_files_for_prometheus_and_grafana_are_whole() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert prometheus["rule_files"] == ["alerts.yml"]
    assert [job["job_name"] for job in prometheus["scrape_configs"]] == ["chinwag"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in rules)
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 7
    for name in ("datasources", "dashboards"):
        assert (
            yaml.safe_load((DEPLOY / f"grafana/provisioning/{name}/chinwag.yml").read_text("utf-8"))["apiVersion"] == 1
        )
