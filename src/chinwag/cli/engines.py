"""`chinwag engines`: what can hear, think and speak here, and what each still lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.filesize import decimal

from chinwag import config as configuration
from chinwag.bench import engines as bench
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.protocols import Task
from chinwag.errors import ChinwagError, EngineError
from chinwag.weights import Store

State = Literal["ready", "not installed", "no weights", "not reached", "broken"]

TASK_NAMES: dict[Task, str] = {
    "vad": "Is somebody speaking?",
    "turn": "Have they finished?",
    "stt": "Hearing",
    "llm": "Thinking",
    "tts": "Speaking",
}
COLOURS: dict[State, str] = {"ready": "green", "broken": "red"}


@dataclass(frozen=True, slots=True)
class Row:
    """One engine. chosen: by the settings. models: what its `model` may be. size: bytes of its weights. fix: what
    brings it to "ready". first_ms, real_time_factor: as `chinwag bench engines` measured them here.
    """

    task: Task
    name: str
    chosen: bool
    state: State
    fix: str = ""
    summary: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    size: int = 0
    first_ms: float | None = None
    real_time_factor: float | None = None


def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file instead of ./chinwag.toml.")] = None,
) -> None:
    """List every engine: whether it can be used, and if not, what to do."""
    rows = look(configuration.load(config))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    out, loaded = Console(highlight=False), configuration.load(config)
    for task in registry.TASKS:
        out.print(f"[bold]{TASK_NAMES[task]}[/]: {task}.engine = {getattr(loaded, task).engine}")
        for row in (row for row in rows if row.task == task):
            _show(row, out)


def look(config: Config) -> list[Row]:
    """All that are known, by task and name. Servers are asked at the same time, and not waited for beyond 10 s."""
    store = Store(config.weights)
    known = [(task, name) for task in registry.TASKS for name in registry.names(task)]
    with ThreadPoolExecutor(max_workers=len(known)) as pool:
        rows = list(pool.map(lambda one: _row(config, store, *one), known))
    measured = {(entry.get("task"), entry.get("engine")): entry for entry in reversed(bench.remembered())}
    return [_with_speed(row, measured.get((row.task, row.name), {})) for row in rows]


def _with_speed(row: Row, entry: dict[str, Any]) -> Row:
    return replace(row, first_ms=entry.get("first_ms"), real_time_factor=entry.get("real_time_factor"))


def _row(config: Config, store: Store, task: Task, name: str) -> Row:
    section = getattr(config, task)
    chosen = section.engine == name
    settings = section if chosen else type(section)(engine=name)
    try:
        engine = registry.look(task, name)
    except EngineError as error:
        return Row(task, name, chosen, "broken", str(error))
    about = engine.about
    row = Row(task, name, chosen, "ready", "", about.summary, about.licence, about.languages)
    try:
        needs = engine.needs(settings)
    except ChinwagError as error:  # the model that is set is none of its own
        return replace(row, state="broken", fix=str(error))
    if registry.missing(engine):
        return replace(row, state="not installed", fix=registry.install(engine))
    try:
        row = replace(row, size=store.size(needs) if needs else 0, models=engine.models(settings))
        if absent := store.missing(needs):
            return replace(row, state="no weights", fix=f"chinwag models pull {' '.join(absent)}")
    except EngineError as error:  # the models of a server that does not answer
        return replace(row, state="not reached", fix=str(error))
    except ChinwagError as error:
        return replace(row, state="broken", fix=str(error))
    return row


def _show(row: Row, out: Console) -> None:
    parts = [row.state, _languages(row.languages), row.licence, decimal(row.size) if row.size else ""]
    state = f"[{COLOURS.get(row.state, 'yellow')}]{' · '.join(part for part in parts if part)}[/]"
    out.print(f"  {'*' if row.chosen else ' '} {row.name:<12} {state}", soft_wrap=True)
    if row.summary:
        out.print(f"{'':17}{row.summary}", style="dim", soft_wrap=True)
    if row.first_ms is not None:
        paced = f", {row.real_time_factor:.2f} × real time" if row.real_time_factor else ""
        out.print(f"{'':17}first result after {row.first_ms:.0f} ms{paced}, measured here", style="dim")
    if row.fix:
        out.print(f"{'':17}→ {row.fix}", soft_wrap=True, markup=False)


def _languages(languages: Sequence[str]) -> str:
    if tuple(languages) == ("*",):
        return "any language"
    return ", ".join(languages) if len(languages) <= 3 else f"{languages[0]} and {len(languages) - 1} more"
