"""What is enough at a silence: to begin an answer ahead, and to end the turn."""

from __future__ import annotations

from chinwag.listening.endpointing.model import Evidence
from chinwag.listening.utterance import SoFar

LIKELY = 0.3
"""P(finished) from which an answer is begun ahead."""

EXPECTED = 0.5
"""P(the sentence ends) from which that is done even while the last word still sounds. Live words are often misheard,
and so little trusted that their form alone makes them likely; drafts of such words stood in the way of better ones."""

DRAFTED_S = 0.25
"""Silence at which an answer is begun ahead whatever the looks say: they may know less than they think."""

SENSED_WITHIN_S = 0.35
"""Silence at which the sense is waited for no longer."""

FADED_S = 0.16
"""Silence that ends a turn although the VAD still hears speech: its tail is some 100 ms long."""

EAR_ALONE = 0.5, 0.2, 3.0
"""P(finished) from which the ear alone ends a turn, after which silence, and after which otherwise: as Pipecat's
LocalSmartTurnAnalyzerV3 has them (stop_secs = 3, the VAD's 0.2)."""


def should_draft(so_far: SoFar, looks: Evidence, chance: float | None, silence_s: float, *, early: bool) -> bool:
    """To begin the answer to the newest words, once a pause. early: also while the last of them still sounds."""
    silent = so_far.pause.words is not None
    if not looks.text or so_far.pause.drafted or not (silent or early):
        return False
    sensed = so_far.sensed
    likely = chance is not None and chance >= LIKELY and sensed
    sure = likely and (silent or (looks.sense or 0.0) >= EXPECTED)
    # before the sense is there, a draft would take its place in the model
    return sure or (silent and silence_s >= (DRAFTED_S if sensed else SENSED_WITHIN_S))


def should_end(so_far: SoFar, looks: Evidence, silence_s: float, *, fixed: bool) -> bool:
    """To end the turn, its words being known. fixed: by silence alone."""
    weighed = so_far.sensed or silence_s >= SENSED_WITHIN_S or fixed or not looks.text
    faded = so_far.speech.fading or silence_s >= FADED_S
    return weighed and faded and silence_s >= (so_far.pause.wait_s or 0.0)


def ear_alone(ear: float | None) -> float:
    """Silence that ends a turn where nothing but the ear is asked."""
    threshold, sure_s, otherwise_s = EAR_ALONE
    return sure_s if ear is not None and ear > threshold else otherwise_s
