"""Converts `turn_detection` of the session object to session settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chinwag.conversation.settings import SessionSettings
from chinwag.errors import Refused
from chinwag.listening.endpointing.policy import PATIENCE, Endpointer, nearest_eagerness

SERVER_VAD = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500, "idle_timeout_ms": None}
"""OpenAI's defaults for `server_vad`."""

SHORTEST_IDLE_MS, LONGEST_IDLE_MS = 5_000, 30_000
"""OpenAI's limits for `idle_timeout_ms`."""

WHERE = "session.audio.input.turn_detection"


def complete(detection: dict[str, Any] | None, before: SessionSettings) -> dict[str, Any] | None:
    """Add the defaults to a client's turn detection. None: the client marks the turns itself (push to talk)."""
    if detection is None:
        return None
    eagerness = nearest_eagerness(before.listening.endpointer.patience)
    defaults = SERVER_VAD if detection["type"] == "server_vad" else {"eagerness": eagerness}
    answering = {"create_response": True, "interrupt_response": before.interruption != "off"}
    return {**defaults, **answering, **{key: value for key, value in detection.items() if value is not None}}


def apply(detection: dict[str, Any] | None, before: SessionSettings) -> SessionSettings:
    """Apply a complete turn detection to the settings. Raises Refused if a value is out of range."""
    if detection is None:
        return replace(before, listening=replace(before.listening, automatic=False))
    mode = before.interruption if before.interruption != "off" else "words"
    answering = replace(
        before,
        create_response=detection["create_response"],
        interruption=mode if detection["interrupt_response"] else "off",
        idle_s=_idle_s(detection.get("idle_timeout_ms")) or before.idle_s,
    )
    if detection["type"] == "server_vad":
        for key, lowest, highest in (
            ("threshold", 0, 1),
            ("prefix_padding_ms", 0, 10_000),
            ("silence_duration_ms", 0, 10_000),
        ):
            if not lowest <= detection[key] <= highest:
                raise Refused("invalid_value", f"{key} must be between {lowest} and {highest}.", param=f"{WHERE}.{key}")
        listening = replace(
            before.listening,
            automatic=True,
            threshold=max(0.05, detection["threshold"]),
            padding_s=detection["prefix_padding_ms"] / 1000,
            endpointer=Endpointer(fixed_s=detection["silence_duration_ms"] / 1000),
        )
    else:
        patience = (
            before.listening.endpointer.patience
        )  # eagerness names it only approximately, so an unchanged name keeps it
        if detection["eagerness"] != nearest_eagerness(patience):
            patience = PATIENCE[detection["eagerness"]]
        listening = replace(before.listening, automatic=True, endpointer=Endpointer(patience))
    return replace(answering, listening=listening)


def _idle_s(timeout_ms: int | None) -> float | None:
    if timeout_ms is None:
        return None
    if not SHORTEST_IDLE_MS <= timeout_ms <= LONGEST_IDLE_MS:
        message = f"idle_timeout_ms must be between {SHORTEST_IDLE_MS} and {LONGEST_IDLE_MS}."
        raise Refused("invalid_value", message, param=f"{WHERE}.idle_timeout_ms")
    return timeout_ms / 1000
