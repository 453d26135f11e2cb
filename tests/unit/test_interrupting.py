"""What becomes of speech while a reply is heard, with scripted engines at virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from talker import FRAME_S, Talker, talking

from chinwag.audio import WIRE_RATE, Audio, Samples, silence
from chinwag.audio.gain import DUCKED, RAMP_S
from chinwag.conversation.barge_in import UNDECIDED_S
from chinwag.conversation.events import (
    ErrorOccurred,
    IdleTimeoutReached,
    PartialTranscript,
    ResponseAudio,
    ResponseDucked,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    ResponseUnducked,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TurnRetracted,
)
from chinwag.conversation.settings import SEND_AHEAD_S
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeVoice
from chinwag.listening.listener import CONTINUATION_S
from chinwag.realtime.connection import STOCK_SEND_AHEAD_S
from chinwag.text.prompt import SILENCE_PROMPT

pytestmark = pytest.mark.unit

LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))
QUESTION = ["what", "is", "it", "like", "there"]
EVENTS = (SpeechStarted, SpeechStopped, ResponseStarted, ResponseDucked, ResponseUnducked, ResponseEnded, TurnRetracted)


def fakes_for(*answers: str, **chat: Any) -> Fakes:
    """The model answers whole questions only, so that each answer stands for one turn."""
    ends = ("there", "on", "again", "stop", "wait", "well", "so")
    sense: Callable[[str], float] = lambda words: 0.97 if words.lower().rstrip(".").endswith(ends) else 0.0  # noqa: E731
    llm = FakeChat(answers=list(answers), sentence_end=sense, **chat)
    return Fakes(llm=llm, stt=FakeTranscriber(words=list(QUESTION)))


async def ask(talker: Talker, fakes: Fakes, words: str = " ".join(QUESTION)) -> None:
    """Say that, a word in 200 ms."""
    fakes.stt.words = words.split()
    await talker.say(0.2 * len(fakes.stt.words) + 0.01)


async def until_heard(talker: Talker, seconds: float) -> None:
    """Until so much of the newest reply has been heard."""

    def played() -> bool:
        reply = talker.session.last_response
        return reply is not None and reply.playout.played >= seconds * WIRE_RATE

    await talker.pause_until(played, limit_s=60)


async def asked_and_heard(talker: Talker, fakes: Fakes, seconds: float = 3.0) -> int:
    """Ask, and listen to the answer for so long; the number of events until then."""
    await ask(talker, fakes)
    await until_heard(talker, seconds)
    return len(talker.events)


def kinds_since(talker: Talker, place: int) -> list[str]:
    return [type(event).__name__ for event in talker.events[place:] if isinstance(event, EVENTS)]


def frames(talker: Talker) -> list[Audio]:
    return [event.audio for event in talker.all(ResponseAudio)]


def whole(talker: Talker) -> Samples:
    return np.concatenate([frame.pcm for frame in frames(talker)])


async def undisturbed(answer: str = LONG) -> Samples:
    """The sound of that answer where nobody interrupts it."""
    fakes = fakes_for(answer)
    async with talking(fakes) as talker:
        await ask(talker, fakes)
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        return whole(talker)


# --- what passes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ducks", [False, True])
async def test_a_backchannel_lowers_the_reply_and_it_goes_on_from_the_same_place(ducks: bool) -> None:
    fakes = fakes_for(LONG)
    async with talking(fakes, client_ducks=ducks) as talker:
        place = await asked_and_heard(talker, fakes)
        began = asyncio.get_running_loop().time()
        await ask(talker, fakes, "Mm-hmm.")
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked", "ResponseEnded"]
        assert talker.when(ResponseDucked) - began <= 0.13, "three frames of the VAD, and one of the microphone"
        assert talker.when(ResponseUnducked) - began < 0.21 + 0.45 + 0.1
        assert talker.all(ResponseDucked)[0].item_id == frames_item(talker)
        assert talker.all(ResponseEnded)[0].status == "completed"
        assert talker.told() == LONG
        sent = frames(talker)
        assert [frame.start for frame in sent[1:]] == [frame.end for frame in sent[:-1]]
        await talker.pause(0.5)
        assert talker.session.history.prompt("")[-1] == {"role": "assistant", "content": LONG}
        assert len(talker.session.history.prompt("")) == 2, "a backchannel is no turn"
        full, heard = await undisturbed(), whole(talker)
        assert len(heard) == len(full), "no sample is lost, none comes twice"
        if ducks:
            np.testing.assert_array_equal(heard, full)
        else:
            low = np.flatnonzero(np.abs(heard - full) > 1e-6)
            start, end = int(low[0]), int(low[-1]) + 1
            np.testing.assert_array_equal(heard[:start], full[:start])
            np.testing.assert_array_equal(heard[end:], full[end:])
            ramp = round(RAMP_S * WIRE_RATE)
            inside = slice(start + ramp, end - ramp)
            np.testing.assert_allclose(heard[inside], DUCKED * full[inside], atol=1e-6)
            loudness = np.abs(full[start - 1 : end + 1]) > 0.4
            gain = np.abs(heard[start - 1 : end + 1])[loudness] / np.abs(full[start - 1 : end + 1])[loudness]
            assert np.abs(np.diff(gain)).max() < 0.02, "no click where the loudness changes"


def frames_item(talker: Talker) -> str:
    (item_id,) = {event.item_id for event in talker.all(ResponseAudio)}
    return item_id


async def test_what_passes_leaves_no_words_behind() -> None:
    fakes = fakes_for(LONG, "Nice.")
    async with talking(fakes) as talker:
        await asked_and_heard(talker, fakes)
        await ask(talker, fakes, "Yeah.")
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        await talker.pause(1.0)
        assert [event.text for event in talker.all(TranscriptionCompleted)] == [" ".join(QUESTION)]
        assert {event.item_id for event in talker.all(PartialTranscript)} == {talker.all(SpeechStarted)[0].item_id}
        assert len(fakes.llm.prompts) == 1
        await ask(talker, fakes)
        await talker.hear_out()
        assert fakes.llm.prompts[-1][-1]["content"] == " ".join(QUESTION)


async def test_late_words_of_a_backchannel_are_nobodys() -> None:
    """The transcriber answers after the decision could be taken, and the words then belong to no item."""
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.delay_s = 0.3
        await ask(talker, fakes, "Okay.")
        await talker.pause(2.0)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"]
        assert all(event.item_id for event in talker.all(PartialTranscript))


async def test_a_cough_has_no_words_and_passes() -> None:
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.words = []
        await talker.say(0.3)
        await talker.pause(1.0)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"]
        assert len(talker.all(TranscriptionCompleted)) == 1


async def test_one_backchannel_after_another() -> None:
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        for words in ("Yeah.", "Right.", "I see."):
            await ask(talker, fakes, words)
            await talker.pause(1.0)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"] * 3
        await ask(talker, fakes, "Okay but what is it so")
        await talker.pause(0.5)
        assert kinds_since(talker, place)[6:9] == ["ResponseDucked", "SpeechStarted", "ResponseEnded"]


# --- what interrupts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ducks", [False, True])
async def test_words_stop_the_reply_and_what_was_heard_is_remembered(ducks: bool) -> None:
    fakes = fakes_for(LONG, "Fine.")
    async with talking(fakes, client_ducks=ducks) as talker:
        place = await asked_and_heard(talker, fakes, 4.0)
        began = asyncio.get_running_loop().time()
        await ask(talker, fakes, "but why is it so")
        ended = talker.when(ResponseEnded)
        assert kinds_since(talker, place)[:3] == ["ResponseDucked", "SpeechStarted", "ResponseEnded"]
        assert talker.when(ResponseDucked) - began <= 0.13
        assert ended - began < 0.8, "once its words are known"
        assert not talker.sound_after(SpeechStarted, 1)
        reply = talker.all(ResponseEnded)[0]
        assert (reply.status, reply.reason) == ("cancelled", "turn_detected")
        heard_s = ended - talker.when(ResponseAudio)
        heard = talker.session.history.prompt("")[1]["content"]
        assert LONG.startswith(heard)
        assert len(heard) == pytest.approx(heard_s * 20, abs=12), "20 characters a second, to a word"
        await talker.hear_out()
        assert fakes.llm.prompts[-1][-2:] == [
            {"role": "assistant", "content": heard},
            {"role": "user", "content": "but why is it so"},
        ]
        assert talker.told().endswith("Fine.")
        assert not talker.all(ResponseUnducked)
        second = [event for event in talker.all(ResponseAudio) if event.item_id != reply.item_id]
        assert max(np.abs(event.audio.pcm).max() for event in second) == pytest.approx(0.5), "the next is not low"


async def test_any_speech_stops_it_at_once_where_asked() -> None:
    fakes = fakes_for(LONG)
    fakes.stt.words = []
    async with talking(fakes, interruption="speech") as talker:
        place = await asked_and_heard(talker, fakes)
        began = asyncio.get_running_loop().time()
        fakes.stt.words = []
        await talker.say(0.3)
        assert kinds_since(talker, place) == ["SpeechStarted", "ResponseEnded"]
        assert talker.when(ResponseEnded) - began <= 0.13


async def test_nothing_stops_it_where_interruption_is_off() -> None:
    fakes = fakes_for(LONG, "Fine.")
    async with talking(fakes, interruption="off") as talker:
        place = await asked_and_heard(talker, fakes)
        await ask(talker, fakes, "stop and tell me why it is there")
        await talker.pause(1.0)
        assert kinds_since(talker, place) == ["SpeechStarted", "SpeechStopped"]
        await talker.pause_until(lambda: len(talker.all(ResponseEnded)) == 2, limit_s=60)
        assert talker.told() == f"{LONG}Fine."


async def test_the_mode_may_change_while_somebody_speaks() -> None:
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.words = []
        await talker.say(0.2)
        settings = talker.session.settings
        talker.session.update(replace(settings, interruption="off"))
        await talker.pause(0.1)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"]
        await talker.pause(1)
        talker.session.update(replace(settings, interruption="speech"))
        await talker.say(0.3)
        assert kinds_since(talker, place)[2:] == ["SpeechStarted", "ResponseEnded"]


async def test_speech_that_outlasts_the_reply_is_a_turn_like_any_other() -> None:
    answer = "This is an answer of some length, and there it ends."
    fakes = fakes_for(answer, "Fine.")
    async with talking(fakes) as talker:
        fakes.stt.delay_s = 0.5  # words come too late to decide while the reply is heard
        await ask(talker, fakes)
        await until_heard(talker, 2.3)
        place = len(talker.events)
        await ask(talker, fakes, "and what is it like if I go on there")
        await talker.hear_out()
        since = kinds_since(talker, place)
        assert since[0] == "ResponseDucked"
        assert [kind for kind in since if kind != "ResponseEnded"] == [
            "ResponseDucked",
            "SpeechStarted",
            "SpeechStopped",
            "ResponseStarted",
        ]
        assert [event.status for event in talker.all(ResponseEnded)] == ["completed", "completed"]
        assert talker.session.history.prompt("") == [
            {"role": "user", "content": " ".join(QUESTION)},
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "and what is it like if I go on there"},
            {"role": "assistant", "content": "Fine."},
        ]


async def test_a_transcriber_that_hangs_leaves_nothing_undecided() -> None:
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        await ask(talker, fakes)
        await until_heard(talker, 3.0)
        place, began = len(talker.events), asyncio.get_running_loop().time()
        fakes.stt.delay_s = 1e6
        await talker.say(0.5)
        await talker.pause(UNDECIDED_S + 1)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"]
        assert talker.when(ResponseUnducked) - began < UNDECIDED_S + 0.2
        await talker.say(3.0)
        assert kinds_since(talker, place)[2:] == ["ResponseDucked", "SpeechStarted", "ResponseEnded"], (
            "nobody coughs so long"
        )
        await talker.pause(12)
        assert talker.all(ErrorOccurred)
        fakes.stt.delay_s = 0.03
        await ask(talker, fakes)
        assert (await talker.hear_out()).status == "completed"


@pytest.mark.parametrize("words", ["", "Fine so what about", "Yeah"])
async def test_the_watchdog_decides_what_an_engine_leaves_open(words: str) -> None:
    """Not even the VAD answers any more: no frame, no silence, no word will come to decide it."""
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.words = words.split()
        reply = talker.session.last_response
        assert reply is not None
        while not talker.all(ResponseDucked):
            await talker.say(FRAME_S)
        ducked = talker.when(ResponseDucked)
        hang = asyncio.get_running_loop().create_future()
        feed = fakes.vad.feed
        fakes.vad.feed = lambda audio: hang  # type: ignore[method-assign, assignment, return-value]
        await talker.say(UNDECIDED_S + 0.5)
        assert kinds_since(talker, place) == ["ResponseDucked", "ResponseUnducked"]
        assert talker.when(ResponseUnducked) - ducked == pytest.approx(UNDECIDED_S, abs=0.05)
        fakes.vad.feed = feed  # type: ignore[method-assign]
        hang.set_result(0.0)
        await talker.pause(1)
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        await ask(talker, fakes)
        assert (await talker.hear_out()).status == "completed"


@pytest.mark.parametrize("how", ["commit", "clear", "cancel", "manual"])
async def test_what_the_client_does_meanwhile_decides_it(how: str) -> None:
    fakes = fakes_for(LONG, "Fine.")
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.words = ["Well", "well", "well"]
        await talker.say(0.3)
        assert kinds_since(talker, place) == ["ResponseDucked"]
        session = talker.session
        match how:
            case "commit":
                session.commit()
                wanted = ["ResponseDucked", "SpeechStarted", "ResponseEnded", "SpeechStopped"]
            case "clear":
                session.clear()
                wanted = ["ResponseDucked", "ResponseUnducked"]
            case "cancel":
                session.cancel_response()
                wanted = [
                    "ResponseDucked",
                    "ResponseEnded",
                    "SpeechStarted",
                    "SpeechStopped",
                    "ResponseStarted",
                    "ResponseEnded",
                ]
            case _:
                hearing = replace(session.settings.listening, automatic=False)
                session.update(replace(session.settings, listening=hearing))
                wanted = ["ResponseDucked", "ResponseUnducked"]
        if how == "cancel":
            await talker.say(0.3)
        await talker.pause(UNDECIDED_S + 2)
        assert kinds_since(talker, place) == wanted
        assert all(event.item_id for event in talker.events if isinstance(event, SpeechStarted | SpeechStopped))


async def test_after_a_cancelled_reply_speech_is_heard_as_what_it_is() -> None:
    """Sound that was sent is not sound that is heard, once the client has dropped it."""
    fakes = fakes_for(LONG)
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        talker.session.cancel_response()
        await talker.say(0.2)
        assert kinds_since(talker, place) == ["ResponseEnded", "SpeechStarted"]


# --- who goes on --------------------------------------------------------------------------------------------------


async def test_who_goes_on_before_a_word_was_heard_is_answered_once_and_as_a_whole() -> None:
    fakes = fakes_for("First.", first_token_s=0.8)
    fakes.llm.answer = "Second."
    async with talking(fakes) as talker:
        await ask(talker, fakes, "I went there")
        await talker.pause_until(lambda: bool(talker.all(ResponseStarted)))
        await talker.pause(0.5)
        assert not talker.all(ResponseAudio)
        place = len(talker.events)
        await ask(talker, fakes, "I went there and it was well")
        await talker.hear_out()
        since = kinds_since(talker, place)
        assert since[:3] == ["SpeechStarted", "ResponseEnded", "TurnRetracted"]
        assert since[3:] == ["SpeechStopped", "ResponseStarted", "ResponseEnded"]
        first, second = talker.all(SpeechStarted)
        assert talker.all(TurnRetracted)[0].item_id == first.item_id
        assert talker.all(TranscriptionCompleted)[-1].text == "I went there and it was well"
        assert talker.session.history.prompt("") == [
            {"role": "user", "content": "I went there and it was well"},
            {"role": "assistant", "content": "Second."},
        ]
        assert talker.session.items.find(second.item_id).heard_text == "I went there and it was well"
        assert talker.all(ResponseEnded)[0].reason == "turn_detected"
        assert fakes.llm.closed == len(fakes.llm.prompts)


async def test_who_goes_on_later_begins_a_new_turn() -> None:
    fakes = fakes_for(LONG, "Second.", first_token_s=CONTINUATION_S + 1.0)
    async with talking(fakes) as talker:
        await ask(talker, fakes, "I went there")
        await talker.pause_until(lambda: bool(talker.all(ResponseStarted)))
        await talker.pause(CONTINUATION_S)
        fakes.llm.first_token_s = 0.1
        place = len(talker.events)
        await ask(talker, fakes, "and it was so very well")
        await talker.hear_out()
        assert not talker.all(TurnRetracted)
        assert kinds_since(talker, place)[:3] == ["ResponseDucked", "SpeechStarted", "ResponseEnded"]
        assert len(talker.all(TranscriptionCompleted)) == 2
        assert fakes.llm.prompts[-1][-1]["content"] == "I went there and it was so very well"


async def test_after_a_heard_start_it_yields_at_once() -> None:
    fakes = fakes_for(LONG, "Second.")
    async with talking(fakes) as talker:
        await ask(talker, fakes, "I went there")
        await until_heard(talker, 0.8)
        place, began = len(talker.events), asyncio.get_running_loop().time()
        fakes.stt.words = []
        await talker.say(0.2)
        assert kinds_since(talker, place) == ["SpeechStarted", "ResponseEnded"], "not ducked, whatever the words"
        assert talker.when(ResponseEnded) - began <= 0.13
        fakes.stt.words = ["and", "it", "was", "well"]
        await talker.say(0.6)
        await talker.hear_out()
        assert not talker.all(TurnRetracted)
        said = talker.session.history.prompt("")
        assert [message["role"] for message in said] == ["user", "assistant", "user", "assistant"]
        assert LONG.startswith(said[1]["content"])
        assert 8 < len(said[1]["content"]) < 30


@pytest.mark.parametrize("wanted", ["words", "off"])
async def test_a_turn_that_waits_for_an_answer_to_another_is_not_mixed_up_with_it(wanted: str) -> None:
    """Two turns in a row, a third that goes on from the second: each is in the history once."""
    fakes = fakes_for("First.", "Second.", "Third.", first_token_s=4.0)
    async with talking(fakes, interruption=wanted) as talker:
        await ask(talker, fakes, "one is there")
        await talker.pause(2.5)
        await ask(talker, fakes, "two is there")
        await talker.pause(0.6)
        await ask(talker, fakes, "two is there and three is there")
        fakes.llm.first_token_s = 0.1
        await talker.pause(20)
        said = [message["content"] for message in talker.session.history.prompt("") if message["role"] == "user"]
        assert " ".join(said).count("one is there") == 1
        assert " ".join(said).count("three") == 1
        assert len(talker.all(ResponseStarted)) == len(talker.all(ResponseEnded))


async def test_a_change_of_mode_does_not_answer_into_their_words() -> None:
    """A turn waited for the reply before it to end; it ends as they speak again, and then they have the floor."""
    fakes = fakes_for(LONG, "Fine.", "Odd.")
    async with talking(fakes, interruption="off") as talker:
        await asked_and_heard(talker, fakes)
        await ask(talker, fakes, "and is it well")
        await talker.pause(1)
        talker.session.update(replace(talker.session.settings, interruption="speech"))
        place = len(talker.events)
        await ask(talker, fakes, "but why is it so")
        assert kinds_since(talker, place) == ["SpeechStarted", "ResponseEnded"]
        await talker.hear_out()
        answered = ["SpeechStarted", "ResponseEnded", "SpeechStopped", "ResponseStarted", "ResponseEnded"]
        assert kinds_since(talker, place) == answered
        assert fakes.llm.prompts[-1][-1]["content"] == "and is it well but why is it so"
        await talker.pause(5)
        assert kinds_since(talker, place) == answered, "and once"


# --- asked for, and done ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["Okay stop.", "Stop.", "Wait.", "Hold on."])
async def test_stop_and_wait_are_obeyed_without_a_word(words: str) -> None:
    fakes = fakes_for(LONG, "Fine.")
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        await ask(talker, fakes, words)
        await talker.pause(4)
        assert kinds_since(talker, place) == ["ResponseDucked", "SpeechStarted", "ResponseEnded", "SpeechStopped"]
        assert talker.session.history.prompt("")[-1] == {"role": "user", "content": words}
        assert len(fakes.llm.prompts) == 1
        await ask(talker, fakes)
        assert (await talker.hear_out()).status == "completed"
        assert talker.told().endswith("Fine.")


async def test_go_on_continues_from_where_the_ear_left() -> None:
    fakes = fakes_for(LONG, token_s=0.05)
    calls: list[list[Any]] = []
    chat = fakes.llm.chat

    def noted(messages: Any, **options: Any) -> Any:
        calls.append(list(messages))
        return chat(messages, **options)

    fakes.llm.chat = noted  # type: ignore[method-assign]
    async with talking(fakes) as talker:
        await asked_and_heard(talker, fakes, 2.0)
        await ask(talker, fakes, "Wait.")
        await talker.pause(2)
        heard = talker.session.history.prompt("")[1]["content"]
        first = talker.session.last_response
        assert first is not None
        unsaid = first.unheard_text
        assert unsaid
        assert LONG.startswith(f"{heard} {unsaid}")
        place = len(talker.events)
        await ask(talker, fakes, "Please go on")
        await talker.pause_until(lambda: len(talker.all(ResponseEnded)) == 2, limit_s=60)
        said = "".join(e.text for e in talker.events[place:] if isinstance(e, ResponseText))
        assert said == LONG.removeprefix(heard).strip()
        assert calls[-1] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": " ".join(QUESTION)},
            {"role": "assistant", "content": f"{heard} {unsaid}"},
        ]
        assert talker.all(ResponseEnded)[-1].status == "completed"


async def test_go_on_with_a_model_that_cannot_continue_says_the_rest_that_was_made() -> None:
    fakes = fakes_for("One is here. Two is here. Three is here. Four is here. Five is here.", token_s=0.001)
    fakes.llm.continues = False  # type: ignore[misc]
    async with talking(fakes) as talker:
        await asked_and_heard(talker, fakes, 1.5)
        await ask(talker, fakes, "Wait.")
        await talker.pause(2)
        heard = talker.session.history.prompt("")[1]["content"]
        place = len(talker.events)
        await ask(talker, fakes, "go on")
        await talker.pause_until(lambda: len(talker.all(ResponseEnded)) == 2, limit_s=60)
        said = "".join(e.text for e in talker.events[place:] if isinstance(e, ResponseText))
        assert f"{heard} {said}" == "One is here. Two is here. Three is here. Four is here. Five is here."
        assert len(fakes.llm.prompts) == 1


async def test_say_that_again_repeats_the_answer() -> None:
    answer = "It is warm there."
    fakes = fakes_for(answer)
    async with talking(fakes) as talker:
        await asked_and_heard(talker, fakes, 0.8)
        await talker.pause(CONTINUATION_S)
        await ask(talker, fakes, "Say that again")
        assert (await talker.hear_out()).status == "completed"
        assert [event.text for event in talker.all(ResponseText)] == [answer, answer]
        assert len(fakes.llm.prompts) == 1
        assert len(talker.session.history.prompt("")) == 4


# --- silence ------------------------------------------------------------------------------------------------------


async def test_after_a_long_silence_one_gentle_word() -> None:
    fakes = fakes_for("Hello.", "Are you well?", "Good.", "Still there?")
    async with talking(fakes, idle_s=6.0) as talker:
        await ask(talker, fakes)
        await talker.pause_until(lambda: len(talker.all(ResponseEnded)) == 1)
        heard_at = asyncio.get_running_loop().time() + talker.session.last_response.playout.ahead_s  # type: ignore[union-attr]
        await talker.pause(20)
        (grew,) = talker.all(IdleTimeoutReached)
        assert talker.when(IdleTimeoutReached) == pytest.approx(heard_at + 6.0, abs=0.05)
        assert grew.end_ms - grew.start_ms == 6000
        assert fakes.llm.prompts[-1][-1] == {"role": "system", "content": SILENCE_PROMPT}
        assert len(talker.all(ResponseStarted)) == 2, "once, and not again"
        await ask(talker, fakes)
        await talker.hear_out()
        assert SILENCE_PROMPT not in str(fakes.llm.prompts[-1])
        await talker.pause(20)
        assert len(talker.all(IdleTimeoutReached)) == 2, "after they have spoken, it may come again"


async def test_a_cough_is_no_answer_to_the_long_silence() -> None:
    fakes = fakes_for("Hello.", "Are you well?")
    async with talking(fakes, idle_s=6.0) as talker:
        await ask(talker, fakes)
        await talker.hear_out()
        fakes.stt.words = []
        await talker.say(0.3)
        await talker.pause(20)
        assert len(talker.all(IdleTimeoutReached)) == 1


async def test_speech_ends_the_long_silence() -> None:
    fakes = fakes_for("Hello.", "Good.", "Too early.")
    async with talking(fakes, idle_s=6.0) as talker:
        await ask(talker, fakes)
        await talker.hear_out()
        await talker.pause(4)
        await ask(talker, fakes)
        await talker.pause(5)
        assert not talker.all(IdleTimeoutReached)


async def test_a_greeting_is_said_first_and_may_be_interrupted() -> None:
    fakes = fakes_for("Fine.")
    async with talking(fakes, greeting="Hello there, and welcome to this place.") as talker:
        await talker.pause(3.5)
        assert talker.told() == "Hello there, and welcome to this place."
        assert not fakes.llm.prompts
        assert talker.all(ResponseEnded)[0].status == "completed"
        await ask(talker, fakes)
        await talker.hear_out()
        assert fakes.llm.prompts[-1][1]["content"] == "Hello there, and welcome to this place."
    fakes = fakes_for("Fine.")
    async with talking(fakes, greeting=LONG) as talker:
        await talker.pause(3)
        await ask(talker, fakes, "hey what is it so")
        assert talker.all(ResponseEnded)[0].status == "cancelled"
        await talker.hear_out()
        heard = fakes.llm.prompts[-1][1]["content"]
        assert LONG.startswith(heard)
        assert heard != LONG


# --- clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead_s", [SEND_AHEAD_S, STOCK_SEND_AHEAD_S])
async def test_sound_is_sent_no_further_ahead_than_the_client_can_lower(lead_s: float) -> None:
    fakes = fakes_for(LONG, token_s=0.001)
    async with talking(fakes, send_ahead_s=lead_s) as talker:
        await ask(talker, fakes)
        await talker.pause_until(lambda: bool(talker.all(ResponseEnded)), limit_s=60)
        first, sent = talker.when(ResponseAudio), 0.0
        ahead = []
        for at, event in zip(talker.times, talker.events, strict=True):
            if isinstance(event, ResponseAudio):
                ahead.append(sent - (at - first))
                sent += event.audio.seconds
        assert max(ahead) <= lead_s + 1e-6
        assert max(ahead) > lead_s - 0.04


@dataclass
class SpeakingVoice(FakeVoice):
    """Noise in syllables, each with a spectrum of its own, like speech to an ear for echoes."""

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        await asyncio.sleep(self.delay_s)
        self.spoken.append(text)
        yield Audio(syllables(len(text) / 20, seed=len(self.spoken)), self.rate)


def syllables(seconds: float, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    pieces: list[NDArray[np.floating[Any]]] = []
    while sum(len(piece) for piece in pieces) < seconds * WIRE_RATE:
        count = round(random.uniform(0.08, 0.25) * WIRE_RATE)
        spectrum = np.fft.rfft(random.normal(size=count))
        hertz = np.fft.rfftfreq(count, 1 / WIRE_RATE)
        formants = sum(
            np.exp(-(((hertz - random.uniform(*band)) / 150) ** 2)) for band in ((200, 900), (800, 2400), (2000, 3500))
        )
        syllable = np.fft.irfft(spectrum * formants, count) * np.hanning(count)
        pieces.append(0.3 * syllable / np.abs(syllable).max() * random.uniform(0.4, 1.0))
        pieces.append(np.zeros(round(random.uniform(0.0, 0.06) * WIRE_RATE)))
    return np.concatenate(pieces)[: round(seconds * WIRE_RATE)].astype(np.float32)


class Room:
    """A microphone that hears the reply 80 ms late at -12 dB, and a person."""

    def __init__(self, talker: Talker) -> None:
        self._talker, self._told, self._played = talker, 0, np.zeros(0, np.float32)
        self._begun: int | None = None
        self._sent = 0

    async def hear(self, person: Audio) -> None:
        size = round(FRAME_S * WIRE_RATE)
        for place in range(0, len(person.pcm), size):
            frame = person.pcm[place : place + size] + 10 ** (-12 / 20) * self._loudspeaker(size)
            self._talker.session.append_audio(Audio(frame.astype(np.float32), WIRE_RATE))
            await asyncio.sleep(FRAME_S)

    def _loudspeaker(self, size: int) -> Samples:
        new = [event.audio.pcm for event in self._talker.events[self._told :] if isinstance(event, ResponseAudio)]
        self._told = len(self._talker.events)
        if new and self._begun is None:
            self._begun = self._sent + round(0.08 * WIRE_RATE)
        self._played = np.concatenate([self._played, *new])
        start = self._sent - self._begun if self._begun is not None else -size
        self._sent += size
        out = np.zeros(size, np.float32)
        if start >= 0:
            piece = self._played[start : start + size]
            out[: len(piece)] = piece
        return out


async def test_the_replys_own_echo_does_not_interrupt_it_and_a_person_does() -> None:
    """With a transcriber that hears words in anything: the ear for echoes alone has to tell them apart."""
    fakes = fakes_for(LONG, "Fine.")
    fakes.tts = SpeakingVoice()
    async with talking(fakes) as talker:
        await ask(talker, fakes)
        room = Room(talker)
        fakes.stt.words = ["but", "what", "is", "that", "and", "why", "is", "it", "so"]
        await room.hear(silence(12.0, WIRE_RATE))
        assert not talker.all(ResponseEnded), "it stopped itself"
        ducked_s = sum(
            resumed - ducked
            for ducked, resumed in zip(times(talker, ResponseDucked), times(talker, ResponseUnducked), strict=True)
        )
        assert ducked_s < 1.2
        person = Audio(syllables(1.6, seed=999) * 1.5, WIRE_RATE)
        await room.hear(person)
        assert [event.status for event in talker.all(ResponseEnded)] == ["cancelled"]
        assert len(talker.all(SpeechStarted)) == 2


def times(talker: Talker, kind: type[Any]) -> list[float]:
    return [at for at, event in zip(talker.times, talker.events, strict=True) if isinstance(event, kind)]


async def test_a_person_alone_is_heard_through_any_reply() -> None:
    fakes = fakes_for(LONG, "Fine.")
    fakes.tts = SpeakingVoice()
    async with talking(fakes) as talker:
        place = await asked_and_heard(talker, fakes)
        fakes.stt.words = ["but", "what", "is", "that", "and", "why", "is", "it", "so"]
        await talker.send(Audio(syllables(1.6, seed=999), WIRE_RATE))
        assert kinds_since(talker, place)[:3] == ["ResponseDucked", "SpeechStarted", "ResponseEnded"]
