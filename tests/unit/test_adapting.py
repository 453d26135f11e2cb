"""Over one conversation it learns how long this speaker pauses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from talker import Talker, talking

from chinwag.conversation.events import (
    EndpointingEstimated,
    ResponseEnded,
    ResponseStarted,
    SpeechStopped,
    TurnRetracted,
)
from chinwag.engines.fake import FakeChat, Fakes, FakeTurnJudge
from chinwag.listening.endpointing.policy import LONGEST_S, PATIENCE, Endpointer
from chinwag.listening.turn import ListenerSettings

pytestmark = pytest.mark.unit

UNSURE = 0.05
"""A sense that leaves it open, so that the rhythm counts."""


def unsure(**chat: Any) -> Fakes:
    return Fakes(
        turn=FakeTurnJudge(0.5), llm=FakeChat(answer="Yes, that is so.", sentence_end=lambda words: UNSURE, **chat)
    )


async def turn(talker: Talker, *, pauses: tuple[float, ...] = ()) -> float:
    """Speak, with such pauses in between; the wait that ended it."""
    before = len(talker.all(SpeechStopped))
    for pause in pauses:
        await talker.say(0.5)
        await talker.pause(pause)
        assert len(talker.all(SpeechStopped)) == before, "it did not wait for them to go on"
    await talker.say(0.5)
    await talker.hear_out()
    return talker.all(EndpointingEstimated)[-1].wait_s


async def test_waits_grow_with_a_speaker_who_pauses_long() -> None:
    async with talking(unsure(), drafts=False) as talker:
        waits = [await turn(talker)]
        for pause in (0.7, 0.9, 1.0):
            await talker.pause(2.0)
            waits.append(await turn(talker, pauses=(pause, pause)))
        assert waits == sorted(set(waits))
        assert waits[-1] > 1.1 * waits[0]


async def test_waits_grow_at_once_after_a_cut_off() -> None:
    async with talking(unsure(first_token_s=1.0), drafts=False) as talker:
        await talker.say(0.5)
        await talker.pause_until(lambda: bool(talker.all(ResponseStarted)))
        first = talker.all(EndpointingEstimated)[-1].wait_s
        await talker.pause(0.2)
        await talker.say(0.5)
        assert talker.all(TurnRetracted)
        await talker.hear_out()
        second = talker.all(EndpointingEstimated)[-1].wait_s
        assert second > 1.15 * first
        await talker.pause(3)
        third = await turn(talker)
        assert third > 1.1 * first, "and they are remembered in the turns that follow"


async def test_waits_grow_after_a_cut_off_that_was_heard() -> None:
    """The answer had begun when they went on: that, too, was an answer into their turn."""
    async with talking(unsure(), drafts=False) as talker:
        first = await turn(talker)
        await talker.pause(3)
        await talker.say(0.5)
        await talker.pause_until(
            lambda: bool(talker.session.active_response and talker.session.active_response.heard_text)
        )
        await talker.say(0.5)
        assert talker.all(ResponseEnded)[-1].reason == "turn_detected"
        assert not talker.all(TurnRetracted)
        await talker.hear_out()
        assert talker.all(EndpointingEstimated)[-1].wait_s > 1.15 * first


async def test_waits_shrink_with_brisk_exchange() -> None:
    async with talking(unsure(), drafts=False) as talker:
        waits = [await turn(talker) for _ in range(7)]  # each half a second after the answer was heard, or sooner
        assert waits[1:] == sorted(waits[1:], reverse=True)
        assert waits[-1] < 0.8 * waits[0]


async def test_over_one_conversation_waits_grow_and_shrink_again() -> None:
    async with talking(unsure(), drafts=False) as talker:
        fresh = await turn(talker)
        for _ in range(3):
            await talker.pause(2.0)
            slow = await turn(talker, pauses=(0.6, 0.7))
        for _ in range(10):
            brisk = await turn(talker)
        assert brisk < fresh < slow


@pytest.mark.parametrize("ear", [0.0, 1.0])
async def test_an_unknown_language_has_silence_and_rhythm(ear: float) -> None:
    """Swahili: neither the form of its words nor the ear's melody is known, and nobody is asked to guess."""
    fakes = Fakes(turn=FakeTurnJudge(ear), llm=FakeChat(answer="Ndiyo.", sentence_end=lambda words: 0.97))
    async with talking(fakes, listening=ListenerSettings(language="sw"), drafts=False) as talker:
        waits = [await turn(talker)]
        judged = talker.all(EndpointingEstimated)[-1]
        assert judged.end_probability is None
        assert 0.3 < waits[0] < LONGEST_S["auto"]
        for _ in range(3):
            await talker.pause(2.0)
            waits.append(await turn(talker, pauses=(0.7, 0.7)))
        assert waits == sorted(set(waits))
        brisk = [await turn(talker) for _ in range(8)]
        assert brisk[-1] < 0.8 * waits[0]


async def test_what_the_ear_knows_is_used_where_the_words_are_unknown() -> None:
    waits = []
    for ear in (1.0, 0.5, 0.0):
        fakes = Fakes(turn=FakeTurnJudge(ear))
        async with talking(fakes, listening=ListenerSettings(language="ru")) as talker:
            waits.append(await turn(talker))
            assert talker.all(EndpointingEstimated)[-1].end_probability is not None
    assert waits == sorted(set(waits))


async def test_a_new_conversation_begins_anew() -> None:
    async with talking(unsure(), drafts=False) as talker:
        first = await turn(talker)
        await talker.pause(2.0)
        await turn(talker, pauses=(0.6, 0.7))
    async with talking(unsure(), drafts=False) as talker:
        assert await turn(talker) == pytest.approx(first, abs=1e-9)


async def test_patience_is_the_users_to_set() -> None:
    waits = []
    for eagerness in ("high", "auto", "low"):
        hearing = ListenerSettings()
        hearing = replace(hearing, endpointer=Endpointer(PATIENCE[eagerness]))
        async with talking(unsure(), listening=hearing, drafts=False) as talker:
            waits.append(await turn(talker))
    assert waits == sorted(set(waits))
