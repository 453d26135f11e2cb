"""Decisions at a silence: whether to draft a response, and whether to end the turn."""

from __future__ import annotations

from chinwag.listening.endpointing.model import Evidence
from chinwag.listening.utterance import UtteranceState

LIKELY = 0.3
"""End-of-turn probability from which a response is drafted."""

EXPECTED = 0.5
"""P(the sentence ends) from which a response is drafted while the last word still sounds. Partial transcripts
are often wrong and have low confidence, so their form alone makes an end likely. Drafts of them delayed better ones."""

DRAFTED_S = 0.25
"""Silence in seconds at which a response is drafted whatever the probability: the model may be wrong."""

SENSED_WITHIN_S = 0.35
"""Silence in seconds after which the decisions no longer wait for the language model's prediction."""

FADED_S = 0.16
"""Silence in seconds that ends a turn although the VAD still detects speech: its tail is about 100 ms long."""

EAR_ALONE = 0.5, 0.2, 3.0
"""Probability from which the audio model alone ends a turn, the silence in seconds then, and the silence otherwise.
From Pipecat's LocalSmartTurnAnalyzerV3 (stop_secs = 3, VAD 0.2)."""


def should_draft(
    state: UtteranceState, evidence: Evidence, probability: float | None, silence_s: float, *, early: bool
) -> bool:
    """Return whether to draft a response to the newest transcript; at most once a pause.

    probability: of an end of turn. early: drafts may start while the last word still sounds.
    """
    paused = state.pause.transcript is not None
    if not evidence.text or state.pause.likely_end_sent or not (paused or early):
        return False
    likely = probability is not None and probability >= LIKELY and state.predicted
    sure = likely and (paused or (evidence.sense or 0.0) >= EXPECTED)
    # a draft before the prediction would delay the prediction in the language model
    return sure or (paused and silence_s >= (DRAFTED_S if state.predicted else SENSED_WITHIN_S))


def should_end(state: UtteranceState, evidence: Evidence, silence_s: float, *, fixed: bool) -> bool:
    """Return whether to end a turn whose final transcript is there. fixed: silence alone ends it."""
    predicted = state.predicted or silence_s >= SENSED_WITHIN_S or fixed or not evidence.text
    faded = state.speech.fading or silence_s >= FADED_S
    return predicted and faded and silence_s >= (state.pause.wait_s or 0.0)


def audio_model_wait_s(ear: float | None) -> float:
    """Return the silence in seconds that ends a turn if only the audio model decides. ear: its probability."""
    threshold, sure_s, otherwise_s = EAR_ALONE
    return sure_s if ear is not None and ear > threshold else otherwise_s
