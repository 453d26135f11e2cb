"""How often it answers into a pause, and how soon after the end: Chinwag's detector and two baselines on one corpus.

Each detector holds its own conversation with the same server, engines and recordings; only the turn detection differs:

- `chinwag`: what the server does by itself;
- `silence_800`: `server_vad` with 800 ms of silence;
- `smart_turn`: Smart Turn alone, P(finished) > 0.5 for 200 ms of silence, else 3 s, as Pipecat has it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chinwag.audio import WIRE_RATE
from chinwag.bench import curves
from chinwag.bench.corpus import Recording
from chinwag.bench.curves import Judgement, Point, Silence
from chinwag.bench.latency import measure as measure_latency
from chinwag.bench.metrics import share, spread
from chinwag.bench.talker import BenchConversation, TurnLog, hold_conversation
from chinwag.client_sdk.client import ClientError

INSTRUCTIONS = "You are in a spoken conversation. Answer in one short sentence."
"""Keeps a run of three conversations short. The same for all three."""

CUTOFF_AT_MS, DELAY_AT = 300.0, 0.05
"""The operating points that are told, as in eot-bench."""

NEAR_MS = 400.0
"""A judgement belongs to the true silence that begins nearest to where the server heard one begin, if so near."""


class Detector(NamedTuple):
    """turn_detection: of the session.update, None to leave it. events: sent behind that."""

    turn_detection: dict[str, Any] | None
    events: tuple[dict[str, Any], ...]
    curve: Callable[[Sequence[curves.Turn]], list[Point]]
    live: curves.Policy


SILENCE_MS = 800
DETECTORS = {
    "chinwag": Detector(None, (), curves.waiting_curve, curves.waiting()),
    "silence_800": Detector(
        {"type": "server_vad", "silence_duration_ms": SILENCE_MS}, (), curves.silence_curve, curves.silent(SILENCE_MS)
    ),
    "smart_turn": Detector(
        None, ({"type": "chinwag.detector", "detector": "ear"},), curves.scoring_curve, curves.scoring()
    ),
}


async def run(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    on_turn: Callable[[str, dict[str, Any]], None] = lambda detector, turn: None,
) -> dict[str, Any]:
    """Hold one conversation for each detector, and measure each.

    on_turn: is given the detector and a turn's figures as it ends.
    Returns {"turns", each detector's figures by its name (see `figures`), "server", "engines"}. A detector that the
    server refuses has an `error` and no figures. Raises ClientError where the first conversation does not come about.
    """
    result: dict[str, Any] = {"turns": turns}
    held: BenchConversation | None = None
    for name, detector in DETECTORS.items():
        session: dict[str, Any] = {"type": "realtime", "instructions": INSTRUCTIONS}
        if detector.turn_detection is not None:
            session["audio"] = {"input": {"turn_detection": detector.turn_detection}}
        setup = [{"type": "session.update", "session": session}, *detector.events]

        def keep(log: TurnLog, name: str = name) -> None:
            on_turn(name, measure_latency(log))

        try:
            talk = await hold_conversation(url, recordings, turns, api_key=api_key, setup=setup, on_turn=keep)
        except ClientError as error:
            if held is None:
                raise
            result[name] = {"error": error.message}
            continue
        held = held or talk
        result[name] = figures(talk.logs, detector)
    assert held is not None
    return {**result, "server": held.server(), "engines": held.engines()}


def figures(logs: Sequence[TurnLog], detector: Detector) -> dict[str, Any]:
    """A detector's figures.

    cut_in_rate: share of turns in which a sound of an answer reached the ear before the end of the speech, in a pause
    or over words. voice_to_voice_ms: as in `latency`. cutoff_at_300ms, delay_at_5pct_ms: from the curve (`curves.py`
    says what is counted); None and empty where the server logs no judgements. live: the point on the axes of the
    curve at which the detector really works. unjudged: ends at which it logged no judgement.
    """
    measured = [measure_latency(log) for log in logs]
    turns = [silences(log) for log in logs if log.end_sample]
    by_silence = detector.curve is curves.silence_curve
    logged = by_silence or any(silence.judgements for turn in turns for silence in turn)
    curve = detector.curve(turns) if logged else []
    live = curves.measure(turns, detector.live, "live")
    told: dict[str, Any] = {
        "cut_in_rate": share(sum(turn["cut_in"] for turn in measured), len(measured)),
        "voice_to_voice_ms": spread([turn["voice_to_voice_ms"] for turn in measured]),
        "cutoff_at_300ms": curves.cutoff_at(curve, CUTOFF_AT_MS),
        "delay_at_5pct_ms": curves.delay_at(curve, DELAY_AT),
        "failed": sum(turn["error"] is not None for turn in measured),
        "live": _point_json(live) if logged else None,
        "curve": [_point_json(point) for point in curve],
    }
    if not by_silence:
        told["unjudged"] = sum(not turn[-1].judgements for turn in turns)
    if detector.curve is curves.scoring_curve and logged:
        tuned = curves.tuned_scoring_curve(turns)
        told["tuned"] = {
            "cutoff_at_300ms": curves.cutoff_at(tuned, CUTOFF_AT_MS),
            "delay_at_5pct_ms": curves.delay_at(tuned, DELAY_AT),
            "curve": [_point_json(point) for point in tuned],
        }
    judged = [
        {**turn, "silences": [_silence_json(one) for one in silences(log)] if log.end_sample else []}
        for log, turn in zip(logs, measured, strict=True)
    ]
    return {**told, "per_turn": judged}


def silences(log: TurnLog) -> tuple[Silence, ...]:
    """The pauses and the end of a turn, each with the judgements that the server logged (`chinwag.pause`)."""
    truth = log.recording.truth
    zero = log.end_sample * 1000 / WIRE_RATE - truth.speech_end_ms
    begins = [begin + zero for begin, _ in truth.pauses_ms] + [truth.speech_end_ms + zero]
    lengths = [end - begin for begin, end in truth.pauses_ms] + [None]
    judgements: list[list[Judgement]] = [[] for _ in begins]
    for arrived in log.events:
        if arrived.type != "chinwag.pause":
            continue
        event = arrived.event
        place = _nearest(begins, event["speech_end_ms"])
        heard = event["speech_end_ms"] - begins[place]
        if abs(heard) <= NEAR_MS:
            looks = event.get("looks") or {}
            score = looks.get("ear", event.get("finished"))
            at = event["silence_ms"] + heard
            judgements[place].append(Judgement(at, float(event["wait_ms"]), score, heard))
    return tuple(Silence(length, tuple(found)) for length, found in zip(lengths, judgements, strict=True))


def _nearest(begins: Sequence[float], at: float) -> int:
    right = min(bisect.bisect(begins, at), len(begins) - 1)
    left = max(right - 1, 0)
    return left if abs(begins[left] - at) <= abs(begins[right] - at) else right


def _point_json(point: Point) -> dict[str, Any]:
    return {"delay_ms": round(point.delay_ms, 1), "cutoff": round(point.cutoff, 4), "setting": point.setting}


def _silence_json(silence: Silence) -> dict[str, Any]:
    looks = [
        {"at_ms": round(look.at_ms, 1), "wait_ms": round(look.wait_ms, 1), "score": look.score,
         "heard_ms": round(look.heard_ms, 1)}
        for look in silence.judgements
    ]  # fmt: skip
    return {"length_ms": silence.length_ms, "judgements": looks}
