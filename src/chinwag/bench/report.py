"""A run's figures, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chinwag.errors import ChinwagError


class ReportError(ChinwagError):
    """The figures cannot be written."""


def turn_line(turn: dict[str, Any]) -> str:
    """One turn in one line."""
    if turn["error"]:
        return f"{turn['name']}: failed: {turn['error']}"
    time = turn["voice_to_voice_ms"]
    what = "answered before the end" if time is None else f"{time:5.0f} ms"
    cut = ", cut in" if turn["cut_in"] and time is not None else ""
    wrong = f", {turn['word_errors']} of {turn['words']} words wrong" if turn["word_errors"] else ""
    return f"{turn['name']}: {what}{cut}{wrong}  “{turn['transcript']}” → “{turn['reply']}”"


def show(result: dict[str, Any], console: Console) -> None:
    """Print the figures as a table."""
    table = Table(title=f"Latency over {result['turns']} turns", title_justify="left", show_edge=False)
    table.add_column("measured at the client's ear")
    table.add_column("p50", justify="right")
    table.add_column("p95", justify="right")
    heard = result["voice_to_voice_ms"]
    table.add_row("voice to voice", _ms(heard["p50"]), _ms(heard["p95"]), style="bold")
    table.add_row("first partial, from the first sound", _ms(result["first_partial_ms"]["p50"]), "")
    table.add_row("between partials", _ms(result["partial_period_ms"]["p50"]), "", end_section=True)
    for stage, at in result["stages_ms"].items():
        table.add_row(f"  {stage.replace('_', ' ')}, from the end of speech", _ms(at), "")
    console.print(table)
    server, machine = result["server"], result["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB"
    console.print(
        f"words wrong {result['wer']:.1%}, cut in on {result['cut_in_rate']:.0%} of turns, {result['failed']} failed"
    )
    console.print(
        f"server: {_or(server['rss_mb'], '.0f')} MB, {_or(server['cpu_seconds'], '.1f')} s of CPU,"
        f" ready after {_or(server['startup_s'], '.1f')} s"
    )
    console.print(f"machine: {machine['cpu']}, {machine['cores']} cores, {memory}, {machine['os']}")
    console.print(f"engines: {', '.join(f'{task} {name}' for task, name in result['engines'].items())}")


def check(path: Path) -> None:
    """Raise ReportError where no file could be written, before a run has been spent on it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ReportError(f"{path} is not a file in a folder that exists.", "Make the folder or name another.")


def write(result: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON. Raises ReportError."""
    try:
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise ReportError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder you may write to."
        ) from None


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _or(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)
