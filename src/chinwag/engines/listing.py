"""The list of all engines, with their state on this machine and the next step for each."""

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
    """A value for `model`. size: bytes of its weights, 0 outside the catalog. here: whether no download is needed."""

    name: str
    size: int
    here: bool


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine.

    chosen: whether the settings select it. models: values for `model`, the default first. size: bytes of its weights.
    fix: the step to "ready". first_ms, real_time_factor: as `benchmarks engines` measured them on this machine.
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
    """List all engines by task and name. Servers are queried concurrently, each for 10 s at most."""
    engines = [(task, name) for task in tasks for name in registry.names(task)]
    with ThreadPoolExecutor(max_workers=len(engines)) as pool:
        return list(pool.map(lambda engine: _row(config, store, *engine), engines))


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
    except ChinwagError as error:  # the configured model is unknown
        return replace(row, state="broken", fix=str(error))
    if registry.missing_modules(engine):
        return replace(row, state="not installed", fix=registry.install_command(engine))
    try:
        row = replace(row, size=store.size(needs) if needs else 0)
        row = replace(row, models=tuple(_model(store, engine, settings, name) for name in engine.models(settings)))
        if missing := store.missing(needs):
            return replace(row, state="no weights", fix=f"chinwag models pull {' '.join(missing)}")
    except EngineError as error:  # the server that lists the models does not respond
        return replace(row, state="not reached", fix=str(error))
    except ChinwagError as error:
        return replace(row, state="broken", fix=str(error))
    return row


def _model(store: Store, engine: Any, settings: Any, name: str) -> ModelChoice:
    needs = engine.needs(settings.model_copy(update={"model": name}))
    return ModelChoice(name, store.size(needs) if needs else 0, not store.missing(needs))
