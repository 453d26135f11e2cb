"""A conversation as a whole, with scripted engines at virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from talker import Talker, talking

from chinwag.audio import WIRE_RATE, Audio
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeTurnJudge, FakeVad, FakeVoice, loud
from chinwag.errors import EngineError
from chinwag.events import (
    Fault,
    InputCommitted,
    ItemAdded,
    PartialTranscript,
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
    TurnTraced,
)
from chinwag.listen.endpoint import Endpointer
from chinwag.listen.listener import Hearing
from chinwag.reply import LEAD_S
from chinwag.respond.history import Said
from chinwag.session import Refused, Settings

pytestmark = pytest.mark.unit

LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))
MANUAL = Hearing(automatic=False)


async def test_a_turn_is_heard_answered_and_remembered() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.pause(0.3)
        await talker.say(1.0)
        ended = await talker.hear_out()
        assert ended.status == "completed"
        assert talker.told() == fakes.llm.answer
        assert talker.kinds() == [
            "SpeechStarted",
            "PartialTranscript",
            "SpeechStopped",
            "InputCommitted",
            "ItemAdded",
            "Transcribed",
            "ReplyStarted",
            "ReplyText",
            "TurnTraced",
            "ReplyAudio",
            "ReplyText",
            "ReplyAudio",
            "ReplyEnded",
        ]
        assert talker.session.history.prompt("") == [
            {"role": "user", "content": "word0 word1 word2 word3 word4"},
            {"role": "assistant", "content": fakes.llm.answer},
        ]
        await talker.say(0.6)
        await talker.hear_out()
        assert [message["role"] for message in fakes.llm.asked[-1]] == ["system", "user", "assistant", "user"]


async def test_live_words_come_at_least_every_300_ms() -> None:
    async with talking() as talker:
        await talker.say(3.0)
        at = [t for t, e in zip(talker.times, talker.events, strict=True) if isinstance(e, PartialTranscript)]
        assert at[0] < 0.5
        assert max(b - a for a, b in pairwise(at)) <= 0.3
        assert len(at) >= 9


async def test_a_sure_end_is_answered_sooner_than_a_doubtful_one() -> None:
    waits = []
    for finished in (1.0, 0.5, 0.0):
        async with talking(Fakes(turn=FakeTurnJudge(finished))) as talker:
            await talker.say(1.0)
            await talker.hear_out()
            waits.append(talker.when(SpeechStopped) - 1.0)
    assert waits == sorted(waits)
    assert waits[0] < 0.35
    assert waits[2] > 1.5


async def test_a_draft_is_adopted_and_its_sound_is_ready_at_the_end_of_the_turn() -> None:
    fakes = Fakes(turn=FakeTurnJudge(0.3), llm=FakeChat(first_token_s=0.2))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert len(fakes.llm.asked) == 1
        assert talker.when(ReplyAudio) - talker.when(SpeechStopped) < 0.02
        assert talker.all(TurnTraced)[0].stages["first_clause"] < talker.all(TurnTraced)[0].stages["turn_decided"]


async def test_who_goes_on_is_not_answered_and_the_draft_leaves_no_trace() -> None:
    fakes = Fakes(turn=FakeTurnJudge(0.0))
    async with talking(fakes) as talker:
        await talker.say(0.8)
        await talker.pause(0.6)
        assert len(fakes.llm.asked) == 1, "a draft was begun in the pause"
        await talker.say(0.8)
        fakes.turn.finished = 1.0
        await talker.hear_out()
        assert len(talker.all(ReplyStarted)) == 1
        assert fakes.llm.asked[-1][-1]["content"] == " ".join(f"word{n}" for n in range(8))
        assert fakes.llm.closed == len(fakes.llm.asked) == 2


async def test_adopted_draft_was_asked_what_a_fresh_reply_would_be() -> None:
    asked = []
    for drafts in (True, False):
        fakes = Fakes()
        async with talking(fakes, drafts=drafts) as talker:
            for seconds in (0.6, 1.0):
                await talker.say(seconds)
                await talker.hear_out()
        asked.append(fakes.llm.asked)
    assert asked[0] == asked[1]


async def test_speech_cuts_the_answer_silence_first_and_history_ends_at_the_ear() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ReplyAudio)) > 60)
        await talker.say(0.8)
        names = talker.kinds(SpeechStarted, ReplyEnded)
        assert names == ["SpeechStarted", "ReplyEnded"]
        ended = talker.all(ReplyEnded)[0]
        assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
        assert not talker.sound_after(SpeechStarted, 1), "not one frame after the client was told to be silent"
        heard = talker.session.history.prompt("")[1]["content"]
        assert LONG.startswith(heard)
        played_s = talker.when(ReplyEnded) - talker.when(ReplyAudio)
        assert len(heard) == pytest.approx(played_s * 20, abs=12), "50 ms of sound a character, to a word"
        fakes.llm.answer = "Fine."
        await talker.hear_out()
        assert {"role": "assistant", "content": heard} in fakes.llm.asked[-1]


async def test_an_unheard_answer_vanishes_and_the_turns_become_one() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG, first_token_s=2.0))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: bool(talker.all(ReplyStarted)))
        await talker.say(0.6)
        fakes.llm.first_token_s = 0.1
        await talker.hear_out()
        assert [message["role"] for message in fakes.llm.asked[-1]] == ["system", "user"]
        assert fakes.llm.asked[-1][-1]["content"] == "word0 word1 word2 word0 word1 word2"


async def test_a_clients_report_and_a_late_truncation_decide_what_was_heard() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG))) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ReplyAudio)) > 80)
        item = talker.all(ReplyAudio)[0].item_id
        talker.session.played(item, 1000)
        await talker.say(0.4)
        assert len(talker.session.history.prompt("")[1]["content"]) < 30, "a second, and what played until the cut"
        talker.session.truncate(item, 500)
        assert talker.session.history.prompt("")[1]["content"] == "This is"
        talker.session.truncate(item, 0)
        assert [message["role"] for message in talker.session.history.prompt("")] == ["user"]
        with pytest.raises(Refused, match="already shorter"):
            talker.session.truncate(item, 600_000)
        await talker.pause(3)


async def test_sound_is_paced_to_the_ear() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG, token_s=0.001))) as talker:
        await talker.say(0.6)
        await talker.hear_out()
        first = talker.when(ReplyAudio)
        sent = 0.0
        for at, event in zip(talker.times, talker.events, strict=True):
            if isinstance(event, ReplyAudio):
                assert sent - (at - first) <= LEAD_S + 1e-6
                sent += event.audio.seconds
        assert sent > 20


async def test_frames_of_a_reply_are_gapless() -> None:
    async with talking() as talker:
        await talker.say(0.6)
        await talker.hear_out()
        frames = [event.audio for event in talker.all(ReplyAudio)]
        assert [frame.start for frame in frames[1:]] == [frame.end for frame in frames[:-1]]


async def test_without_interruption_the_answer_goes_on_and_the_turn_is_answered_after_it() -> None:
    fakes = Fakes(llm=FakeChat(answers=[LONG, "And that."]))
    async with talking(fakes, interrupt_response=False) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ReplyAudio)) > 20)
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ReplyEnded)) == 2)
        assert [event.status for event in talker.all(ReplyEnded)] == ["completed", "completed"]
        assert talker.told() == LONG + "And that."


async def test_a_cough_without_words_is_not_answered() -> None:
    fakes = Fakes(stt=FakeTranscriber(words=[]))
    async with talking(fakes) as talker:
        await talker.say(0.3)
        await talker.pause(3)
        assert not talker.all(ReplyStarted)
        assert talker.all(Transcribed)[0].text == ""
        assert talker.session.history.prompt("") == []
        fakes.stt.words = ["now"] * 9
        await talker.say(0.5)
        assert (await talker.hear_out()).status == "completed"


@pytest.mark.parametrize("seconds", [0.02, 0.06])
async def test_a_click_is_not_speech(seconds: float) -> None:
    async with talking() as talker:
        await talker.say(seconds)
        await talker.pause(2)
        assert not talker.events


# --- asked for by the client --------------------------------------------------------------------------------------


async def test_text_is_answered_when_asked() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        talker.session.add(Said("item_1", "user", "Hello there"))
        talker.session.respond()
        await talker.hear_out()
        assert fakes.llm.asked[0][-1] == {"role": "user", "content": "Hello there"}
        assert not talker.all(TurnTraced)


async def test_push_to_talk_commits_and_answers_only_when_asked() -> None:
    fakes = Fakes()
    async with talking(fakes, hearing=MANUAL) as talker:
        await talker.pause(0.5)
        await talker.say(1.0)
        await talker.pause(3.0)
        assert not talker.all(SpeechStarted)
        assert not talker.all(InputCommitted)
        talker.session.commit()
        talker.session.respond()
        await talker.hear_out()
        names = talker.kinds(InputCommitted, ItemAdded, Transcribed, ReplyStarted, SpeechStopped)
        assert names == ["InputCommitted", "ItemAdded", "Transcribed", "ReplyStarted"]
        assert fakes.llm.asked[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_every_sample_before_a_commit_counts_and_none_after() -> None:
    fakes = Fakes()
    async with talking(fakes, hearing=MANUAL) as talker:
        for seconds in (0.21, 0.4):
            talker.session.hear(loud(seconds))
            talker.session.commit()
        await talker.pause(1)
        assert [event.text for event in talker.all(Transcribed)] == ["word0", "word0 word1"]


async def test_a_commit_of_nothing_is_refused() -> None:
    async with talking(hearing=MANUAL) as talker:
        with pytest.raises(Refused, match="buffer too small"):
            talker.session.commit()
        await talker.say(1.0)
        talker.session.clear()
        with pytest.raises(Refused, match=r"0\.00ms"):
            talker.session.commit()
    async with talking() as talker:
        await talker.pause(1.0)
        with pytest.raises(Refused, match="buffer too small"):
            talker.session.commit()


async def test_a_commit_in_the_middle_of_speech_ends_the_turn() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(0.5)
        talker.session.commit()
        await talker.say(0.5)
        await talker.pause_until(lambda: len(talker.all(Transcribed)) == 2)
        first, second = talker.all(Transcribed)
        assert first.item_id == talker.all(SpeechStarted)[0].item_id
        assert second.item_id == talker.all(SpeechStarted)[1].item_id
        assert first.text
        assert second.text
        await talker.hear_out()


async def test_one_reply_at_a_time() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG))) as talker:
        talker.session.add(Said("item_1", "user", "Hello"))
        talker.session.respond()
        with pytest.raises(Refused, match="active response"):
            talker.session.respond()
        await talker.pause(1)
        assert talker.session.cancel()
        assert not talker.session.cancel()
        assert talker.all(ReplyEnded)[0].reason == "client_cancelled"
        count = len(talker.all(ReplyAudio))
        await talker.pause(2)
        assert len(talker.all(ReplyAudio)) == count
        talker.session.respond()
        await talker.hear_out()


async def test_sound_put_into_the_conversation_is_understood_before_it_is_answered() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        talker.session.add(Said("item_1", "user", "", loud(1.0).resampled(16_000), spoken=True))
        talker.session.respond()
        with pytest.raises(Refused, match="active response"):
            talker.session.respond()
        await talker.hear_out()
        assert fakes.llm.asked[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_items_have_their_places() -> None:
    async with talking() as talker:
        session = talker.session
        session.add(Said("b", "user", "two"))
        session.add(Said("a", "user", "one"), after="root")
        session.add(Said("c", "assistant", "three"), after="b")
        assert [(event.item_id, event.previous_id) for event in talker.all(ItemAdded)] == [
            ("b", None),
            ("a", None),
            ("c", "b"),
        ]
        assert [entry.item_id for entry in session.history] == ["a", "b", "c"]
        session.delete("b")
        for act in (lambda: session.delete("b"), lambda: session.item("b"), lambda: session.truncate("b", 0)):
            with pytest.raises(Refused, match="no item b"):
                act()
        with pytest.raises(Refused, match="no item nowhere"):
            session.add(Said("d", "user", "four"), after="nowhere")
        with pytest.raises(Refused, match="item a already"):
            session.add(Said("a", "user", "again"))
        with pytest.raises(Refused, match="not an answer"):
            session.truncate("a", 0)


async def test_only_text_is_answered_in_text() -> None:
    fakes = Fakes(llm=FakeChat(answer="**Bold** and a list:\n- one"))
    async with talking(fakes, audio=False) as talker:
        await talker.say(0.6)
        await talker.hear_out()
        assert talker.told() == fakes.llm.answer, "as it was written, for whoever reads it"
        assert not talker.all(ReplyAudio)
        assert not fakes.tts.spoken
        assert talker.session.history.prompt("")[-1]["content"] == fakes.llm.answer


async def test_the_longest_answer_is_incomplete() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG)), max_tokens=4) as talker:
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert (ended.status, ended.reason) == ("incomplete", "max_output_tokens")
        assert talker.told() == "This is sentence number"


async def test_settings_change_between_turns_and_within_one() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(0.5)
        talker.session.update(Settings(instructions="Be kind.", hearing=Hearing(endpointer=Endpointer(fixed_s=0.9))))
        await talker.say(0.5)
        await talker.hear_out()
        assert fakes.llm.asked[-1][0]["content"] == "Be kind."
        assert talker.when(SpeechStopped) == pytest.approx(1.9, abs=0.1)
        assert fakes.llm.asked[-1][1]["content"] == "word0 word1 word2 word3 word4"


async def test_the_answering_model_reads_along() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert fakes.llm.prefilled[0] == [{"role": "system", "content": "Be brief."}]
        grown = [messages[-1]["content"] for messages in fakes.llm.prefilled[1:]]
        assert grown == sorted(grown, key=len)
        final = fakes.llm.asked[0][-1]["content"]
        assert grown
        assert all(final.startswith(said) for said in grown)


# --- what fails ---------------------------------------------------------------------------------------------------


async def _recovers(fakes: Fakes, talker: Talker) -> None:
    for engine in (fakes.vad, fakes.turn, fakes.stt, fakes.llm, fakes.tts):
        engine.failure = None
    await talker.say(0.6)
    assert (await talker.hear_out()).status == "completed"


BROKEN = EngineError("It broke.", "Mend it.")


async def test_a_model_that_dies_mid_answer_ends_that_reply_only() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG, failure=BROKEN, fails_after=20))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert (ended.status, ended.error) == ("failed", "It broke. Mend it.")
        assert LONG.startswith(talker.told())
        assert "number 1" in talker.told(), "what was made is said"
        await _recovers(fakes, talker)


async def test_a_draft_that_failed_is_tried_again_for_the_turn() -> None:
    fakes = Fakes(turn=FakeTurnJudge(0.3), llm=FakeChat(first_token_s=0.01, failure=BROKEN))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause(0.3)
        fakes.llm.failure = None
        assert (await talker.hear_out()).status == "completed"
        assert len(fakes.llm.asked) == 2


@pytest.mark.parametrize("after", [0, 1])
async def test_a_voice_that_fails(after: int) -> None:
    fakes = Fakes(tts=FakeVoice(failure=BROKEN, fails_after=after), llm=FakeChat(answer=LONG))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert ended.status == "failed"
        assert len(fakes.tts.spoken) == after
        await _recovers(fakes, talker)


async def test_a_voice_that_hangs_fails_in_time() -> None:
    fakes = Fakes(tts=FakeVoice(delay_s=1e6))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert ended.error
        assert "no sound for 20 seconds" in ended.error
        fakes.tts.delay_s = 0.02
        await _recovers(fakes, talker)


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_transcriber_that_fails_is_told_and_survived(how: str) -> None:
    fakes = Fakes(stt=FakeTranscriber(failure=BROKEN if how == "fails" else None))
    if how == "hangs":
        fakes.stt.delay_s = 1e6
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause(15)
        assert len(talker.all(TranscriptionFailed)) == 1
        assert talker.all(Fault)
        assert not talker.all(ReplyStarted)
        fakes.stt.delay_s = 0.03
        await _recovers(fakes, talker)


@pytest.mark.parametrize("how", ["fails", "hangs", "raises"])
async def test_without_a_judge_silence_ends_the_turn(how: str) -> None:
    fakes = Fakes(turn=FakeTurnJudge(failure={"fails": BROKEN, "raises": ValueError("odd")}.get(how)))
    if how == "hangs":
        fakes.turn.delay_s = 1e6
    async with talking(fakes) as talker:
        await talker.say(0.6)
        assert (await talker.hear_out()).status == "completed"
        assert talker.when(SpeechStopped) - 0.6 == pytest.approx(1.0, abs=0.1)


async def test_a_vad_that_fails_is_told_once() -> None:
    fakes = Fakes(vad=FakeVad(failure=BROKEN))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        assert [event.code for event in talker.all(Fault)] == ["hearing_failed"]
        await talker.pause(0.2)
        await _recovers(fakes, talker)


async def test_many_sessions_do_not_mix() -> None:
    fakes = Fakes()
    async with talking(fakes) as one, talking(fakes) as two:
        await asyncio.gather(one.say(0.6), two.say(1.2))
        await asyncio.gather(one.hear_out(), two.hear_out())
        assert one.all(Transcribed)[0].text == "word0 word1 word2"
        assert two.all(Transcribed)[0].text == "word0 word1 word2 word3 word4 word5"


async def test_leaving_mid_answer_leaves_nothing_running() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: bool(talker.all(ReplyText)))
    assert fakes.llm.closed == len(fakes.llm.asked)


async def test_a_full_buffer_refuses_more() -> None:
    async with talking(Fakes(stt=FakeTranscriber(delay_s=1)), hearing=MANUAL) as talker:
        minute = Audio(loud(60).pcm, WIRE_RATE)
        for _ in range(11):
            talker.session.hear(minute)
        with pytest.raises(Refused, match="600 seconds"):
            talker.session.hear(minute)
        talker.session.clear()
        talker.session.hear(loud(1.0))
        talker.session.commit()
        await talker.pause(1.5)
        assert talker.all(Transcribed)[0].text == "word0 word1 word2 word3 word4"
