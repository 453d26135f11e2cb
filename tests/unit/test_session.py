"""A conversation as a whole, with scripted engines at virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from talker import FRAME_S, Talker, talking

from chinwag.audio import WIRE_RATE, Audio
from chinwag.conversation.events import (
    EndpointingEstimated,
    ErrorOccurred,
    InputCommitted,
    ItemAdded,
    PartialTranscript,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    TurnRetracted,
    TurnTraced,
)
from chinwag.conversation.generation import DRAFT_TOKENS
from chinwag.conversation.history import MessageItem
from chinwag.conversation.responses import DRAFTS
from chinwag.conversation.settings import SEND_AHEAD_S, SessionSettings
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeTurnJudge, FakeVad, FakeVoice, loud
from chinwag.engines.protocols import Delta, Message
from chinwag.errors import EngineError, Refused
from chinwag.listening.endpointing.policy import Endpointer
from chinwag.listening.turn import ListenerSettings

pytestmark = pytest.mark.unit


def at_the_end(last: str) -> Callable[[str], float]:
    """The model's sense where only that word ends a sentence."""
    return lambda words: 0.97 if words.endswith(last) else 0.0


LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))
MANUAL = ListenerSettings(automatic=False)


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
            "EndpointingEstimated",
            "SpeechStopped",
            "InputCommitted",
            "ItemAdded",
            "TranscriptionCompleted",
            "ResponseStarted",
            "ResponseText",
            "TurnTraced",
            "ResponseAudio",
            "ResponseText",
            "ResponseAudio",
            "ResponseEnded",
        ]
        assert talker.session.history.prompt("") == [
            {"role": "user", "content": "word0 word1 word2 word3 word4"},
            {"role": "assistant", "content": fakes.llm.answer},
        ]
        await talker.say(0.6)
        await talker.hear_out()
        assert [message["role"] for message in fakes.llm.prompts[-1]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(("sense", "longest_s"), [(0.0, 0.2), (0.97, 0.4)])
async def test_live_words_come_often_and_seldomer_while_an_answer_is_begun(sense: float, longest_s: float) -> None:
    async with talking(Fakes(llm=FakeChat(sentence_end=lambda words: sense))) as talker:
        await talker.say(3.0)
        at = [t for t, e in zip(talker.times, talker.events, strict=True) if isinstance(e, PartialTranscript)]
        assert at[0] < 0.4
        assert max(b - a for a, b in pairwise(at)) <= longest_s
        assert talker.all(PartialTranscript)[-1].text.split()[-1] in ("word12", "word13", "word14")


@pytest.mark.parametrize(
    ("sense", "ear", "shortest", "longest"),
    [
        (0.97, 0.0, 0.1, 0.2),  # the words are enough: the ear is not even asked
        (0.05, 1.0, 0.8, 1.2),
        (0.05, 0.0, 1.3, 1.7),
        (0.0, 1.0, 2.0, 3.0),
        (None, 1.0, 0.6, 1.0),  # a model that cannot tell: by the words alone
    ],
)
async def test_a_sure_end_is_answered_sooner_than_a_doubtful_one(
    sense: float | None, ear: float, shortest: float, longest: float
) -> None:
    fakes = Fakes(turn=FakeTurnJudge(ear), llm=FakeChat(sentence_end=lambda words: sense))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert shortest <= talker.when(SpeechStopped) - 1.0 <= longest
        judged = talker.all(EndpointingEstimated)[-1]
        assert judged.evidence.get("sense") == sense
        assert ("ear" in judged.evidence) is (sense == 0.05), "it is asked where the words leave it open"
        assert judged.wait_s == pytest.approx(talker.when(SpeechStopped) - 1.0, abs=0.06)
        assert judged.speech_end_ms == pytest.approx(1000, abs=10)


async def test_a_draft_is_adopted_and_its_sound_is_ready_at_the_end_of_the_turn() -> None:
    fakes = Fakes(llm=FakeChat(first_token_s=0.1, sentence_end=at_the_end("word4")), tts=FakeVoice(delay_s=0.001))
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=0.5))) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert len(fakes.llm.prompts) == 1
        assert talker.when(ResponseAudio) == talker.when(SpeechStopped)
        stages = talker.all(TurnTraced)[0].stages
        order = ["last_words", "draft_started", "first_token", "first_clause", "turn_decided", "first_audio"]
        assert [stages[stage] for stage in order] == sorted(stages[stage] for stage in order)
        assert stages["transcript_final"] <= stages["draft_started"] < 0.15


async def test_an_answer_is_begun_while_they_still_speak() -> None:
    """The last words are heard before they end: what looks finished is answered ahead, and adopted if it was."""
    fakes = Fakes(llm=FakeChat(sentence_end=at_the_end("word3")))
    async with talking(fakes) as talker:
        await talker.say(1.05)  # four words, and the beginning of a fifth that is not one yet
        fakes.stt.words = fakes.stt.words[:4]
        await talker.hear_out()
        assert talker.all(TurnTraced)[0].stages["draft_started"] < 0
        assert len(fakes.llm.prompts) == 1
        assert fakes.llm.prompts[0][-1]["content"] == "word0 word1 word2 word3"


async def test_live_words_are_answered_ahead_only_where_the_model_expects_an_end() -> None:
    """Half of live words are misheard: their form alone makes them likely, and the draft stands in the way."""
    fakes = Fakes(llm=FakeChat(sentence_end=lambda words: 0.4 if words.endswith(("word2", "word3")) else 0.0))
    async with talking(fakes) as talker:
        await talker.say(1.05)
        fakes.stt.words = fakes.stt.words[:4]
        assert not fakes.llm.prompts
        await talker.hear_out()
        assert 0 < talker.all(TurnTraced)[0].stages["draft_started"] < 0.3
        assert len(fakes.llm.prompts) == 1


async def test_a_draft_does_not_take_the_place_of_a_sense_that_is_on_its_way() -> None:
    fakes = Fakes(llm=FakeChat(sentence_end=at_the_end("word2")))
    async with talking(fakes) as talker:
        await talker.say(0.5)
        fakes.llm.prefill_s = 0.23
        await talker.say(0.1)
        await talker.hear_out()
        assert talker.all(EndpointingEstimated)[-1].evidence["sense"] == 0.97
        assert 0.31 < talker.all(TurnTraced)[0].stages["draft_started"] < 0.35, "not at 0.25 s, where it is due"
        assert len(fakes.llm.prompts) == 1


async def test_the_last_words_do_not_wait_until_others_are_read() -> None:
    """What is being read when the last words are known is left, as nothing hangs on it any more."""
    fakes = Fakes(llm=FakeChat(sentence_end=at_the_end("word3")))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        fakes.llm.prefill_s = 0.5  # of the third word
        await talker.say(0.2)
        fakes.llm.prefill_s = 0.1  # of the last
        await talker.hear_out()
        read = [messages[-1]["content"] for messages in fakes.llm.prefilled if messages[-1]["role"] == "user"]
        assert read[-2:] == ["word0 word1 word2", "word0 word1 word2 word3"]
        judged = talker.all(EndpointingEstimated)[-1]
        assert judged.evidence["sense"] == 0.97
        assert judged.silence_s < 0.25, "the third word alone would have been read until 0.35 s"


async def test_who_goes_on_is_not_answered_and_the_draft_leaves_no_trace() -> None:
    fakes = Fakes(llm=FakeChat(sentence_end=at_the_end("word7")))
    async with talking(fakes) as talker:
        await talker.say(0.8)
        await talker.pause(0.25)
        assert not fakes.llm.prompts, "the words say that more is to come"
        await talker.pause(0.35)
        assert len(fakes.llm.prompts) == 1, "after 0.25 s of silence a draft is begun whatever they say"
        await talker.say(0.8)
        await talker.hear_out()
        assert len(talker.all(ResponseStarted)) == 1
        assert fakes.llm.prompts[-1][-1]["content"] == " ".join(f"word{n}" for n in range(8))
        assert fakes.llm.closed == len(fakes.llm.prompts) == 2
        assert talker.told() == fakes.llm.answer


async def test_drafts_are_capped_in_one_turn() -> None:
    fakes = Fakes(turn=FakeTurnJudge(0.0))
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=1.0))) as talker:
        for _ in range(2):
            before = len(fakes.llm.prompts)
            for _ in range(2 * DRAFTS):
                await talker.say(0.4)
                await talker.pause(0.5)
            assert len(fakes.llm.prompts) - before == DRAFTS
            await talker.hear_out()
            assert len(fakes.llm.prompts) - before == DRAFTS + 1, "and the turn itself is answered"
        assert fakes.llm.closed == len(fakes.llm.prompts)


async def test_a_turn_that_is_not_answered_gives_its_drafts_back() -> None:
    fakes = Fakes()
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=1.0))) as talker:
        for end in (talker.session.commit, talker.session.clear):
            for _ in range(DRAFTS):
                await talker.say(0.4)
                await talker.pause(0.5)
            before = len(fakes.llm.prompts)
            end()
            await talker.pause(0.1)
            await talker.say(0.4)
            await talker.pause(0.5)
            assert len(fakes.llm.prompts) > before
            talker.session.clear()
            await talker.pause(1.0)


async def test_a_long_draft_stops_and_goes_on_once_it_is_adopted() -> None:
    """A pause must not burn the machine: no more than DRAFT_TOKENS before the turn has ended."""
    answer = " ".join(f"w{n}" for n in range(3 * DRAFT_TOKENS))
    fakes = Fakes(llm=FakeChat(answer=answer, token_s=0.001, sentence_end=at_the_end("word1")))
    written = 0
    calls = []
    chat = fakes.llm.chat

    async def counted(messages: Sequence[Message], **options: Any) -> AsyncGenerator[Delta, None]:
        nonlocal written
        calls.append((messages[-1]["role"], options["max_tokens"]))
        async with aclosing(chat(messages, **options)) as deltas:
            async for delta in deltas:
                written += bool(delta.text)
                yield delta

    fakes.llm.chat = counted  # type: ignore[method-assign]
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=2.0))) as talker:
        await talker.say(0.4)
        await talker.pause(1.9)
        assert written == DRAFT_TOKENS
        assert not talker.all(ResponseStarted)
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        assert talker.told() == answer
        assert calls == [("user", DRAFT_TOKENS), ("assistant", None)]
        assert talker.all(ResponseEnded)[0].status == "completed"


async def test_adopted_draft_was_asked_what_a_fresh_reply_would_be() -> None:
    answered = []
    for drafts in (True, False):
        fakes = Fakes(llm=FakeChat(sentence_end=lambda words: 0.97 if words.endswith(("word2", "word4")) else 0.0))
        async with talking(fakes, drafts=drafts) as talker:
            given = []
            for seconds in (0.6, 1.0):
                await talker.say(seconds)
                await talker.hear_out()
                given.append(fakes.llm.prompts[-1])
        answered.append(given)
    assert answered[0] == answered[1]


async def test_speech_cuts_the_answer_silence_first_and_history_ends_at_the_ear() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ResponseAudio)) > 60)
        await talker.say(0.8)
        names = talker.kinds(SpeechStarted, ResponseEnded)
        assert names == ["SpeechStarted", "ResponseEnded"]
        ended = talker.all(ResponseEnded)[0]
        assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
        assert not talker.sound_after(SpeechStarted, 1), "not one frame after the client was told to be silent"
        heard = talker.session.history.prompt("")[1]["content"]
        assert LONG.startswith(heard)
        played_s = talker.when(ResponseEnded) - talker.when(ResponseAudio)
        assert len(heard) == pytest.approx(played_s * 20, abs=12), "50 ms of sound a character, to a word"
        fakes.llm.answer = "Fine."
        await talker.hear_out()
        assert {"role": "assistant", "content": heard} in fakes.llm.prompts[-1]


async def test_an_unheard_answer_vanishes_and_the_turns_become_one() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG, first_token_s=2.0))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: bool(talker.all(ResponseStarted)))
        await talker.say(0.6)
        fakes.llm.first_token_s = 0.1
        await talker.hear_out()
        assert [message["role"] for message in fakes.llm.prompts[-1]] == ["system", "user"]
        assert fakes.llm.prompts[-1][-1]["content"] == "word0 word1 word2 word3 word4 word5"
        taken_back = talker.all(TurnRetracted)[0].item_id
        assert taken_back == talker.all(SpeechStarted)[0].item_id
        assert taken_back not in [entry.item_id for entry in talker.session.history]


async def test_a_clients_report_and_a_late_truncation_decide_what_was_heard() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG))) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ResponseAudio)) > 80)
        item = talker.all(ResponseAudio)[0].item_id
        talker.session.items.report_played(item, 1000)
        await talker.say(0.4)
        assert len(talker.session.history.prompt("")[1]["content"]) < 30, "a second, and what played until the cut"
        talker.session.items.truncate(item, 500)
        assert talker.session.history.prompt("")[1]["content"] == "This is"
        talker.session.items.truncate(item, 0)
        assert [message["role"] for message in talker.session.history.prompt("")] == ["user"]
        with pytest.raises(Refused, match="already shorter"):
            talker.session.items.truncate(item, 600_000)
        await talker.pause(3)


async def test_sound_is_paced_to_the_ear() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG, token_s=0.001))) as talker:
        await talker.say(0.6)
        await talker.hear_out()
        first = talker.when(ResponseAudio)
        sent = 0.0
        for at, event in zip(talker.times, talker.events, strict=True):
            if isinstance(event, ResponseAudio):
                assert sent - (at - first) <= SEND_AHEAD_S + 1e-6
                sent += event.audio.seconds
        assert sent > 20


async def test_frames_of_a_reply_are_gapless() -> None:
    async with talking() as talker:
        await talker.say(0.6)
        await talker.hear_out()
        frames = [event.audio for event in talker.all(ResponseAudio)]
        assert [frame.start for frame in frames[1:]] == [frame.end for frame in frames[:-1]]


async def test_without_interruption_the_answer_goes_on_and_the_turn_is_answered_after_it() -> None:
    fakes = Fakes(llm=FakeChat(answers=[LONG, "And that."], sentence_end=at_the_end("word2")))
    async with talking(fakes, interruption="off") as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ResponseAudio)) > 20)
        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ResponseEnded)) == 2, limit_s=60)
        assert [event.status for event in talker.all(ResponseEnded)] == ["completed", "completed"]
        assert talker.told() == LONG + "And that."


async def test_a_cough_without_words_is_not_answered() -> None:
    fakes = Fakes(stt=FakeTranscriber(words=[]))
    async with talking(fakes) as talker:
        await talker.say(0.3)
        await talker.pause(3)
        assert not talker.all(ResponseStarted)
        assert talker.all(TranscriptionCompleted)[0].text == ""
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
        talker.session.items.add(MessageItem("item_1", "user", "Hello there"))
        talker.session.create_response()
        await talker.hear_out()
        assert fakes.llm.prompts[0][-1] == {"role": "user", "content": "Hello there"}
        assert not talker.all(TurnTraced)


async def test_push_to_talk_commits_and_answers_only_when_asked() -> None:
    fakes = Fakes()
    async with talking(fakes, listening=MANUAL) as talker:
        await talker.pause(0.5)
        await talker.say(1.0)
        await talker.pause(3.0)
        assert not talker.all(SpeechStarted)
        assert not talker.all(InputCommitted)
        talker.session.commit()
        talker.session.create_response()
        await talker.hear_out()
        names = talker.kinds(InputCommitted, ItemAdded, TranscriptionCompleted, ResponseStarted, SpeechStopped)
        assert names == ["InputCommitted", "ItemAdded", "TranscriptionCompleted", "ResponseStarted"]
        assert fakes.llm.prompts[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_live_words_of_a_manual_buffer_come_while_it_sounds() -> None:
    fakes = Fakes()
    async with talking(fakes, listening=MANUAL) as talker:
        await talker.pause(5.0)
        assert not fakes.stt.requests
        await talker.say(1.0)
        asked = fakes.stt.requests
        assert asked >= 3
        await talker.pause(5.0)
        assert fakes.stt.requests <= asked + 1


async def test_every_sample_before_a_commit_counts_and_none_after() -> None:
    fakes = Fakes()
    async with talking(fakes, listening=MANUAL) as talker:
        for seconds in (0.21, 0.4):
            talker.session.append_audio(loud(seconds))
            talker.session.commit()
        await talker.pause(1)
        assert [event.text for event in talker.all(TranscriptionCompleted)] == ["word0", "word0 word1"]


async def test_a_commit_of_nothing_is_refused() -> None:
    async with talking(listening=MANUAL) as talker:
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
        await talker.pause_until(lambda: len(talker.all(TranscriptionCompleted)) == 2)
        first, second = talker.all(TranscriptionCompleted)
        assert first.item_id == talker.all(SpeechStarted)[0].item_id
        assert second.item_id == talker.all(SpeechStarted)[1].item_id
        assert first.text
        assert second.text
        await talker.hear_out()


async def test_one_reply_at_a_time() -> None:
    async with talking(Fakes(llm=FakeChat(answer=LONG))) as talker:
        talker.session.items.add(MessageItem("item_1", "user", "Hello"))
        talker.session.create_response()
        with pytest.raises(Refused, match="active response"):
            talker.session.create_response()
        await talker.pause(1)
        assert talker.session.cancel_response()
        assert not talker.session.cancel_response()
        assert talker.all(ResponseEnded)[0].reason == "client_cancelled"
        count = len(talker.all(ResponseAudio))
        await talker.pause(2)
        assert len(talker.all(ResponseAudio)) == count
        talker.session.create_response()
        await talker.hear_out()


async def test_sound_put_into_the_conversation_is_understood_before_it_is_answered() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        talker.session.items.add(MessageItem("item_1", "user", "", loud(1.0).resampled(16_000), spoken=True))
        talker.session.create_response()
        with pytest.raises(Refused, match="active response"):
            talker.session.create_response()
        await talker.hear_out()
        assert fakes.llm.prompts[0][-1]["content"] == "word0 word1 word2 word3 word4"


async def test_items_have_their_places() -> None:
    async with talking() as talker:
        session = talker.session
        session.items.add(MessageItem("b", "user", "two"))
        session.items.add(MessageItem("a", "user", "one"), after="root")
        session.items.add(MessageItem("c", "assistant", "three"), after="b")
        assert [(event.item_id, event.previous_id) for event in talker.all(ItemAdded)] == [
            ("b", None),
            ("a", None),
            ("c", "b"),
        ]
        assert [entry.item_id for entry in session.history] == ["a", "b", "c"]
        session.items.delete("b")
        for act in (
            lambda: session.items.delete("b"),
            lambda: session.items.find("b"),
            lambda: session.items.truncate("b", 0),
        ):
            with pytest.raises(Refused, match="no item b"):
                act()
        with pytest.raises(Refused, match="no item nowhere"):
            session.items.add(MessageItem("d", "user", "four"), after="nowhere")
        with pytest.raises(Refused, match="item a already"):
            session.items.add(MessageItem("a", "user", "again"))
        with pytest.raises(Refused, match="not an answer"):
            session.items.truncate("a", 0)


async def test_only_text_is_answered_in_text() -> None:
    fakes = Fakes(llm=FakeChat(answer="**Bold** and a list:\n- one"))
    async with talking(fakes, audio=False) as talker:
        await talker.say(0.6)
        await talker.hear_out()
        assert talker.told() == fakes.llm.answer, "as it was written, for whoever reads it"
        assert not talker.all(ResponseAudio)
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
        talker.session.update(
            SessionSettings(instructions="Be kind.", listening=ListenerSettings(endpointer=Endpointer(fixed_s=0.9)))
        )
        await talker.say(0.5)
        await talker.hear_out()
        assert fakes.llm.prompts[-1][0]["content"] == "Be kind."
        assert talker.when(SpeechStopped) == pytest.approx(1.9, abs=0.1)
        assert fakes.llm.prompts[-1][1]["content"] == "word0 word1 word2 word3 word4"


async def test_the_answering_model_reads_along() -> None:
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.hear_out()
        assert fakes.llm.prefilled[0] == [{"role": "system", "content": "Be brief."}]
        grown = [messages[-1]["content"] for messages in fakes.llm.prefilled[1:]]
        assert grown == sorted(grown, key=len)
        final = fakes.llm.prompts[-1][-1]["content"]
        assert final.startswith(grown[0])
        assert len(grown) > 2
        assert grown[-1] == final
        assert len(grown) == len(set(grown)), "the same words are read once"


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
    fakes = Fakes(llm=FakeChat(first_token_s=0.01, failure=BROKEN, sentence_end=at_the_end("word2")))
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=0.5))) as talker:
        await talker.say(0.6)
        await talker.pause(0.3)
        assert len(fakes.llm.prompts) == 1
        fakes.llm.failure = None
        assert (await talker.hear_out()).status == "completed"
        assert len(fakes.llm.prompts) == 2


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
        assert talker.all(ErrorOccurred)
        assert not talker.all(ResponseStarted)
        fakes.stt.delay_s = 0.03
        await _recovers(fakes, talker)


@pytest.mark.parametrize("how", ["fails", "hangs", "raises"])
async def test_without_a_judge_the_words_and_silence_end_the_turn(how: str) -> None:
    fakes = Fakes(
        turn=FakeTurnJudge(failure={"fails": BROKEN, "raises": ValueError("odd")}.get(how)),
        llm=FakeChat(sentence_end=lambda words: 0.02),  # it is unsure, so the ear is asked
    )
    if how == "hangs":
        fakes.turn.delay_s = 1e6
    async with talking(fakes) as talker:
        for _ in range(2):
            before = asyncio.get_running_loop().time()
            await talker.say(0.6)
            assert (await talker.hear_out()).status == "completed"
            judged = talker.all(EndpointingEstimated)[-1]
            assert "ear" not in judged.evidence
            assert judged.wait_s > 0.8
            at = [t for t, e in zip(talker.times, talker.events, strict=True) if isinstance(e, SpeechStopped)]
            assert at[-1] - before - 0.6 == pytest.approx(judged.wait_s, abs=0.1)
        assert len(talker.all(ErrorOccurred)) == (how != "hangs"), "told once, and a turn is over before 10 s are"


@pytest.mark.parametrize("delay_s", [0.2, 1e6])
async def test_a_model_slow_to_tell_its_sense_does_not_hold_up_the_turn(delay_s: float) -> None:
    fakes = Fakes(llm=FakeChat(prefill_s=delay_s))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: bool(talker.all(SpeechStopped)))
        assert 0.15 < talker.when(SpeechStopped) - 0.6 < 1.0
        assert (await talker.hear_out()).status == "completed"


async def test_a_vad_that_fails_is_told_once() -> None:
    fakes = Fakes(vad=FakeVad(failure=BROKEN))
    async with talking(fakes) as talker:
        await talker.say(1.0)
        assert [event.code for event in talker.all(ErrorOccurred)] == ["hearing_failed"]
        await talker.pause(0.2)
        await _recovers(fakes, talker)


async def test_many_sessions_do_not_mix() -> None:
    fakes = Fakes()
    async with talking(fakes) as one, talking(fakes) as two:
        await asyncio.gather(one.say(0.6), two.say(1.2))
        await asyncio.gather(one.hear_out(), two.hear_out())
        assert one.all(TranscriptionCompleted)[0].text == "word0 word1 word2"
        assert two.all(TranscriptionCompleted)[0].text == "word0 word1 word2 word3 word4 word5"


async def test_leaving_mid_answer_leaves_nothing_running() -> None:
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        await talker.pause_until(lambda: bool(talker.all(ResponseText)))
    assert fakes.llm.closed == len(fakes.llm.prompts)


async def test_a_reply_stopped_as_it_wakes_is_silent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled task may run once more, where what it waited for came first."""
    sleep, wakes = asyncio.sleep, 0
    async with talking(Fakes(llm=FakeChat(answer=LONG))) as talker:

        async def woken(delay: float) -> None:
            nonlocal wakes
            await sleep(delay)
            wakes += 1
            if wakes == 5:
                talker.session.cancel_response()

        await talker.say(0.6)
        await talker.pause_until(lambda: len(talker.all(ResponseAudio)) > 20)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", lambda delay: woken(delay) if 0 < delay != FRAME_S else sleep(delay))
            await talker.pause(1.0)
        assert wakes >= 5
        assert isinstance(talker.events[-1], ResponseEnded), "not one frame after its end"


async def test_a_commit_counts_from_when_it_is_asked_for_not_from_when_it_is_reached() -> None:
    """The VAD is slow, and the turn would end by itself before the commit is reached."""
    fakes = Fakes(stt=FakeTranscriber(delay_s=0.2))
    async with talking(fakes, listening=ListenerSettings(endpointer=Endpointer(fixed_s=0.1))) as talker:
        await talker.say(0.6)
        await talker.pause(0.18)
        feed = fakes.vad.feed

        async def slow(audio: Audio) -> float:
            await asyncio.sleep(0.3)
            return await feed(audio)

        fakes.vad.feed = slow  # type: ignore[method-assign]
        await talker.pause(0.04)
        assert not talker.all(SpeechStopped)
        talker.session.commit()
        fakes.vad.feed = feed  # type: ignore[method-assign]
        await talker.pause(2.0)
        (speech,) = talker.all(SpeechStarted)
        for kind in (SpeechStopped, InputCommitted, ItemAdded, TranscriptionCompleted):
            assert [event.item_id for event in talker.all(kind)] == [speech.item_id]  # type: ignore[attr-defined]
        assert talker.all(TranscriptionCompleted)[0].text == "word0 word1 word2"


async def test_a_reply_that_waited_for_words_answers_the_turn_that_came_meanwhile() -> None:
    fakes = Fakes(stt=FakeTranscriber(delay_s=2.0))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        talker.session.commit()
        talker.session.create_response()
        await talker.pause(0.1)
        fakes.stt.delay_s = 0.03
        await talker.say(0.6)
        await talker.pause(0.3)
        assert len(talker.all(TranscriptionCompleted)) == 1, (
            "the turn ended, while the words of the first are on their way"
        )
        assert not talker.all(ResponseStarted)
        await talker.hear_out()
        await talker.pause(5)
        assert len(talker.all(ResponseStarted)) == 1, "one answer to both"
        said = {event.item_id: event.text for event in talker.all(TranscriptionCompleted)}
        both = " ".join(said[event.item_id] for event in talker.all(InputCommitted))
        assert fakes.llm.prompts[-1][-1]["content"] == both


async def test_a_full_buffer_refuses_more() -> None:
    async with talking(Fakes(stt=FakeTranscriber(delay_s=1)), listening=MANUAL) as talker:
        minute = Audio(loud(60).pcm, WIRE_RATE)
        for _ in range(11):
            talker.session.append_audio(minute)
        with pytest.raises(Refused, match="600 seconds"):
            talker.session.append_audio(minute)
        talker.session.clear()
        talker.session.append_audio(loud(1.0))
        talker.session.commit()
        await talker.pause(1.5)
        assert talker.all(TranscriptionCompleted)[0].text == "word0 word1 word2 word3 word4"
