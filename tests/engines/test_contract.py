"""What every engine keeps to, whoever wrote it: with real weights, for all that are installed or are named."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
from engines.contract import loaded, speech, then_silence, watched, words
from engines.provided import MAY_LOAD_S, Named, close, engines, has_server, provided

from chinwag.audio import LISTEN_RATE, Audio, join, silence
from chinwag.bench.metrics import word_errors
from chinwag.engines import registry
from chinwag.engines.protocols import (
    ChatModel,
    Delta,
    EngineOptions,
    Message,
    Task,
    Transcriber,
    TurnJudge,
    Utterance,
    Vad,
    Voice,
)
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import primary_subtag
from chinwag.weights.catalog import Catalog

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(MAY_LOAD_S),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning"),  # of what extras bring
]

SHORT = "What is the capital of France?"
OTHER = "Please turn off the lights in the kitchen."
LONG = "The train leaves early. Please bring your ticket with you. It takes an hour. There is no other today."
NO_LANGUAGE = "xx"
GREETINGS = {
    "de": "Guten Morgen, wie geht es dir?", "en": "Good morning, how are you?", "es": "Buenos días, ¿cómo estás?",
    "fr": "Bonjour, comment vas-tu?", "hi": "नमस्ते, आप कैसे हैं?", "it": "Buongiorno, come stai?",
    "ja": "おはようございます。お元気ですか。", "ko": "안녕하세요, 잘 지내세요?", "pt": "Bom dia, como você está?",
    "zh": "早上好，你好吗？",
}  # fmt: skip
HELLO: list[Message] = [{"role": "user", "content": "Count from one to twenty, in words."}]


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    yield
    close()


def every(*tasks: Task) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("named", engines(*tasks), ids=":".join)


@asynccontextmanager
async def engine(named: Named) -> AsyncIterator[Any]:
    """The engine, loaded; closed twice, and nothing of it runs on afterwards."""
    async with provided(*named) as (kind, settings):
        threads, children = set(threading.enumerate()), set(psutil.Process().children(recursive=True))
        async with loaded(kind, settings) as made:
            yield made
        until = time.monotonic() + 10.0
        while time.monotonic() < until:
            left = [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("chinwag")]
            grown = [child for child in set(psutil.Process().children(recursive=True)) - children if child.is_running()]
            if not left and not grown:
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"left running: {left} {grown}")


def is_explained(failure: pytest.ExceptionInfo[Any]) -> None:
    error = failure.value
    assert error.message.rstrip().endswith((".", "?", "!")), error.message
    assert len(error.message) > 10
    assert error.fix, f"{error.message} — and what now?"


# every engine


@every()
def test_it_tells_what_it_is_before_it_is_loaded(named: Named) -> None:
    kind = registry.lookup(*named)
    about = kind.about
    assert kind.name == named[1]
    assert about.summary
    assert about.licence
    assert about.languages
    assert not about.modules or about.extra or registry.install_command(kind)


@every()
async def test_weights_that_are_missing_or_damaged_are_named(named: Named, tmp_path: Path) -> None:
    async with provided(*named) as (kind, settings):
        needs = kind.needs(settings)
        known = Catalog().models
        assert set(needs) <= set(known)
        for name in needs:
            assert known[name].task == named[0]
        if not needs:
            return
        with pytest.raises(EngineError) as failure:
            await asyncio.to_thread(kind.load, EngineOptions(settings))
        is_explained(failure)
        assert f"chinwag models pull {needs[0]}" in failure.value.fix
        for name in needs:
            for file in known[name].files:
                (tmp_path / file.name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / file.name).write_bytes(b"not what it should be")
        with pytest.raises(EngineError) as failure:
            await asyncio.to_thread(kind.load, EngineOptions(settings, dict.fromkeys(needs, tmp_path)))
        is_explained(failure)


@every("stt", "llm", "tts")
async def test_a_model_that_is_not_there_is_told(named: Named) -> None:
    async with provided(*named) as (kind, settings):
        models = await asyncio.to_thread(kind.models, settings)
        assert all(models)
        if has_server(named) and named[1] != "ollama":
            return  # what it calls its models is the server's affair, and it is asked at the first use
        wrong = settings.model_copy(update={"model": "no-such-model-7b"})
        with pytest.raises(ChinwagError, match="no-such-model") as failure:
            async with loaded(kind, wrong):
                pytest.fail("it was loaded all the same")
        is_explained(failure)


@every("stt", "llm", "tts")
async def test_an_option_that_it_does_not_know_is_told(named: Named) -> None:
    async with provided(*named) as (kind, settings):
        wrong = settings.model_copy(update={"options": {"no_such_option": 1}})
        with pytest.raises(EngineError, match="no_such_option") as failure:
            async with loaded(kind, wrong):
                pytest.fail("it was loaded all the same")
        is_explained(failure)


# voices


async def said(speaker: Voice, text: str, **how: Any) -> list[Audio]:
    async with aclosing(speaker.speak(text, **how)) as pieces:
        return [piece async for piece in pieces]


def one(voice: Voice, pieces: Sequence[Audio]) -> Audio:
    """The pieces put together, after a look at each."""
    at = 0
    for piece in pieces:
        assert (piece.rate, piece.start) == (voice.rate, at)
        assert piece.pcm.dtype == np.float32
        assert piece.pcm.ndim == 1
        assert np.isfinite(piece.pcm).all()
        at = piece.end
    whole = join(list(pieces))
    assert 0.02 < np.abs(whole.pcm).max() < 1.5
    return whole


@every("tts")
async def test_a_voice_is_understood_and_speed_changes_its_length(named: Named) -> None:
    async with engine(named) as voice, loaded(Moonshine) as ear:
        english = "en" in voice.languages or not voice.languages
        language = "en" if english else next(iter(voice.languages))
        text = f"{SHORT} {OTHER}" if english else " ".join([GREETINGS.get(language, GREETINGS["en"])] * 2)
        usual = one(voice, await said(voice, text, language=language))
        if english:
            utterance = ear.open()
            utterance.push(usual.resampled(LISTEN_RATE))
            heard = (await utterance.finish()).text
            errors, count = word_errors(text, heard)
            assert errors <= count * 0.25, heard
        fast = one(voice, await said(voice, text, speed=1.5, language=language))
        assert 0.5 < fast.seconds / usual.seconds < 0.88


@every("tts")
async def test_the_first_voice_of_each_language_speaks(named: Named) -> None:
    async with engine(named) as voice:
        assert voice.voices or not voice.languages
        for language, names in voice.languages.items():
            assert primary_subtag(language) == language
            assert set(names) <= set(voice.voices)
            text = GREETINGS.get(language, GREETINGS["en"])
            audio = one(voice, await said(voice, text, voice=names[0], language=language))
            assert 0.5 < audio.seconds < 12, language


@every("tts")
async def test_two_speak_at_once_and_the_loop_stays_free(named: Named) -> None:
    async with engine(named) as voice:
        alone = [one(voice, await said(voice, text)).seconds for text in (SHORT, LONG)]
        async with watched(named[1]):
            both = await asyncio.gather(said(voice, SHORT), said(voice, LONG))
        for seconds, pieces in zip(alone, both, strict=True):  # some voices never say a thing twice the same way
            assert one(voice, pieces).seconds == pytest.approx(seconds, rel=0.3, abs=0.3)


@every("tts")
async def test_a_voice_that_is_stopped_has_time_for_another(named: Named) -> None:
    async with engine(named) as voice:

        async def first(text: str) -> float:
            began = time.perf_counter()
            async with aclosing(voice.speak(text)) as pieces:
                await anext(pieces)
                return time.perf_counter() - began

        usual = await first(SHORT)
        began = time.perf_counter()
        await said(voice, LONG)
        whole = time.perf_counter() - began
        await first(LONG)
        again = await first(SHORT)  # were the long one still being made, this would wait for it
        assert again < usual + whole / 2 + 0.3
        task = asyncio.create_task(said(voice, LONG))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        one(voice, await said(voice, SHORT))


@every("tts")
async def test_nothing_to_say_is_silence_and_odd_text_does_not_harm(named: Named) -> None:
    async with engine(named) as voice:
        for nothing in ("", " \n "):
            assert await said(voice, nothing) == []
        for odd in ("🙂", "日本語", "...", "x" * 200, "Qzxv Ångström 3.14 €5 #1", "[a](/b/)"):
            try:
                pieces = await said(voice, odd)
            except EngineError:
                assert has_server(named)  # it cannot tell what has no sound from a server that sends none
                continue
            for piece in pieces:
                assert np.isfinite(piece.pcm).all()


@every("tts")
async def test_voices_and_languages_that_are_not_there_are_told(named: Named) -> None:
    async with engine(named) as voice:
        if voice.voices:
            with pytest.raises(EngineError, match="nobody") as failure:
                await said(voice, SHORT, voice="nobody")
            is_explained(failure)
            assert voice.voices[0] in str(failure.value)
        if voice.languages:
            with pytest.raises(EngineError, match=NO_LANGUAGE) as failure:
                await said(voice, SHORT, language=NO_LANGUAGE)
            is_explained(failure)
        await voice.close()
        with pytest.raises(EngineError) as failure:
            await said(voice, SHORT)
        is_explained(failure)


# transcribers


def at_16k(text: str) -> Audio:
    return join([speech(text)])


async def in_pieces(utterance: Utterance, audio: Audio, seconds: float = 0.3) -> list[str]:
    step, texts = int(seconds * audio.rate), []
    for at in range(0, len(audio.pcm), step):
        utterance.push(audio.between(at, at + step))
        partial = await utterance.partial()
        assert not partial.final
        assert 0 <= partial.until <= at + step
        texts.append(partial.text)
    return texts


def english(stt: Transcriber) -> str | None:
    if not {"en", "*"} & set(stt.languages):
        pytest.skip("the model that is set hears no English")
    return "en"


@every("stt")
async def test_words_are_heard_live_and_at_the_end(named: Named) -> None:
    async with engine(named) as stt:
        audio = at_16k(OTHER)
        utterance = stt.open(english(stt))
        async with watched(named[1]):
            texts = await in_pieces(utterance, audio)
            final = await utterance.finish()
        assert (final.final, final.until, primary_subtag(final.language)) == (True, audio.end, "en")
        assert 0.0 < final.confidence <= 1.0
        assert final.text == final.text.strip()
        assert words(final.text) == words(OTHER)
        assert set(words(texts[-1])) & set(words(OTHER)), "nothing was heard before the end"


@every("stt")
async def test_utterances_at_once_do_not_mix_and_go_on_after_a_finish(named: Named) -> None:
    async with engine(named) as stt:
        first, second = stt.open(english(stt)), stt.open("en")
        await asyncio.gather(in_pieces(first, at_16k(SHORT)), in_pieces(second, at_16k(OTHER)))
        assert words((await first.finish()).text) == words(SHORT)
        assert words((await second.finish()).text) == words(OTHER)
        audio = at_16k(OTHER)
        third, middle = stt.open("en"), len(audio.pcm) // 2
        third.push(audio.between(0, middle))
        assert (await third.finish()).until == middle
        third.push(audio.between(middle, audio.end))
        assert words((await third.finish()).text)[-2:] == words(OTHER)[-2:]


@every("stt")
async def test_no_words_come_of_silence(named: Named) -> None:
    async with engine(named) as stt:
        # about -86 dBFS, as a converter hisses; what is louder and no speech is kept away by the VAD
        hiss = np.random.default_rng(0).normal(0, 5e-5, 3 * LISTEN_RATE).astype(np.float32)
        for audio in (silence(3.0, LISTEN_RATE), Audio(hiss, LISTEN_RATE), silence(0.05, LISTEN_RATE)):
            utterance = stt.open()
            utterance.push(audio)
            assert (await utterance.partial()).text == ""
            assert (await utterance.finish()).text == ""
        assert (await stt.open().finish()).text == ""


@every("stt")
async def test_a_cancelled_question_leaves_the_utterance_usable(named: Named) -> None:
    async with engine(named) as stt:
        utterance = stt.open(english(stt))
        utterance.push(at_16k(OTHER))
        for call in (utterance.partial, utterance.finish):
            task = asyncio.create_task(call())
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait({task})
        assert words((await utterance.finish()).text) == words(OTHER)


@every("stt")
async def test_languages_and_rates_that_it_cannot_are_told(named: Named) -> None:
    async with engine(named) as stt:
        if "*" not in stt.languages:
            with pytest.raises(EngineError, match=NO_LANGUAGE) as failure:
                stt.open(NO_LANGUAGE)
            is_explained(failure)
        with pytest.raises(EngineError, match="16000") as failure:
            stt.open().push(Audio(np.zeros(240, np.float32), 24_000))
        is_explained(failure)


# ears for speech and for its end


async def chances(vad: Vad, audio: Audio) -> list[float]:
    stream, size = vad.open(), vad.frame
    frames = range(0, len(audio.pcm) - size + 1, size)
    return [await stream.feed(Audio(audio.pcm[at : at + size], LISTEN_RATE, at)) for at in frames]


@every("vad")
async def test_speech_is_told_from_silence_in_streams_that_do_not_mix(named: Named) -> None:
    async with engine(named) as vad:
        audio = at_16k(OTHER)
        alone = await chances(vad, audio)
        assert max(alone) > 0.9
        assert all(0.0 <= chance <= 1.0 for chance in alone)
        quiet = silence(audio.seconds, LISTEN_RATE)
        async with watched(named[1]):
            one, nothing, two = await asyncio.gather(chances(vad, audio), chances(vad, quiet), chances(vad, audio))
        assert one == two == alone
        assert max(nothing) < 0.3
        task = asyncio.create_task(chances(vad, audio))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
        assert await chances(vad, audio) == alone


@every("vad", "turn")
async def test_sound_of_another_rate_and_a_closed_engine_are_told(named: Named) -> None:
    async with engine(named) as made:

        async def ask(audio: Audio) -> float:
            if named[0] == "turn":
                return await cast(TurnJudge, made).judge(audio, "", [])
            return await cast(Vad, made).open().feed(audio)

        frame = getattr(made, "frame", LISTEN_RATE)
        with pytest.raises(EngineError, match="16000") as failure:
            await ask(Audio(np.zeros(frame, np.float32), 24_000))
        is_explained(failure)
        await made.close()
        with pytest.raises(EngineError, match="closed") as failure:
            await ask(Audio(np.zeros(frame, np.float32), LISTEN_RATE))
        is_explained(failure)


@every("turn")
async def test_an_end_is_told_from_a_middle_by_calls_that_do_not_mix(named: Named) -> None:
    async with engine(named) as judge:
        said = at_16k("I would like to book a table for four people tomorrow evening.")
        loud = np.flatnonzero(np.abs(said.pcm) > 0.01)
        whole = then_silence(said, 0.2)
        cut = then_silence(said.between(0, int(loud[0] + 0.9 * (loud[-1] - loud[0]))), 0.2)
        alone = [await judge.judge(audio, "", []) for audio in (whole, cut)]
        assert 0.0 <= alone[1] < 0.5 < alone[0] <= 1.0
        async with watched(named[1]):
            together = await asyncio.gather(*(judge.judge(audio, "", []) for audio in (whole, cut) * 3))
        assert together == alone * 3
        tasks = [asyncio.create_task(judge.judge(cut, "", [])) for _ in range(10)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await judge.judge(whole, "", []) == alone[0]


# chat models


async def answered(chat: ChatModel, **how: Any) -> list[Delta]:
    async with aclosing(chat.chat(HELLO, **how)) as deltas:
        return [delta async for delta in deltas]


@every("llm")
async def test_answers_stream_end_with_a_reason_and_do_not_mix(named: Named) -> None:
    async with engine(named) as chat:
        assert chat.model
        short, long = await asyncio.gather(
            answered(chat, max_tokens=4, cache_key="a"), answered(chat, max_tokens=40, cache_key="b")
        )
        for deltas in (short, long):
            assert len([delta for delta in deltas if delta.text]) > 1, "it does not stream"
            *before, last = deltas
            assert all(delta.finish_reason is None for delta in before)
            assert last.usage is not None
        assert short[-1].finish_reason == "length"
        assert long[-1].finish_reason in ("stop", "length")
        assert len("".join(d.text for d in short)) < len("".join(d.text for d in long))


@every("llm")
async def test_a_prompt_may_be_read_ahead_and_an_answer_stopped(named: Named) -> None:
    async with engine(named) as chat:
        ending = await chat.prefill(HELLO, cache_key="a")
        assert ending is None or 0.0 <= ending.sentence <= 1.0
        async with aclosing(chat.chat(HELLO, cache_key="a", max_tokens=300)) as deltas:
            assert (await anext(deltas)).text
        task = asyncio.create_task(answered(chat, cache_key="a"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        began = time.perf_counter()
        await answered(chat, cache_key="a", max_tokens=2)
        assert time.perf_counter() - began < 5.0  # the stopped ones no longer hold it
