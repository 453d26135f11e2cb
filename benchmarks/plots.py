"""Plots of the engines' figures and of a recorded conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chinwag.bench.plots import COLOURS, CUT_IN, PlotError, make_figure, save_figure

TITLES = {
    "vad": "voice activity: one frame", "turn": "end of turn: one judgement", "stt": "transcriber: one second to words",
    "llm": "language model: first word, no prefill", "tts": "voice: first sound of a sentence",
}  # fmt: skip
PERSON, ANSWER, DUCKED_COLOUR = "#4575b4", "#1b7837", "#a6d96a"


def timeline(story: dict[str, Any], path: Path) -> None:
    """A conversation in rows of half a minute: who speaks when, and from the end of the speech to the answer.

    Light green where the answer was ducked, a red mark where it began before the person was done.
    """
    row_s = 30.0
    rows = max(int(-(-story["seconds"] // row_s)), 1)
    figure, first = make_figure(12, 1.5 * rows + 0.6, rows)
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
    save_figure(figure, path)


def engines(result: dict[str, Any], path: Path) -> None:
    """The time to each engine's first result, a panel a task, with words wrong or tokens a second beside it."""
    good = [entry for entry in result["engines"] if entry.get("first_ms") is not None]
    tasks = [task for task in TITLES if any(entry["task"] == task for entry in good)]
    if not tasks:
        raise PlotError("No engine could be measured, so there is nothing to draw.", "See the reasons above.")
    figure, panels = make_figure(7.5, 0.9 + 0.45 * len(good) + 0.5 * len(tasks), rows=len(tasks))
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
    save_figure(figure, path)
