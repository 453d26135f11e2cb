"""A run's figures, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chinwag.bench.goals import Goal
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


def trial_line(trial: dict[str, Any]) -> str:
    """One trial of `interrupt` in one line."""
    heard = f"  “{trial['transcript']}”" if trial["transcript"] else ""
    if trial["error"]:
        return f"{trial['name']}: failed: {trial['error']}"
    if trial["void"]:
        return f"{trial['name']}: void, the reply was over{heard}"
    if trial["yielded"] is not None:
        stopped = f"silent after {trial['stopped_ms']:.0f} ms"
        what = f"yielded after {trial['yield_ms']:.0f} ms, {stopped}" if trial["yielded"] else f"went on, {stopped}"
    else:
        what = trial["why"] or "went on as it should"
    return f"{trial['name']}: {what}{heard}"


def step_line(step: dict[str, Any]) -> str:
    """One step of `load` in one line."""
    heard = step["voice_to_voice_ms"]
    turned_away = f", {step['refused']} refused" if step["refused"] else ""
    failed = f", {step['unanswered'] + step['lost']} unanswered" if step["unanswered"] + step["lost"] else ""
    return (
        f"{step['sessions']} talk{turned_away}: {step['turns']} turns, p50 {_ms(heard['p50'])}, p95 {_ms(heard['p95'])}"
        f"{failed}"
    )


def show_load(result: dict[str, Any], console: Console) -> None:
    """Print a row for each step of `load`."""
    title = f"Load, {result['seconds']:.0f} s a step, each speaks {result['speaking']:.0%} of the time"
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in ("come", "in", "turns", "p50", "p95", "cut in", "dropped", "cores", "memory", "unanswered"):
        table.add_column(column, justify="right")
    for step in result["steps"]:
        table.add_row(
            str(step["sessions"]),
            str(step["admitted"]),
            str(step["turns"]),
            *_both(step["voice_to_voice_ms"]),
            "–" if step["cut_in_rate"] is None else f"{step['cut_in_rate']:.0%}",
            _ms(step["dropped_audio_ms"]),
            _or(step["cores_busy"], ".2f"),
            f"{_or(step['rss_mb'], '.0f')} MB",
            str(step["unanswered"] + step["lost"]),
        )
    console.print(table)


def show_goals(result: dict[str, Any], goals: Sequence[Goal], console: Console, title: str) -> None:
    """Print each goal, what was measured, and whether it was met."""
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("")
    for column in ("goal", "measured", ""):
        table.add_column(column, justify="right")
    for goal in goals:
        value, met = goal.value(result), goal.met(result)
        sign = "≤" if goal.sense == "<=" else "≥"
        measured = "–" if value is None else _unit(value, goal.unit)
        word = {True: "met", False: "missed", None: "not measured"}[met]
        style = {True: "green", False: "red", None: "dim"}[met]
        table.add_row(goal.what, f"{sign} {_unit(goal.limit, goal.unit)}", measured, f"[{style}]{word}[/]")
    console.print(table)


def show_turns(result: dict[str, Any], console: Console) -> None:
    """Print the three detectors side by side."""
    table = Table(title=f"Turns, {result['turns']} with each detector", title_justify="left", show_edge=False)
    table.add_column("")
    names = {"chinwag": "Chinwag", "smart_turn": "Smart Turn alone", "silence_800": "800 ms of silence"}
    for name in names.values():
        table.add_column(name, justify="right")

    def row(what: str, unit: str, *path: str) -> None:
        values = [Goal(what, (name, *path), "<=", 0, "ms").value(result) for name in names]
        table.add_row(what, *["–" if value is None else _unit(value, unit) for value in values])

    row("cut in", "%", "cut_in_rate")
    row("voice to voice, p50", "ms", "voice_to_voice_ms", "p50")
    row("voice to voice, p95", "ms", "voice_to_voice_ms", "p95")
    row("turns cut off at a mean delay of 300 ms", "%", "cutoff_at_300ms")
    row("mean delay with 5 % of turns cut off", "ms", "delay_at_5pct_ms")
    row("  the same, its times tuned on these turns: at 300 ms", "%", "tuned", "cutoff_at_300ms")
    row("  … with 5 %", "ms", "tuned", "delay_at_5pct_ms")
    row("failed", "", "failed")
    console.print(table)
    for name, title in names.items():
        if "error" in result[name]:
            console.print(f"{title}: {result[name]['error']}", style="red", markup=False)


def show_interrupt(result: dict[str, Any], console: Console) -> None:
    """Print both kinds of client side by side."""
    table = Table(title=f"Interruptions, {result['trials']} trials with each", title_justify="left", show_edge=False)
    table.add_column("")
    table.add_column("client with chinwag events", justify="right")
    table.add_column("stock client", justify="right")

    def row(what: str, unit: str, *path: str) -> None:
        values = [Goal(what, path, "<=", 0, "ms").value(one) for one in (result, result["stock"])]
        table.add_row(what, *["–" if value is None else _unit(value, unit) for value in values])

    row("yields after, p50", "ms", "yield_ms", "p50")
    row("yields after, p95", "ms", "yield_ms", "p95")
    row("silent after, p50", "ms", "stopped_ms", "p50")
    row("silent after, p95", "ms", "stopped_ms", "p95")
    row("yields", "%", "yield_rate")
    row("backchannels ignored", "%", "backchannel_ignored_rate")
    row("coughs, knocks, hums ignored", "%", "noise_ignored_rate")
    row("goes on as it should after them", "%", "resumed_correctly_rate")
    row("its own echo ignored", "%", "echo_ignored_rate")
    row("yields while it hears its echo", "%", "yield_with_echo_rate")
    row("words wrong of the interruptions", "%", "interruption_wer")
    row("void", "", "void")
    row("failed", "", "failed")
    console.print(table)


def show(result: dict[str, Any], console: Console) -> None:
    """Print the figures of `latency` as a table."""
    table = Table(title=f"Latency over {result['turns']} turns", title_justify="left", show_edge=False)
    table.add_column("measured at the client's ear")
    table.add_column("p50", justify="right")
    table.add_column("p95", justify="right")
    heard = result["voice_to_voice_ms"]
    table.add_row("voice to voice", _ms(heard["p50"]), _ms(heard["p95"]), style="bold")
    table.add_row("first partial, from the first sound", *_both(result["first_partial_ms"]))
    table.add_row("between partials", *_both(result["partial_period_ms"]), end_section=True)
    for stage, at in result["stages_ms"].items():
        table.add_row(f"  {stage.replace('_', ' ')}, from the end of speech", _ms(at), "")
    console.print(table)
    console.print(
        f"words wrong {result['wer']:.1%}, cut in on {result['cut_in_rate']:.0%} of turns, {result['failed']} failed"
    )


def show_transports(result: dict[str, Any], console: Console) -> None:
    """Print the figures of `latency` over both transports side by side."""
    table = Table(
        title=f"Latency over {result['websocket']['turns']} turns with each", title_justify="left", show_edge=False
    )
    table.add_column("measured at the client's ear")
    for column in ("WebSocket p50", "p95", "WebRTC p50", "p95", "later p50"):
        table.add_column(column, justify="right")
    both = [result["websocket"], result["webrtc"]]

    def row(what: str, key: str) -> None:
        times = [one[key] for one in both]
        late = None if None in (times[0]["p50"], times[1]["p50"]) else times[1]["p50"] - times[0]["p50"]
        table.add_row(what, *_both(times[0]), *_both(times[1]), _ms(late))

    row("voice to voice", "voice_to_voice_ms")
    row("first partial, from the first sound", "first_partial_ms")
    row("between partials", "partial_period_ms")
    for stage in both[0]["stages_ms"]:
        at = [one["stages_ms"][stage] for one in both]
        late = None if None in at else at[1] - at[0]
        table.add_row(f"  {stage.replace('_', ' ')}, from the end of speech", _ms(at[0]), "", _ms(at[1]), "", _ms(late))
    console.print(table)
    for name, one in zip(("WebSocket", "WebRTC"), both, strict=True):
        console.print(
            f"{name}: words wrong {one['wer']:.1%}, cut in on {one['cut_in_rate']:.0%} of turns, {one['failed']} failed"
        )


def show_machine(result: dict[str, Any], console: Console) -> None:
    """Print what it was measured on."""
    server, machine = result["server"], result["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB"
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


def _both(values: dict[str, float | None]) -> tuple[str, str]:
    return _ms(values["p50"]), _ms(values["p95"])


def _unit(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.0f} {unit}".strip()


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _or(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)
