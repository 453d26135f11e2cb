"""`chinwag engines`: what can hear, think and speak here, and what each still lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal

from chinwag import config as configuration
from chinwag.bench.engine_figures import load_figures
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.listing import EngineRow, State, list_engines
from chinwag.engines.protocols import Task
from chinwag.weights import Store

TASK_NAMES: dict[Task, str] = {
    "vad": "Is somebody speaking?",
    "turn": "Have they finished?",
    "stt": "Hearing",
    "llm": "Thinking",
    "tts": "Speaking",
}
COLOURS: dict[State, str] = {"ready": "green", "broken": "red"}


def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file instead of ./chinwag.toml.")] = None,
) -> None:
    """List every engine: whether it can be used, and if not, what to do."""
    rows = engine_rows(configuration.load(config))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    out, loaded = Console(highlight=False), configuration.load(config)
    for task in registry.TASKS:
        out.print(f"[bold]{TASK_NAMES[task]}[/]: {task}.engine = {getattr(loaded, task).engine}")
        for row in (row for row in rows if row.task == task):
            _print_row(row, out)


def engine_rows(config: Config) -> list[EngineRow]:
    """All engines, with the speed that was measured here."""
    measured = {(entry.get("task"), entry.get("engine")): entry for entry in reversed(load_figures())}
    return [
        _with_speed(row, measured.get((row.task, row.name), {})) for row in list_engines(config, Store(config.weights))
    ]


def _with_speed(row: EngineRow, entry: dict[str, Any]) -> EngineRow:
    return replace(row, first_ms=entry.get("first_ms"), real_time_factor=entry.get("real_time_factor"))


def _print_row(row: EngineRow, out: Console) -> None:
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
