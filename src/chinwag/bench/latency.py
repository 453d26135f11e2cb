"""How long from the last sound of a question to the first sound of its answer, and where that time went."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from chinwag.audio import WIRE_RATE
from chinwag.bench.corpus import Recording
from chinwag.bench.metrics import percentile, spread, word_errors
from chinwag.bench.talker import TurnLog, hold_conversation
from chinwag.client_sdk.client import ReceivedEvent, Transport

BLOCK = 1
"""Turns in a call of one transport before the other has its turn: other work on the machine comes and goes."""

STAGES = ("turn_decided", "transcript_final", "first_token", "first_clause", "first_audio")


async def run(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    on_turn: Callable[[dict[str, Any]], None] = lambda turn: None,
    transport: Transport = "websocket",
) -> dict[str, Any]:
    """Hold one conversation of so many turns, going round the recordings, and measure each.

    on_turn: is given each turn's figures as it ends.
    Returns the figures (see `summarise`) with `server` (peak rss_mb over the run, cpu_seconds, startup_s) and
    `engines` as the server tells them. Raises ClientError where no conversation comes about at all.
    """
    measured: list[dict[str, Any]] = []

    def keep(log: TurnLog) -> None:
        measured.append({**measure(log), "transport": transport})
        on_turn(measured[-1])

    held = await hold_conversation(url, recordings, turns, api_key=api_key, on_turn=keep, transport=transport)
    return {"transport": transport, **summarise(measured), "server": held.server(), "engines": held.engines()}


async def run_both(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    on_turn: Callable[[dict[str, Any]], None] = lambda turn: None,
) -> dict[str, Any]:
    """The same turns over each transport, by turns, so that both see the same machine.

    Returns `websocket` and `webrtc`, each with the figures of `run`, `later_ms`: how much later an answer over WebRTC
    is, at p50 and p95 of each, and `server` and `engines`.
    """
    held: dict[Transport, list[dict[str, Any]]] = {"websocket": [], "webrtc": []}
    last: dict[str, Any] = {}
    for begin in range(0, turns, BLOCK):
        order = (begin // BLOCK) % 2
        for transport in (("websocket", "webrtc"), ("webrtc", "websocket"))[order]:
            some = [recordings[place % len(recordings)] for place in range(begin, min(begin + BLOCK, turns))]
            last = await run(url, some, len(some), api_key=api_key, on_turn=on_turn, transport=transport)
            held[transport] += last["per_turn"]
    both: dict[str, Any] = {name: summarise(measured) for name, measured in held.items()}
    ws, rtc = (both[name]["voice_to_voice_ms"] for name in ("websocket", "webrtc"))
    later = {q: None if ws[q] is None or rtc[q] is None else round(rtc[q] - ws[q], 1) for q in ("p50", "p95")}
    return {**both, "later_ms": later, "server": last["server"], "engines": last["engines"]}


def measure(log: TurnLog) -> dict[str, Any]:
    """A turn's figures; times in ms, None where there is nothing to measure.

    voice_to_voice_ms: from the last sample of the speech to the first audible sample of an answer that began after
    it; a turn with none but early answers is `cut_in` and has no such time.
    stages_ms: from the true end of the speech. The server counts from its own estimate of that end, so the
    difference between estimate and truth is added.
    """
    heard = _transcript(log.events)
    errors, words = word_errors(log.recording.truth.text, heard)
    after = [moment for moment in log.onsets.values() if moment >= log.end]
    partials = [
        arrived.at
        for arrived in log.events
        if arrived.type == "chinwag.transcript.partial"
        and arrived.event.get("text", "").strip()
        and arrived.at <= log.end
    ]
    failure = log.error or next(
        (
            f"the answer failed: {arrived.event['response'].get('status_details')}"
            for arrived in log.events
            if arrived.type == "response.done" and arrived.event["response"].get("status") == "failed"
        ),
        None,
    )
    if failure is None and not log.onsets:
        failure = "nothing was heard of the answer"
    return {
        "name": log.recording.name,
        "text": log.recording.truth.text,
        "transcript": heard,
        "reply": _reply(log.events),
        "voice_to_voice_ms": _ms(min(after) - log.end) if after else None,
        "first_partial_ms": _ms(partials[0] - log.begin) if partials else None,
        "partial_periods_ms": [_ms(b - a) for a, b in itertools.pairwise(partials)],
        "wer": round(errors / max(words, 1), 4),
        "word_errors": errors,
        "words": words,
        "stages_ms": _stages(log),
        "cut_in": any(moment < log.end for moment in log.onsets.values()),
        "error": failure,
    }


def summarise(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a run from those of its turns."""
    heard = [turn["voice_to_voice_ms"] for turn in turns]
    periods = [period for turn in turns for period in turn["partial_periods_ms"]]
    said = sum(turn["words"] for turn in turns)
    return {
        "turns": len(turns),
        "voice_to_voice_ms": spread(heard),
        "first_partial_ms": spread([turn["first_partial_ms"] for turn in turns]),
        "partial_period_ms": spread(periods),
        "wer": round(sum(turn["word_errors"] for turn in turns) / max(said, 1), 4),
        "stages_ms": {stage: percentile([turn["stages_ms"].get(stage) for turn in turns], 50) for stage in STAGES},
        "cut_in_rate": round(sum(turn["cut_in"] for turn in turns) / max(len(turns), 1), 4),
        "failed": sum(turn["error"] is not None for turn in turns),
        "per_turn": list(turns),
    }


def _transcript(events: Sequence[ReceivedEvent]) -> str:
    """The final words of every item of the turn that was not taken back, in order."""
    texts: dict[str, str] = {}
    for arrived in events:
        if arrived.type == "conversation.item.input_audio_transcription.completed":
            texts[arrived.event["item_id"]] = arrived.event["transcript"].strip()
        elif arrived.type == "conversation.item.deleted":
            texts.pop(arrived.event["item_id"], None)
    return " ".join(texts.values())


def _reply(events: Sequence[ReceivedEvent]) -> str:
    texts = [
        arrived.event["delta"]
        for arrived in events
        if arrived.type in ("response.output_audio_transcript.delta", "response.output_text.delta")
    ]
    return " ".join("".join(texts).split())


def _stages(log: TurnLog) -> dict[str, float]:
    traces = [arrived.event for arrived in log.events if arrived.type == "chinwag.trace"]
    if not traces:
        return {}
    late = traces[-1]["speech_end_ms"] - log.end_sample * 1000 / WIRE_RATE
    return {stage: round(at + late, 1) for stage, at in traces[-1]["stages_ms"].items() if at is not None}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
