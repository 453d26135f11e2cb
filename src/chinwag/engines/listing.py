"""Every engine that there is, with what it lacks here and the very next step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.protocols import Task
from chinwag.errors import ChinwagError, EngineError
from chinwag.weights import Store

State = Literal["ready", "not installed", "no weights", "not reached", "broken"]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What `model` may be. size: bytes of its weights, 0 of those not in the catalog. here: they need no fetching."""

    name: str
    size: int
    here: bool


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine. chosen: by the settings. models: what its `model` may be, its own choice first. size: bytes of its
    weights. fix: what brings it to "ready". first_ms, real_time_factor: measured here by `benchmarks engines`.
    """

    task: Task
    name: str
    chosen: bool
    state: State
    fix: str = ""
    summary: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    models: tuple[ModelChoice, ...] = ()
    size: int = 0
    first_ms: float | None = None
    real_time_factor: float | None = None


def list_engines(config: Config, store: Store, tasks: Sequence[Task] = registry.TASKS) -> list[EngineRow]:
    """All that are known, by task and name. Servers are asked at the same time, and not waited for beyond 10 s."""
    known = [(task, name) for task in tasks for name in registry.names(task)]
    with ThreadPoolExecutor(max_workers=len(known)) as pool:
        return list(pool.map(lambda one: _row(config, store, *one), known))


def _row(config: Config, store: Store, task: Task, name: str) -> EngineRow:
    section = getattr(config, task)
    chosen = section.engine == name
    settings = section if chosen else type(section)(engine=name)
    try:
        engine = registry.lookup(task, name)
    except EngineError as error:
        return EngineRow(task, name, chosen, "broken", str(error))
    about = engine.about
    row = EngineRow(task, name, chosen, "ready", "", about.summary, about.licence, about.languages)
    try:
        needs = engine.needs(settings)
    except ChinwagError as error:  # the model that is set is none of its own
        return replace(row, state="broken", fix=str(error))
    if registry.missing_modules(engine):
        return replace(row, state="not installed", fix=registry.install_command(engine))
    try:
        row = replace(row, size=store.size(needs) if needs else 0)
        row = replace(row, models=tuple(_model(store, engine, settings, one) for one in engine.models(settings)))
        if absent := store.missing(needs):
            return replace(row, state="no weights", fix=f"chinwag models pull {' '.join(absent)}")
    except EngineError as error:  # the models of a server that does not answer
        return replace(row, state="not reached", fix=str(error))
    except ChinwagError as error:
        return replace(row, state="broken", fix=str(error))
    return row


def _model(store: Store, engine: Any, settings: Any, name: str) -> ModelChoice:
    needs = engine.needs(settings.model_copy(update={"model": name}))
    return ModelChoice(name, store.size(needs) if needs else 0, not store.missing(needs))
