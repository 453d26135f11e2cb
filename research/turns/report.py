"""The tables and the plot of docs/turn-taking.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chinwag.listening.endpointing.parameters import Eagerness
from research.turns.policy import (
    TARGETS,
    Cost,
    Heard,
    cost,
    cut_off_at,
    delay_at,
    ear_alone,
    ear_waits,
    silence_alone,
    sweep,
    waits,
    waits_as_it_learns,
)
from research.turns.weigh import MADE, Result

SOURCES = {"made": MADE, "recorded": ("recorded",)}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 880, 380, 58, 44, 20, 52
LONGEST_S, MOST = 1.6, 0.6
COLOURS = {"Chinwag": "#1f6feb", "Smart Turn alone": "#d97706", "silence alone": "#7d8590"}


def tables(result: Result) -> str:
    """Markdown."""
    lines = ["| look | " + " | ".join(next(iter(result.aucs.values()))) + " |", "|---|---|---|---|"]
    lines += [
        f"| {name} | " + " | ".join(f"{v:.2f}" for v in found.values()) + " |" for name, found in result.aucs.items()
    ]
    for source, kinds in SOURCES.items():
        heard = result.heard.only(*kinds)
        ends = sum(point.finished for point in heard.points)
        lines += ["", f"{source}: {ends} ends, {len(heard.points) - ends} pauses", ""]
        lines += [
            "| | cut-offs at a mean delay of 300 ms | mean delay at 5 % cut-offs | at 10 % |",
            "|---|---|---|---|",
        ]
        for name, costs in curves(result, source).items():
            at_delay = f"{cut_off_at(costs, 0.3):.0%}"
            lines.append(f"| {name} | {at_delay} | {_ms(delay_at(costs, 0.05))} | {_ms(delay_at(costs, 0.1))} |")
        lines += [
            "",
            "| setting | pauses cut off | cut-offs a turn | delay p50 | p95 | mean | ear asked |",
            "|---|---|---|---|---|---|---|",
        ]
        for eagerness in TARGETS:
            lines.append(_row(eagerness, operating(result, heard, eagerness)))
        if source == "recorded":
            learnt = waits_as_it_learns(heard, result.numbers.waiting, "auto", result.numbers.pauses)
            lines.append(_row("auto, and it learns", cost(heard.points, learnt, math.nan)))
        ear = np.array([point.ear for point in heard.points])
        lines.append(_row("Smart Turn at 0.5", cost(heard.points, ear_waits(ear, 0.5), 1.0)))
        lines.append(_row("800 ms of silence", cost(heard.points, np.full(len(heard.points), 0.8))))
    return "\n".join(lines)


def operating(result: Result, heard: Heard, eagerness: Eagerness) -> Cost:
    """What a setting costs, for a speaker who is not known yet."""
    decided, asked = waits(heard, result.numbers.waiting, eagerness, result.numbers.pauses)
    return cost(heard.points, decided, asked)


def _row(name: str, found: Cost) -> str:
    median, late = np.quantile(found.delays, [0.5, 0.95])
    asked = "–" if math.isnan(found.asked) else f"{found.asked:.0%}"
    delays = map(_ms, (median, late, found.delay))
    return f"| {' | '.join([name, f'{found.cut_off:.1%}', f'{found.a_turn:.1%}', *delays, asked])} |"


def curves(result: Result, source: str) -> dict[str, list[Cost]]:
    """Every way of deciding, over all its settings."""
    heard = result.heard.only(*SOURCES[source])
    return {
        "Chinwag": sweep(heard, result.numbers.waiting, result.numbers.pauses),
        "Smart Turn alone": ear_alone(heard.points),
        "silence alone": silence_alone(heard.points),
    }


def draw(result: Result) -> str:
    """Share of pauses cut off against mean delay, a panel for each source, as SVG."""
    titles = {"made": "Made voices, pauses of 300 to 1200 ms", "recorded": "Recorded people, meetings and talks"}
    panel = WIDTH / len(SOURCES)
    body = [
        _panel(curves(result, source), titles[source], place * panel, panel) for place, source in enumerate(SOURCES)
    ]
    style = "text{font:13px system-ui,sans-serif;fill:#57606a}.t{font-weight:600;font-size:14px}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    label = 'aria-label="Share of pauses cut off against the mean delay at ends">'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    return "\n".join([f"{head} {label}", f"<style>{style}</style>", background, *body, "</svg>", ""])


def _panel(costs: dict[str, list[Cost]], title: str, left: float, width: float) -> str:
    x0, x1, y0, y1 = left + LEFT, left + width - RIGHT, HEIGHT - BOTTOM, TOP

    def x(seconds: float) -> float:
        return x0 + (x1 - x0) * seconds / LONGEST_S

    def y(share: float) -> float:
        return y0 + (y1 - y0) * share / MOST

    parts = [f'<text class="t" x="{x0}" y="{TOP - 18}">{title}</text>']
    for share in np.arange(0.0, MOST + 0.01, 0.1):
        parts.append(f'<line x1="{x0}" x2="{x1}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x0 - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    parts += [
        f'<text x="{x(seconds):.1f}" y="{y0 + 18}" text-anchor="middle">{seconds * 1000:.0f}</text>'
        for seconds in np.arange(0.0, LONGEST_S + 0.01, 0.4)
    ]
    parts.append(f'<text x="{(x0 + x1) / 2}" y="{y0 + 38}" text-anchor="middle">mean delay at ends, ms</text>')
    for place, (name, points) in enumerate(costs.items()):
        frontier = _frontier(points)
        path = " ".join(
            f"{x(delay):.1f},{y(share):.1f}" for delay, share in frontier if delay <= LONGEST_S and share <= MOST
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2.5"/>')
        at = f'x="{x1}" y="{TOP + 16 + 19 * place}" text-anchor="end"'
        parts.append(f'<text {at} style="fill:{COLOURS[name]}">{name}</text>')
    return "\n".join(parts)


def _frontier(costs: Sequence[Cost]) -> list[tuple[float, float]]:
    """(delay, share) of those that none is better than in both."""
    best: list[tuple[float, float]] = []
    for delay, share in sorted((found.delay, found.cut_off) for found in costs):
        if not best or share < best[-1][1]:
            best.append((delay, share))
    return best


def _ms(seconds: float) -> str:
    return "never" if math.isnan(seconds) else f"{seconds * 1000:.0f} ms"
