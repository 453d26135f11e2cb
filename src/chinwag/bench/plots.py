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
TITLES = {
    "vad": "voice activity, a frame", "turn": "turn judge, a look", "stt": "hearing: one second to words",
    "llm": "thinking: first word, nothing read ahead", "tts": "speaking: first sound of a sentence",
}  # fmt: skip
PERSON, ANSWER, DUCKED_COLOUR, CUT_IN = "#4575b4", "#1b7837", "#a6d96a", "#d73027"


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
    figure, axes = _figure(7.5, 4.2)
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
    _save(figure, path)


def load(result: dict[str, Any], path: Path) -> None:
    """What each number of talkers waits for, and the cores that it takes."""
    figure, axes = _figure(7.5, 4.2)
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
    _save(figure, path)


def turns(result: dict[str, Any], path: Path) -> None:
    """Cut-offs against delay, a curve for each detector; a dot where it really works."""
    figure, axes = _figure(7.5, 4.8)
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
    _save(figure, path)


def _curve(axes: Axes, points: Sequence[dict[str, Any]], colour: str, line: str, label: str) -> None:
    delays, cutoffs = [point["delay_ms"] for point in points], [100 * point["cutoff"] for point in points]
    axes.step([*delays, 10_000], [*cutoffs, cutoffs[-1]], line, where="post", color=colour, linewidth=2, label=label)


def interrupt(result: dict[str, Any], path: Path) -> None:
    """How many interruptions the reply had yielded to by when, for both kinds of client."""
    figure, axes = _figure(7.5, 4.2)
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
    _save(figure, path)


def timeline(story: dict[str, Any], path: Path) -> None:
    """A conversation in rows of half a minute: who speaks when, and from the end of the speech to the answer.

    Light green where the answer was ducked, a red mark where it began before the person was done.
    """
    row_s = 30.0
    rows = max(int(-(-story["seconds"] // row_s)), 1)
    figure, first = _figure(12, 1.5 * rows + 0.6, rows)
    for row, axes in enumerate(first if isinstance(first, list) else [first]):
        begin, end = row * row_s, (row + 1) * row_s
        for key, lane, colour in (("person", 1, PERSON), ("answer", 0, ANSWER), ("ducked", 0, DUCKED_COLOUR)):
            bars = [(a, b - a) for a, b in story[key] if a < end and b > begin]
            axes.broken_barh(bars, (lane + 0.1, 0.6), facecolors=colour)
        axes.plot(story["cut_ins"], [0.4] * len(story["cut_ins"]), "v", color=CUT_IN, markersize=8)
        for turn in story["turns"]:
            if turn["voice_to_voice_ms"] is not None and begin <= turn["end"] < end:
                axes.text(turn["end"], 0.82, f"{turn['voice_to_voice_ms']:.0f} ms", fontsize=7, color="0.25")
            if begin <= turn["begin"] < end:
                late = turn["begin"] > end - 8
                place, side = (end, "right") if late else (turn["begin"], "left")
                axes.text(place, 1.75, turn["text"][:60], fontsize=7, color=PERSON, ha=side)
        axes.set(xlim=(begin, end), ylim=(0, 2.1), yticks=[0.4, 1.4])
        axes.set_yticklabels(["answer", "person"], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    _save(figure, path)


def engines(result: dict[str, Any], path: Path) -> None:
    """The time to each engine's first result, a panel a task, with words wrong or tokens a second beside it."""
    good = [entry for entry in result["engines"] if entry.get("first_ms") is not None]
    tasks = [task for task in TITLES if any(entry["task"] == task for entry in good)]
    if not tasks:
        raise PlotError("No engine could be measured, so there is nothing to draw.", "See the reasons above.")
    figure, panels = _figure(7.5, 0.9 + 0.45 * len(good) + 0.5 * len(tasks), rows=len(tasks))
    for axes, task in zip(panels if len(tasks) > 1 else [panels], tasks, strict=True):
        entries = sorted((e for e in good if e["task"] == task), key=lambda e: float(e["first_ms"]), reverse=True)
        names = [f"{entry['engine']} {entry['model']}".strip() for entry in entries]
        places, times = range(len(entries)), [entry["first_ms"] for entry in entries]
        axes.barh(places, times, height=0.6, color=COLOURS["chinwag"])
        late = [max(0.0, (entry["first_p95_ms"] or 0) - entry["first_ms"]) for entry in entries]
        axes.barh(places, late, left=times, height=0.15, color=COLOURS["smart_turn"])
        for place, entry in enumerate(entries):
            beside = [f"{entry['first_ms']:.3g} ms"]
            if entry.get("wer") is not None:
                beside.append(f"WER {entry['wer']:.1%}")
            if entry.get("tokens_per_s") is not None:
                beside.append(f"{entry['tokens_per_s']:.0f} tokens/s")
            end = max(entry["first_ms"], entry["first_p95_ms"] or 0)
            axes.text(end, place, "  " + ", ".join(beside), va="center", fontsize=7)
        axes.set(yticks=list(places), xlim=(0, 1.45 * max(e["first_p95_ms"] or e["first_ms"] for e in entries)))
        axes.set_yticklabels(names, fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_title(TITLES[task], fontsize=9, loc="left")
    (panels[-1] if len(tasks) > 1 else panels).set_xlabel("ms: median, and thin to the 95th percentile", fontsize=8)
    _save(figure, path)


def _figure(width: float, height: float, rows: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes[0] if rows == 1 else axes


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise PlotError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder you may write to."
        ) from None
