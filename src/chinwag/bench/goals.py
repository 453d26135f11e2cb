"""What the figures are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SOURCE = "the project's issue “Take turns like a person”"


@dataclass(frozen=True, slots=True)
class Goal:
    """key: where the figure is in the result. scale: of the printed number. note: in place of a fixed limit."""

    what: str
    key: tuple[str | int, ...]
    sense: Literal["<=", ">="]
    limit: float
    unit: Literal["ms", "%"]
    note: str = ""

    def value(self, result: dict[str, Any]) -> float | None:
        """The figure; None where there is none."""
        found: Any = result
        for step in self.key:
            if isinstance(found, list) and isinstance(step, int):
                found = found[step]
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found if isinstance(found, int | float) else None

    def met(self, result: dict[str, Any]) -> bool | None:
        """Whether the figure reaches the goal; None where there is no figure."""
        value = self.value(result)
        if value is None:
            return None
        return value <= self.limit if self.sense == "<=" else value >= self.limit


def _ms(what: str, limit: float, *key: str | int) -> Goal:
    return Goal(what, key, "<=", limit, "ms")


LATENCY = (
    _ms("voice to voice, p50", 250, "voice_to_voice_ms", "p50"),
    _ms("voice to voice, p95", 500, "voice_to_voice_ms", "p95"),
    _ms("first partial, p50", 400, "first_partial_ms", "p50"),
    _ms("between partials, p50", 200, "partial_period_ms", "p50"),
)

TRANSPORTS = (
    _ms("WebRTC later than WebSocket, p50", 60, "later_ms", "p50"),
    *(_ms(f"voice to voice, p50, {name}", 250, name, "voice_to_voice_ms", "p50") for name in ("websocket", "webrtc")),
)
"""The first is that of the project's issue “Every Realtime client”."""

HALF_OF_SMART_TURN = 0.5


def turns(result: dict[str, Any]) -> tuple[Goal, ...]:
    """The goals of `turns`; one of them hangs on what Smart Turn alone reached in the same run."""
    other = result.get("smart_turn", {}).get("cutoff_at_300ms")
    goals = (
        Goal("cut in", ("chinwag", "cut_in_rate"), "<=", 0.05, "%"),
        _ms("voice to voice, p50", 250, "chinwag", "voice_to_voice_ms", "p50"),
        _ms("voice to voice, p95", 500, "chinwag", "voice_to_voice_ms", "p95"),
    )
    if other is None:
        return goals
    limit = other * HALF_OF_SMART_TURN
    return (*goals, Goal("cut-offs at 300 ms, half of Smart Turn's", ("chinwag", "cutoff_at_300ms"), "<=", limit, "%"))


def _interrupt(*path: str) -> tuple[Goal, ...]:
    return (
        _ms("yields after, p50", 200, *path, "yield_ms", "p50"),
        _ms("yields after, p95", 350, *path, "yield_ms", "p95"),
        Goal("yields", (*path, "yield_rate"), ">=", 0.98, "%"),
        Goal("backchannels ignored", (*path, "backchannel_ignored_rate"), ">=", 0.90, "%"),
        Goal("goes on as it should", (*path, "resumed_correctly_rate"), ">=", 0.95, "%"),
        Goal("its own echo ignored", (*path, "echo_ignored_rate"), ">=", 0.95, "%"),
    )


INTERRUPT_PAGE, INTERRUPT_STOCK = _interrupt(), _interrupt("stock")


MANY, SURPLUS = 8, 16
"""Talkers that two cores are to serve well, and a crowd that must not make it worse for those who are in."""
ANSWERED_WITHIN_MS = 1000


def load(result: dict[str, Any]) -> tuple[Goal, ...]:
    """The goals of `load`, of the steps that were held."""
    held = {step["sessions"]: place for place, step in enumerate(result["steps"])}
    goals: list[Goal] = []
    if MANY in held:
        many = held[MANY]
        goals.append(
            _ms(f"voice to voice, p95, {MANY} talk", ANSWERED_WITHIN_MS, "steps", many, "voice_to_voice_ms", "p95")
        )
        limit = result["steps"][many]["voice_to_voice_ms"]["p95"]
        if SURPLUS in held and limit is not None:
            path = ("steps", held[SURPLUS], "voice_to_voice_ms", "p95")
            goals.append(_ms(f"the same for those who are in, {SURPLUS} come", limit, *path))
    return tuple(goals)


def verdicts(result: dict[str, Any], goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Each goal with its figure and whether it is met, for the JSON."""
    return [
        {"goal": goal.what, "limit": goal.limit, "measured": goal.value(result), "met": goal.met(result)}
        for goal in goals
    ]
