"""One machine for many: who goes first, and what is left out under load before anybody is kept waiting."""

from __future__ import annotations

import asyncio
import math
from itertools import count, pairwise
from typing import Any

import psutil
import pytest
from talker import Talker, talking

from chinwag.conversation.events import PartialTranscript, TurnTraced
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber
from chinwag.load import WINDOW_S, CpuMeter, Load, LoadLevel, RecentDurations

pytestmark = pytest.mark.unit

LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))


def loaded(level: LoadLevel, **fakes: object) -> Fakes:
    """Engines of a server where others talk as well."""
    made = Fakes(**fakes)  # type: ignore[arg-type]
    made.load.sessions = 2
    for name in ("another", "a third"):
        made.load._active[name] = math.inf
    made.load.cores = {LoadLevel.CALM: 0.1, LoadLevel.BUSY: 0.75, LoadLevel.STRAINED: 1.0}[level]
    assert made.load.level is level
    return made


# --- the gauge -----------------------------------------------------------------------------------------------


async def test_what_took_long_counts_for_a_while() -> None:
    recent = RecentDurations(asyncio.get_running_loop().time)
    assert recent.p90_s == 0.0
    for tenths in range(1, 11):
        recent.add(tenths / 10)
    assert recent.p90_s == 1.0
    for _ in range(90):
        recent.add(0.05)
    assert recent.p90_s == pytest.approx(0.1)
    await asyncio.sleep(WINDOW_S + 1)
    assert recent.p90_s == 0.0


async def test_it_measures_the_cores_and_how_late_the_loop_is() -> None:
    load, shares = Load(), count()
    watching = asyncio.create_task(load.measure(lambda: 1.0 if next(shares) > 20 else 0.0))
    await asyncio.sleep(4.9)
    assert load.cores == 0.0
    await asyncio.sleep(4.0)
    assert 0.3 < load.cores < 0.7, "a burst is no load"
    await asyncio.sleep(30)
    assert load.cores == pytest.approx(1.0, abs=0.02)
    assert load.loop_lag.p90_s < 0.01
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.parametrize(("spent", "busy"), [({"user": 0.1, "idle": 0.4}, 0.2), ({"idle": 0.4, "iowait": 0.1}, 0.0),
    ({"system": 0.2, "nice": 0.1, "idle": 0.2}, 0.4), ({"user": 0.5, "guest": 0.5}, 1.0), ({}, 0.0)])  # fmt: skip
def test_the_share_of_two_cores_in_a_quarter_of_a_second(
    monkeypatch: pytest.MonkeyPatch, spent: dict[str, float], busy: float
) -> None:
    """psutil's own percentages would tell 0.6 for the first."""
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    looked = iter([dict.fromkeys(fields, 100.0), {name: 100.0 + spent.get(name, 0.0) for name in fields}])

    class Times(tuple[float, ...]):
        def __getattr__(self, name: str) -> Any:
            return self[fields.index(name)] if name in fields else super().__getattribute__(name)

    monkeypatch.setattr(psutil, "cpu_times", lambda: Times(next(looked).values()))
    monkeypatch.setattr(psutil, "Process", type("Usual", (), {"nice": lambda _: 0}))
    cores = CpuMeter()
    assert cores() == pytest.approx(busy)


async def test_who_gives_way_can_be_stopped_in_the_moment_that_the_wait_ends() -> None:
    load = Load()
    waiting = load.prioritise()
    giving_way = asyncio.create_task(load.yield_to_priority(1.0))
    await asyncio.sleep(0.1)
    waiting.release()
    giving_way.cancel()
    await asyncio.gather(giving_way, return_exceptions=True)
    assert giving_way.cancelled()


async def test_who_talks_alone_is_never_shed() -> None:
    load = Load()
    load.sessions, load.cores = 2, 1.0
    load.mark_active("one")
    load.mark_active("one")
    assert (load.level, load.pressure > 1.0) == (LoadLevel.CALM, True)
    await asyncio.sleep(0.5)
    load.mark_active("another")
    assert load.level is LoadLevel.STRAINED
    assert load.as_dict()["level"] == "strained"
    await asyncio.sleep(0.6)
    assert load.as_dict()["level"] == "calm", "the first is silent by now"
    load.mark_active("one")
    assert load.as_dict()["level"] == "strained"


async def test_who_talks_alone_among_silent_conversations_loses_nothing() -> None:
    fakes = Fakes(llm=FakeChat(sentence_end=lambda words: 0.0))
    fakes.load.sessions, fakes.load.cores = 4, 1.0
    async with talking(fakes) as talker:
        assert await words_apart(talker) == pytest.approx(0.16, abs=0.1)


@pytest.mark.parametrize("stage", ["loop_lag", "transcript_delay", "response_delay"])
async def test_each_thing_that_people_wait_for_counts(stage: str) -> None:
    load = Load()
    load.sessions = 2
    for name in ("one", "another"):
        load.mark_active(name)
    for _ in range(10):
        getattr(load, stage).add(2.0)
    assert load.level is LoadLevel.STRAINED


# --- who goes first ------------------------------------------------------------------------------------------


async def test_what_can_wait_lets_go_first_but_not_for_ever() -> None:
    load, loop = Load(), asyncio.get_running_loop()
    await load.yield_to_priority(5.0)
    assert loop.time() == 0.0, "nobody waits"
    first, second = load.prioritise(), load.prioritise()
    loop.call_later(0.2, first.release)
    loop.call_later(0.3, first.release)  # is told twice
    loop.call_later(0.5, second.release)
    await load.yield_to_priority(5.0)
    assert loop.time() == pytest.approx(0.5)
    load.prioritise()
    await load.yield_to_priority(0.25)
    assert loop.time() == pytest.approx(0.75)
    assert load.priority_pending


async def test_nobody_waits_when_all_is_said() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert not fakes.load.priority_pending
        assert 0 < fakes.load.response_delay.p90_s < 1.0
        assert 0 < fakes.load.transcript_delay.p90_s < 0.1
        await talker.say(1.0)
    assert not fakes.load.priority_pending, "not even where a conversation ends in the middle"


async def test_a_long_answer_lets_others_go_first_and_is_told_to_its_end() -> None:
    fakes = loaded(LoadLevel.CALM, llm=FakeChat(answer=LONG, token_s=0.01))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.pause_until(lambda: bool(talker.all(TurnTraced)))
        waiting = fakes.load.prioritise()
        await talker.pause(1.0)
        calls, clauses = fakes.llm.closed, len(fakes.tts.spoken)
        await talker.pause(0.5)
        assert (fakes.llm.closed, len(fakes.tts.spoken)) == (calls, clauses), "it stopped: enough is ahead of the ear"
        waiting.release()
        await talker.hear_out()
        assert talker.told() == LONG, "no word is lost or comes twice"
        assert fakes.llm.closed > calls, "it went on"


async def test_alone_an_answer_is_written_in_one_go() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG, token_s=0.01))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.pause_until(lambda: bool(talker.all(TurnTraced)))
        before = fakes.llm.closed
        await talker.hear_out()
        assert talker.told() == LONG
        assert fakes.llm.closed - before <= 2, "the draft, and the rest of it"


# --- what is shed --------------------------------------------------------------------------------------------


async def words_apart(talker: Talker) -> float:
    """The median time between live words, in seconds."""
    await talker.say(6.0)
    at = [t for t, e in zip(talker.times, talker.events, strict=True) if isinstance(e, PartialTranscript)]
    apart = sorted(b - a for a, b in pairwise(at))
    return apart[len(apart) // 2]


@pytest.mark.parametrize(("level", "usual"), [(LoadLevel.CALM, 1), (LoadLevel.BUSY, 3), (LoadLevel.STRAINED, 6)])
async def test_partial_transcripts_come_less_often_under_load(level: LoadLevel, usual: int) -> None:
    fakes = loaded(level, llm=FakeChat(sentence_end=lambda words: 0.0))
    async with talking(fakes) as talker:
        assert await words_apart(talker) == pytest.approx(0.16 * usual, abs=0.1)


@pytest.mark.parametrize(
    ("level", "drafted", "read_ahead"),
    [(LoadLevel.CALM, True, True), (LoadLevel.BUSY, True, True), (LoadLevel.STRAINED, False, False)],
)
async def test_drafts_and_reading_ahead_are_shed_before_the_answer(
    level: LoadLevel, drafted: bool, read_ahead: bool
) -> None:
    fakes = loaded(level)
    async with talking(fakes) as talker:
        await talker.say(2.0)
        before = [messages[-1]["content"] for messages in fakes.llm.prefilled if messages[-1]["role"] == "user"]
        assert bool(before) is read_ahead
        ended = await talker.hear_out()
        assert ended.status == "completed"
        (trace,) = talker.all(TurnTraced)
        assert ("draft_started" in trace.stages) is drafted


async def test_under_load_no_draft_begins_while_they_speak() -> None:
    starts = {}
    for level in (LoadLevel.CALM, LoadLevel.BUSY):
        fakes = loaded(level)
        async with talking(fakes) as talker:
            await talker.say(2.0)
            starts[level] = len(fakes.llm.prompts)
    assert starts[LoadLevel.CALM] > 0
    assert starts[LoadLevel.BUSY] == 0


# --- stale work ----------------------------------------------------------------------------------------------


async def test_live_words_that_are_superseded_by_the_final_ones_are_not_waited_for() -> None:
    cancelled: list[bool] = []

    class Slow(FakeTranscriber):
        def open(self, language: str | None = None):  # type: ignore[no-untyped-def]
            utterance = super().open(language)
            partial = utterance.partial

            async def slow():  # type: ignore[no-untyped-def]
                try:
                    await asyncio.sleep(5.0)  # as behind many others' words
                except asyncio.CancelledError:
                    cancelled.append(True)
                    raise
                return await partial()

            utterance.partial = slow  # type: ignore[method-assign]
            return utterance

    fakes = Fakes(stt=Slow())
    async with talking(fakes) as talker:
        await talker.say(1.0)
        ended = await talker.hear_out()
        assert ended.status == "completed"
        assert cancelled == [True]
