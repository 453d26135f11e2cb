"""Figures drawn from a run's figures, with matplotlib, which is asked for only here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chinwag.errors import ChinwagError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
COLOURS = {"chinwag": "#1b7837", "smart_turn": "#d95f02", "silence_800": "#7570b3"}
NAMES = {"chinwag": "Chinwag", "smart_turn": "Smart Turn alone", "silence_800": "silence alone"}
CUT_IN = "#d73027"


class PlotError(ChinwagError):
    """A plot cannot be drawn."""


def check(path: Path) -> None:
    """Raise PlotError where no plot could be written, before a run has been spent on it."""
    if find_spec("matplotlib") is None:
        raise PlotError("Plots need matplotlib.", "Install it: pip install 'chinwag[bench]'")
    if path.suffix.lower() not in FORMATS:
        raise PlotError(f"{path} is no {', '.join(FORMATS)} file.", "Name one, like --plot latency.png")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise PlotError(f"{path} is not a file in a folder that exists.", "Make the folder or name another.")


def latency(result: dict[str, Any], path: Path) -> None:
    """How many turns were answered by when, and the median of each stage on the same axis."""
    figure, axes = make_figure(7.5, 4.2)
    # a run over both transports holds the figures of each
    both: dict[str, Any] = {name: result[name] for name in ("websocket", "webrtc") if name in result}
    runs = both or {"voice to voice": result}
    for (label, run), style in zip(runs.items(), ("-", "--"), strict=False):
        times = sorted(turn["voice_to_voice_ms"] for turn in run["per_turn"] if turn["voice_to_voice_ms"] is not None)
        shares = [(place + 1) / len(times) for place in range(len(times))]
        axes.step([0, *times], [0, *shares], style, where="post", color=COLOURS["chinwag"], linewidth=2, label=label)
    result = next(iter(runs.values()))
    for goal, height in ((250, 0.5), (500, 0.95)):
        axes.plot([goal], [height], "x", color=CUT_IN, markersize=9)
        axes.annotate(f"goal {goal} ms", (goal, height), (6, -12), textcoords="offset points", fontsize=8, color=CUT_IN)
    for place, (stage, at) in enumerate(result["stages_ms"].items()):
        if at is not None:
            axes.axvline(at, color="0.7", linewidth=0.8, zorder=0)
            axes.text(at, 0.02 + 0.06 * (place % 4), f" {stage.replace('_', ' ')}", fontsize=7, color="0.35")
    axes.set(xlabel="ms from the end of the speech", ylabel="share of the turns", ylim=(0, 1.02), xlim=(0, None))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_title(f"{result['turns']} turns: answered at the ear after …", fontsize=10)
    save_figure(figure, path)


def load(result: dict[str, Any], path: Path) -> None:
    """What each number of talkers waits for, and the cores that it takes."""
    figure, axes = make_figure(7.5, 4.2)
    steps = result["steps"]
    come = [step["sessions"] for step in steps]
    places = range(len(steps))
    for quantile, style in (("p50", "--"), ("p95", "-")):
        times = [step["voice_to_voice_ms"][quantile] for step in steps]
        axes.plot(
            places, times, f"o{style}", color=COLOURS["chinwag"], linewidth=2, label=f"voice to voice, {quantile}"
        )
    axes.axhline(1000, color=CUT_IN, linewidth=0.8, linestyle=":", label="goal for p95 at 8")
    names = [
        f"{n}" if step["admitted"] == n else f"{n} ({step['admitted']} in)" for n, step in zip(come, steps, strict=True)
    ]
    axes.set_xticks(list(places), names)
    axes.set(xlabel="people who come to talk", ylabel="ms", ylim=(0, None))
    busy = axes.twinx()
    cores = [step["cores_busy"] or 0.0 for step in steps]
    busy.bar(places, cores, width=0.4, color="0.85", zorder=0)
    busy.set(ylabel="cores the server takes", ylim=(0, None))
    axes.set_zorder(busy.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_title("Voice to voice by how many talk at once", fontsize=10)
    save_figure(figure, path)


def turns(result: dict[str, Any], path: Path) -> None:
    """Cut-offs against delay, a curve for each detector; a dot where it really works."""
    figure, axes = make_figure(7.5, 4.8)
    for name, label in NAMES.items():
        figures = result.get(name, {})
        if not figures.get("curve"):
            continue
        colour = COLOURS[name]
        _curve(axes, figures["curve"], colour, "-", label)
        if "tuned" in figures:
            _curve(axes, figures["tuned"]["curve"], colour, ":", f"{label}, its three times tuned on these turns")
        live = figures["live"]
        axes.plot([live["delay_ms"]], [100 * live["cutoff"]], "o", color=colour, markersize=7)
    axes.axhline(5, color="0.75", linewidth=0.8, zorder=0)
    axes.axvline(300, color="0.75", linewidth=0.8, zorder=0)
    axes.set(xlabel="mean delay of the decision, ms", ylabel="turns cut off, %", xlim=(0, 1500), ylim=(0, None))
    axes.set_title(f"{result['turns']} turns; dots: as it works", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def _curve(axes: Axes, points: Sequence[dict[str, Any]], colour: str, line: str, label: str) -> None:
    delays, cutoffs = [point["delay_ms"] for point in points], [100 * point["cutoff"] for point in points]
    axes.step([*delays, 10_000], [*cutoffs, cutoffs[-1]], line, where="post", color=colour, linewidth=2, label=label)


def interrupt(result: dict[str, Any], path: Path) -> None:
    """How many interruptions the reply had yielded to by when, for both kinds of client."""
    figure, axes = make_figure(7.5, 4.2)
    for name, figures, colour in (("page", result, "#1b7837"), ("stock client", result["stock"], "#7570b3")):
        plain = [trial for trial in figures["per_trial"] if trial["kind"] == "interruption" and not trial["void"]]
        for key, line, what in (("yield_ms", "-", "12 dB lower or silent"), ("stopped_ms", ":", "silent")):
            times = sorted(trial[key] for trial in plain if trial["yielded"] and trial[key] is not None)
            shares = [(place + 1) / len(plain) for place in range(len(times))]
            axes.step([0, *times], [0, *shares], line, where="post", color=colour, linewidth=2, label=f"{name}: {what}")
    for goal, height in ((200, 0.5), (350, 0.95)):
        axes.plot([goal], [height], "x", color=CUT_IN, markersize=9)
        axes.annotate(f"goal {goal} ms", (goal, height), (6, -12), textcoords="offset points", fontsize=8, color=CUT_IN)
    axes.set(xlabel="ms from the first sound of the interruption", ylabel="share of the interruptions")
    axes.set(xlim=(0, None), ylim=(0, 1.02))
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save_figure(figure, path)


def make_figure(width: float, height: float, rows: int = 1) -> tuple[Figure, Any]:
    """Return an empty figure (inches) and its axes: one object for one row, else a list from top to bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes[0] if rows == 1 else axes


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure in the format that the file's suffix names. Raises PlotError."""
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise PlotError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder you may write to."
        ) from None
