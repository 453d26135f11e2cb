"""Measure every engine, one after another, each in a process of its own (`one_engine.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from chinwag import __version__
from chinwag.engines import registry
from chinwag.engines.protocols import TASKS, Task
from chinwag.errors import EngineError

TIMEOUT_S = 900.0
"""For one engine; a large one on a slow machine is told to have taken too long."""

RUNTIMES = ("ctranslate2", "hibari", "ollama", "onnxruntime", "openai", "torch", "xllamacpp")

EngineModel = tuple[Task, str, str]


def parse_engines(texts: Sequence[str]) -> list[EngineModel]:
    """What is to be measured, as (task, engine, model): all there is, or "tts:kokoro" and "stt:whisper=tiny".

    Raises EngineError for what is neither.
    """
    if not texts:
        return [(task, name, "") for task in TASKS for name in registry.names(task)]
    found: list[EngineModel] = []
    for text in texts:
        task, colon, rest = text.partition(":")
        name, _, model = rest.partition("=")
        if not colon or task not in TASKS or not name:
            raise EngineError(
                f"{text} is no engine.", "Write it like tts:kokoro, or stt:whisper=tiny for a model of it."
            )
        registry.lookup(task, name)
        found.append((task, name, model))
    return found


def measure_engines(
    wanted: Sequence[EngineModel], sentences: int, on_engine: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Measure one after another. Each entry has task, engine and model, and its figures or an error with a fix."""
    measured = []
    for task, name, model in wanted:
        entry = {"task": task, "engine": name, "model": model, **_measure(task, name, model, sentences)}
        measured.append(entry)
        on_engine(entry)
    return measured


def _measure(task: Task, name: str, model: str, sentences: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        search_path = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
        command = [sys.executable, "-m", "benchmarks.one_engine", task, name, model, str(sentences), str(file)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in search_path if path)},
            )
        except subprocess.TimeoutExpired:
            return {"error": f"It took more than {TIMEOUT_S / 60:.0f} minutes.", "fix": "Try a smaller model."}
        if not file.is_file():  # a fault in native code, or the system's end to a process that took all memory
            last = (done.stderr.strip().splitlines() or [""])[-1]
            return {
                "error": f"Its process ended with code {done.returncode}. {last}".strip(),
                "fix": "Free memory or choose a smaller model.",
            }
        return cast(dict[str, Any], json.loads(file.read_text("utf-8")))


def versions(wanted: Sequence[EngineModel]) -> dict[str, str]:
    """Of Chinwag, of what models run on, and of what these engines import, as far as it is installed."""
    distributions = packages_distributions()
    own = [module for task, name, _ in wanted for module in registry.lookup(task, name).about.modules]
    found = {name: version(name) for module in (*RUNTIMES, *own) for name in distributions.get(module, ())[:1]}
    return {"chinwag": __version__, **found}


def entry_text(entry: dict[str, Any]) -> str:
    """One engine in one line."""
    what = f"{entry['task']}:{entry['engine']}" + (f"={entry['model']}" if entry["model"] else "")
    if "error" in entry:
        return f"{what}: {entry['error']}"
    return f"{what}: first result after {_shown(entry.get('first_ms'), ' ms')}"


COLUMNS = (
    ("load", "load_ms", " ms"), ("memory", "memory_mb", " MB"), ("first", "first_ms", " ms"),
    ("p95", "first_p95_ms", " ms"), ("final", "final_ms", " ms"), ("prefilled", "prefilled_ms", " ms"),
    ("tokens/s", "tokens_per_s", ""), ("real time", "real_time_factor", "×"), ("WER", "wer", "%"),
)  # fmt: skip


def show(measured: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the figures of each task's engines, and why others have none."""
    for task in TASKS:
        entries = [entry for entry in measured if entry["task"] == task]
        good = [entry for entry in entries if "error" not in entry]
        columns = [column for column in COLUMNS if any(entry.get(column[1]) is not None for entry in good)]
        if good:
            table = Table(title=task, title_justify="left", show_edge=False)
            table.add_column("", overflow="fold")
            for heading, _, _ in columns:
                table.add_column(heading, justify="right", no_wrap=True)
            for entry in good:
                name = f"{entry['engine']} {entry['model']}".strip()
                table.add_row(name, *[_shown(entry.get(field), unit) for _, field, unit in columns])
            console.print(table)
        for entry in entries:
            if "error" in entry:
                console.print(
                    f"{task}:{entry['engine']} was not measured: {entry['error']} {entry['fix']}",
                    soft_wrap=True,
                    markup=False,
                )
    if heard := sorted({entry["heard_by"] for entry in measured if entry.get("heard_by")}):
        console.print(f"A voice's WER: its words as {', '.join(heard)} heard them back.", style="dim")


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:.3f}{unit}" if unit == "×" else f"{value:.0f}{unit}" if value >= 10 else f"{value:.1f}{unit}"
