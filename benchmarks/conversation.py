"""A scripted conversation, held live and recorded: both sides as sound, and what happened when."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.corpora import SCRIPT, ScriptLine
from chinwag.audio import WIRE_RATE, Audio
from chinwag.audio.g711 import G711
from chinwag.bench.corpus import Recording
from chinwag.bench.latency import measure
from chinwag.bench.talker import NOISE_DBFS, SimulatedUser, TurnLog, connect_user
from chinwag.client_sdk.client import ClientError, room_noise
from chinwag.client_sdk.local_server import fetch_status
from chinwag.client_sdk.playback import AUDIBLE, ListenerPlayback
from chinwag.client_sdk.wav import WavError

INSTRUCTIONS = "You are in a spoken conversation. Answer in two or three short sentences, never in a list."
LAST_LINE_BY = 105.0
"""Seconds after which no other line is begun but the last one."""
ANSWER_WITHIN, ANSWER_LASTS = 15.0, 60.0
JOINED = 0.25
"""Seconds of silence inside an answer that are drawn as a part of it."""
LARGEST = 4_000_000
"""Bytes of the recording."""
MU_LAW = G711("mu")
RECORDED_EVENTS = (
    "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
    "conversation.item.input_audio_transcription.completed", "response.created", "response.done",
    "chinwag.duck", "chinwag.resume", "chinwag.pause", "chinwag.trace", "error",
)  # fmt: skip
"""Events that the JSON keeps."""


async def run(
    url: str,
    recordings: Sequence[Recording],
    wav: Path,
    *,
    api_key: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Hold the conversation, write its sound, and return its story (see `story`), `server` and `engines`.

    wav: stereo, the person left, the answer at their ear right. tell: is given each line as it is spoken.
    Raises ClientError where no conversation comes about, WavError where the file cannot be written.
    """
    named = {recording.name: recording for recording in recordings}
    logs: list[TurnLog] = []
    session = {"type": "session.update", "session": {"type": "realtime", "instructions": INSTRUCTIONS}}
    async with connect_user(url, api_key=api_key, setup=[session]) as talker:
        with contextlib.suppress(ClientError):  # what was recorded until the server went away is kept
            for place, line in enumerate(SCRIPT):
                if talker.now() - talker.client.time_of(0) < LAST_LINE_BY or place == len(SCRIPT) - 1:
                    tell(line.text)
                    await _hold_line(talker, named[f"line-{place}"], line, named, logs)
        told = make_story(talker, logs)
        write_stereo(wav, *both_sides(talker, logs, told["seconds"]))
    status = await fetch_status(url, api_key) or {}
    return {
        **told,
        "server": {key: status.get("process", {}).get(key) for key in ("rss_mb", "cpu_seconds", "startup_s")},
        "engines": {task: engine["name"] for task, engine in status.get("engines", {}).items()},
    }


async def _hold_line(
    talker: SimulatedUser, recording: Recording, line: ScriptLine, named: dict[str, Recording], logs: list[TurnLog]
) -> None:
    if not line.into:
        logs.append(await talker.hold_turn(recording))
        return
    earlier, first = set(talker.playback.onsets()), len(talker.events)
    log = talker.speak(recording)
    logs.append(log)

    def answers() -> list[float]:
        log.onsets = {item: at for item, at in talker.playback.onsets().items() if item not in earlier}
        log.events = talker.events[first:]
        return [at for at in log.onsets.values() if at >= log.end]

    if not await talker.listen_until(lambda: bool(answers()), log.end + ANSWER_WITHIN - talker.now()):
        log.error = f"no answer within {ANSWER_WITHIN:.0f} s"
        return
    await talker.listen_until(lambda: talker.now() >= answers()[0] + line.when, line.when + 1)
    into = named[line.into]
    if into.truth.kind == "interruption":
        answers()
        logs.append(await talker.hold_turn(into))
        return
    noise = talker.speak(into)
    logs.append(noise)
    await talker.listen_until(lambda: talker.now() > noise.end and talker.is_quiet(), ANSWER_LASTS)
    await talker.listen(1.0)
    answers()


def make_story(talker: SimulatedUser, logs: Sequence[TurnLog]) -> dict[str, Any]:
    """What happened, in seconds from the first sample of the microphone.

    person, answer: stretches of sound. ducked: stretches of the answer at lower volume. cut_ins: first sounds of
    answers while the person was not done. turns: each line with its times. events: what the server said meanwhile.
    """
    zero = talker.client.time_of(0)
    turns = []
    person: list[list[float]] = []
    cut_ins: list[float] = []
    for log in logs:
        truth = log.recording.truth
        start = log.end_sample / WIRE_RATE - truth.speech_end_ms / 1000
        edges = [log.begin - zero, *[start + at / 1000 for pause in truth.pauses_ms for at in pause], log.end - zero]
        person += [[round(a, 3), round(b, 3)] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        cut_ins += [round(at - zero, 3) for at in log.onsets.values() if at < log.end]
        turn = {"text": truth.text, "kind": truth.kind, "begin": edges[0], "end": edges[-1]}
        wanted = truth.kind in ("turn", "interruption")
        figures = measure(log) if wanted else dict.fromkeys(("voice_to_voice_ms", "transcript", "reply", "error"))
        keys = ("voice_to_voice_ms", "transcript", "reply", "error")
        turns.append({**turn, **{key: figures[key] for key in keys}})
    events = [
        {"at": round(arrived.at - zero, 3), **{key: value for key, value in arrived.event.items() if key != "event_id"}}
        for arrived in talker.events
        if arrived.type in RECORDED_EVENTS
    ]
    seconds = round(talker.now() - zero, 3)
    return {
        "seconds": seconds,
        "person": person,
        "answer": _loud_spans(talker.playback, zero, seconds),
        "ducked": _ducked_spans(talker.playback, zero, seconds),
        "cut_ins": cut_ins,
        "turns": turns,
        "events": events,
    }


def _loud_spans(ear: ListenerPlayback, zero: float, seconds: float) -> list[list[float]]:
    loud = np.flatnonzero(np.abs(ear.audio_heard(zero, round(seconds * WIRE_RATE))) > AUDIBLE) / WIRE_RATE
    if not len(loud):
        return []
    gaps = np.flatnonzero(np.diff(loud) > JOINED)
    begins, ends = [loud[0], *loud[gaps + 1]], [*loud[gaps], loud[-1]]
    return [[round(float(a), 3), round(float(b), 3)] for a, b in zip(begins, ends, strict=True)]


def _ducked_spans(ear: ListenerPlayback, zero: float, seconds: float) -> list[list[float]]:
    changes = [(moment - zero, factor) for moment, factor in ear.volumes] + [(seconds, 1.0)]
    return [[round(at, 3), round(until, 3)] for (at, factor), (until, _) in itertools.pairwise(changes) if factor < 1]


def both_sides(talker: SimulatedUser, logs: Sequence[TurnLog], seconds: float) -> tuple[Audio, Audio]:
    """The person and the answer at their ear, 24 kHz."""
    count = round(seconds * WIRE_RATE)
    person = room_noise(count, NOISE_DBFS)
    for log in logs:
        first = log.end_sample - log.recording.end
        part = log.recording.audio.pcm[: max(count - first, 0)]
        person[first : first + len(part)] = part
    return Audio(person, WIRE_RATE), Audio(talker.playback.audio_heard(talker.client.time_of(0), count), WIRE_RATE)


def write_stereo(path: Path, left: Audio, right: Audio) -> None:
    """Write a stereo WAV of G.711 mu-law at 16 kHz, or at 12 kHz where it would be too large. Raises WavError."""
    rate = 16_000 if 2 * 16_000 * left.seconds < LARGEST else 12_000
    sides = [np.frombuffer(MU_LAW.encode(side.resampled(rate)), np.uint8) for side in (left, right)]
    data = np.stack(sides, axis=1).tobytes()
    # 7 is WAVE_FORMAT_MULAW, for which the format chunk has an extension, here empty (RFC 2361)
    form = struct.pack("<HHIIHHH", 7, 2, rate, 2 * rate, 2, 8, 0)
    fact = struct.pack("<I", len(data) // 2)
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body for name, body in ((b"fmt ", form), (b"fact", fact), (b"data", data))
    )
    try:
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    except OSError as error:
        raise WavError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder you may write to."
        ) from None


def show(result: dict[str, Any], console: Console) -> None:
    """Print the conversation line by line."""
    for turn in result["turns"]:
        time = turn["voice_to_voice_ms"]
        after = "" if time is None else f"  ({time:.0f} ms)"
        console.print(f"{turn['begin']:6.1f} s  {turn['text']}{after}", highlight=False, markup=False)
        if turn["reply"]:
            console.print(f"          → {turn['reply']}", style="dim", highlight=False, markup=False)
        if turn["error"]:
            console.print(f"          failed: {turn['error']}", style="red", markup=False)
    console.print(f"{result['seconds']:.0f} s, cut in {len(result['cut_ins'])} times", highlight=False)
