"""What became of a reply into which somebody spoke, coughed, or which the microphone heard: read off the ear.

Moments are seconds of the call's clock, sound is 24 kHz. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chinwag.audio import WIRE_RATE, Samples
from chinwag.bench.corpus import SPEECH
from chinwag.bench.metrics import word_errors
from chinwag.client_sdk.client import ReceivedEvent
from chinwag.client_sdk.playback import AUDIBLE, ListenerPlayback

TrialKind = Literal["interruption", "backchannel", "noise", "echo", "echo_interruption"]

LOWER = 10 ** (-12 / 20)
"""A reply that is 12 dB lower has made room."""
YIELD_WITHIN = 2.0
"""Seconds from the interruption's first sound in which the reply has to be silent, and beyond which it has to last."""
SETTLE = 1.0
"""Seconds after a backchannel or noise by which the reply has to be back at full volume."""
WINDOW = WIRE_RATE // 50
STEP_DB = 7.0
"""Half of the 14 dB of ducking: a reply whose loud moments lie lower than before by more was left attenuated."""
SAME = 0.998
"""Correlation of two pieces of 100 ms from which on one is the other again."""
REMEMBERED = 3.0
"""Seconds back in which a repetition is looked for."""


@dataclass(slots=True)
class Trial:
    """A reply and what was put into it. item: the reply's. onset: of its sound. begin, end: of what was put in."""

    kind: TrialKind
    name: str
    text: str
    extended: bool
    playback: ListenerPlayback
    events: Sequence[ReceivedEvent] = ()
    item: str = ""
    response: str = ""
    onset: float = 0.0
    begin: float = 0.0
    end: float = 0.0
    error: str | None = None
    connected: bool = False


def judge_trial(trial: Trial) -> dict[str, Any]:
    """A trial's figures. Those that do not apply to its kind are None.

    void: the reply was over by itself before it could be seen whether it yields or goes on; not counted.
    yield_ms: from the first sample of the interruption to the end of the reply's last moment at full volume: from then
    on it is silent, or at least 12 dB lower, for good. With Chinwag's own events the volume is known exactly; a stock
    client is sent lowered sound, so there 20 ms count as full volume when they are less than 12 dB below a loud 20 ms
    of what was heard before (the 95th percentile). On Kokoro speech that was cut or lowered at a known moment, that
    tells the moment itself in half of the cases, and one more than 60 ms before it in a tenth. stopped_ms: to its last
    audible sample. yielded: it was stopped, and silent within two seconds.
    ignored: the reply was completed, nothing of it was dropped, nothing else was answered, no user turn was made of it.
    resumed: and one second after the noise it was at full volume, and no sound came twice. Sound that the server might
    leave out cannot be seen from here.
    """
    told: dict[str, Any] = {
        "kind": trial.kind,
        "name": trial.name,
        "text": trial.text,
        "transcript": _transcript(trial),
        "words_wrong": None,
        "yield_ms": None,
        "stopped_ms": None,
        "yielded": None,
        "ignored": None,
        "resumed": None,
        "why": None,
        "ducks": sum(factor < 1 for _, factor in trial.playback.volumes),
        "void": False,
        "error": trial.error,
    }
    if trial.error:
        return told
    last = _sound_end(trial)
    status = _status(trial)
    if trial.kind in ("interruption", "echo_interruption"):
        told["void"] = status != "cancelled" and last < trial.begin + YIELD_WITHIN
        told["stopped_ms"] = _ms(max(last - trial.begin, 0.0))
        told["yielded"] = status == "cancelled" and last <= trial.begin + YIELD_WITHIN
        if told["yielded"]:
            told["yield_ms"] = _ms(_last_full(trial))
            errors, words = word_errors(trial.text, told["transcript"])
            told["words_wrong"] = [errors, words]
        return told
    why = _disturbed(trial, status)
    told["void"] = why is None and trial.kind != "echo" and last < trial.end + SETTLE
    told["ignored"] = why is None
    if why is None and trial.kind != "echo":
        why = _not_resumed(trial)
        told["resumed"] = why is None
    told["why"] = why
    return told


def _disturbed(trial: Trial, status: str | None) -> str | None:
    if status not in ("completed", "incomplete"):
        return f"the reply was {status or 'never ended'}"
    if any(moment >= trial.begin for moment, _ in trial.playback.dropped):
        return "sound was dropped"
    later = [
        arrived.type
        for arrived in trial.events
        if arrived.at >= trial.begin
        and (
            arrived.type == "input_audio_buffer.committed"
            or (arrived.type == "response.created" and arrived.event["response"]["id"] != trial.response)
        )
    ]
    return "it was taken for a turn" if later else None


def _not_resumed(trial: Trial) -> str | None:
    settled = trial.end + SETTLE
    if trial.playback.volume(settled) < 1 or any(
        moment >= settled and factor < 1 for moment, factor in trial.playback.volumes
    ):
        return "it was left ducked"
    before = _levels(trial.playback, trial.onset, trial.begin, trial.item)
    after = _levels(trial.playback, settled, _sound_end(trial), trial.item)
    # half a second of sound at least, for its loud moments to say anything
    if len(before) and len(after) >= WIRE_RATE // WINDOW // 2:
        loud, now = (max(float(np.percentile(levels, 90)), 1e-6) for levels in (before, after))
        lower = 20 * np.log10(loud / now)
        if lower > STEP_DB:
            return f"it was left {lower:.0f} dB lower"
    if repeats(_received(trial), round((trial.begin - trial.onset) * WIRE_RATE)):
        return "sound was repeated"
    return None


def _last_full(trial: Trial) -> float:
    """Seconds from the begin to the end of the last 20 ms at full volume; 0 where there was none."""
    levels = _levels(trial.playback, trial.begin, _sound_end(trial), trial.item)
    floor = AUDIBLE
    if not trial.extended:
        before = _levels(trial.playback, trial.onset, trial.begin, trial.item)
        before = before[before > AUDIBLE]
        floor = max(AUDIBLE, LOWER * float(np.percentile(before, 95))) if len(before) else AUDIBLE
    moments = trial.begin + np.arange(len(levels)) * WINDOW / WIRE_RATE
    full = [
        place
        for place, (moment, level) in enumerate(zip(moments, levels, strict=True))
        if level > floor and trial.playback.volume(float(moment)) > LOWER
    ]
    return (full[-1] + 1) * WINDOW / WIRE_RATE if full else 0.0


def repeats(pcm: Samples, begin: int) -> bool:
    """Whether 100 ms of speech that start behind sample `begin` came already in the seconds before, to the sample."""
    size, past = WIRE_RATE // 10, round(REMEMBERED * WIRE_RATE)
    for start in range(max(begin, size), len(pcm) - size, size // 2):
        piece = pcm[start : start + size].astype(np.float64)
        if np.sqrt(np.mean(piece**2)) < SPEECH:
            continue
        earlier = pcm[max(start - past, 0) : start].astype(np.float64)
        width = len(earlier) + size
        product = np.fft.irfft(np.fft.rfft(earlier, width) * np.conj(np.fft.rfft(piece, width)), width)
        product = product[: len(earlier) - size + 1]
        energy = np.concatenate([[0.0], np.cumsum(earlier**2)])
        power = (energy[size:] - energy[:-size])[: len(product)]
        likeness = product / np.sqrt(np.maximum(power * np.sum(piece**2), 1e-9))
        if likeness.max(initial=0.0) > SAME:
            return True
    return False


def _levels(ear: ListenerPlayback, start: float, end: float, item: str) -> Samples:
    """Root mean square of each 20 ms."""
    count = max(int((end - start) * WIRE_RATE) // WINDOW, 0)
    pcm = ear.audio_heard(start, count * WINDOW, item).reshape(count, WINDOW)
    levels: Samples = np.sqrt(np.mean(pcm**2, axis=1))
    return levels


def _received(trial: Trial) -> Samples:
    """The reply's sound as it came, at full volume and without breaks, from its onset on."""
    pieces = [piece for piece in trial.playback.pieces if piece.item_id == trial.item]
    whole = np.concatenate([piece.pcm for piece in pieces]) if pieces else np.zeros(0, np.float32)
    return whole[round(max(trial.onset - pieces[0].start, 0.0) * WIRE_RATE) :] if pieces else whole


def _sound_end(trial: Trial) -> float:
    """The moment of the reply's last audible sample."""
    for piece in reversed(trial.playback.pieces):
        if piece.item_id == trial.item:
            loud = np.flatnonzero(np.abs(trial.playback.audio_heard(piece.start, len(piece.pcm))) > AUDIBLE)
            if len(loud):
                return piece.start + (int(loud[-1]) + 1) / WIRE_RATE
    return trial.onset


def _status(trial: Trial) -> str | None:
    for arrived in trial.events:
        if arrived.type == "response.done" and arrived.event["response"]["id"] == trial.response:
            return str(arrived.event["response"].get("status"))
    return None


def _transcript(trial: Trial) -> str:
    kind = "conversation.item.input_audio_transcription.completed"
    return " ".join(a.event["transcript"].strip() for a in trial.events if a.type == kind and a.at >= trial.begin)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
