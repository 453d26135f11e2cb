"""When an answer is begun ahead, and when a turn is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chinwag.engines.protocols import Transcript
from chinwag.listening.endpointing import decisions as enough
from chinwag.listening.endpointing.model import Evidence
from chinwag.listening.utterance import Pause

pytestmark = pytest.mark.unit

WORDS = Transcript("Why is the sky blue", final=True, until=0)


def heard(*, silent: bool = True, sensed: bool = True, drafted: bool = False, fading: bool = True) -> Any:
    pause = Pause(transcript=WORDS if silent else None, likely_end_sent=drafted, wait_s=0.5)
    return SimpleNamespace(pause=pause, predicted=sensed, speech=SimpleNamespace(fading=fading))


def looks(sense: float | None = 0.9, text: str = WORDS.text) -> Evidence:
    return Evidence(text, sense=sense)


def drafts(
    so_far: Any, known: Evidence, chance: float | None = 0.6, silence_s: float = 0.1, *, early: bool = True
) -> bool:
    return enough.should_draft(so_far, known, chance, silence_s, early=early)


def test_a_likely_end_is_answered_ahead() -> None:
    assert drafts(heard(), looks())
    assert not drafts(heard(), looks(), chance=0.29)
    assert not drafts(heard(), looks(), chance=None)
    assert not drafts(heard(), looks(text=""))


def test_once_a_pause() -> None:
    assert not drafts(heard(drafted=True), looks())


def test_while_the_last_word_sounds_only_where_the_model_expects_the_end() -> None:
    assert drafts(heard(silent=False), looks(sense=0.5))
    assert not drafts(heard(silent=False), looks(sense=0.49))
    assert not drafts(heard(silent=False), looks(sense=None))
    assert not drafts(heard(silent=False), looks(), early=False)


def test_silence_alone_begins_it_but_never_in_the_place_of_the_sense_that_is_on_its_way() -> None:
    assert drafts(heard(), looks(), chance=0.0, silence_s=enough.DRAFTED_S)
    coming = heard(sensed=False)
    assert not drafts(coming, looks(), chance=0.9, silence_s=enough.DRAFTED_S)
    assert drafts(coming, looks(), chance=0.0, silence_s=enough.SENSED_WITHIN_S)
    assert not drafts(heard(silent=False), looks(), chance=0.0, silence_s=9.0)


@pytest.mark.parametrize(("silence_s", "over"), [(0.49, False), (0.5, True)])
def test_a_turn_ends_after_its_wait(silence_s: float, over: bool) -> None:
    assert enough.should_end(heard(), looks(), silence_s, fixed=False) is over


def test_not_before_the_model_was_asked_nor_while_the_voice_fades() -> None:
    unasked, sounding = heard(sensed=False), heard(fading=False)
    unasked.pause.wait_s = sounding.pause.wait_s = 0.1
    assert not enough.should_end(unasked, looks(), 0.3, fixed=False)
    assert enough.should_end(unasked, looks(), 0.3, fixed=True)
    assert enough.should_end(unasked, looks(text=""), 0.3, fixed=False)
    assert enough.should_end(unasked, looks(), enough.SENSED_WITHIN_S, fixed=False)
    assert not enough.should_end(sounding, looks(), 0.15, fixed=False)
    assert enough.should_end(sounding, looks(), enough.FADED_S, fixed=False)


def test_the_ear_alone_is_as_pipecat_has_it() -> None:
    assert [enough.audio_model_wait_s(ear) for ear in (None, 0.5, 0.51)] == [3.0, 3.0, 0.2]
