"""Moonshine with its real weights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from engines.contract import loaded, speech, watched, words

from chinwag.audio import Audio, Samples, join, silence
from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.moonshine import END, Moonshine, MoonshineTokens, MoonshineUtterance
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

SHORT = "What is the capital of France?"
OTHER = "Please turn off the lights in the kitchen."
LONG = (
    "When I was a child we lived by the sea. Every morning my father took the boat out before the sun was up, and we"
    " waited for him on the pier. He brought back fish, crabs, and once a small seal that had lost its mother. We kept"
    " it in the bath for a week, and then the doctor came and took it away."
)


def spoken(text: str) -> Audio:
    """At 16 kHz, one continuous stream from sample 0."""
    return join([speech(text)])


async def push_in_pieces(utterance: MoonshineUtterance, audio: Audio, seconds: float = 0.2) -> list[str]:
    step, partials = int(seconds * audio.rate), []
    for at in range(0, len(audio.pcm), step):
        utterance.push(audio.between(at, at + step))
        partials.append((await utterance.partial()).text)
    return partials


async def test_it_hears_the_words_with_confidence() -> None:
    async with loaded(Moonshine) as stt:
        audio = spoken(SHORT)
        utterance = stt.open("en-GB")
        utterance.push(audio)
        async with watched("moonshine"):
            began = time.perf_counter()
            transcript = await utterance.finish()
            print(f"moonshine: {audio.seconds:.2f} s heard in {(time.perf_counter() - began) * 1e3:.0f} ms")
        assert words(transcript.text) == words(SHORT)
        assert transcript.final
        assert transcript.until == audio.end
        assert 0.8 < transcript.confidence <= 1.0
        noise = np.random.default_rng(5).normal(0, 0.05, 32_000).astype(np.float32)
        hiss = stt.open()
        hiss.push(Audio(noise, 16_000))
        assert (await hiss.finish()).confidence < transcript.confidence


async def test_partials_grow_and_a_finish_after_one_is_free() -> None:
    async with loaded(Moonshine) as stt:
        audio = spoken(OTHER)
        utterance = stt.open()
        partials = await push_in_pieces(utterance, audio)
        assert partials[0] == ""
        assert any(words(text)[:2] == words(OTHER)[:2] for text in partials[: len(partials) // 2 + 1])
        stt.worker.close()  # nothing more can be computed now
        transcript = await utterance.finish()
        assert transcript.final
        assert words(transcript.text) == words(OTHER)


async def test_more_sound_after_a_finish_goes_on() -> None:
    async with loaded(Moonshine) as stt:
        audio = spoken(OTHER)
        middle = len(audio.pcm) // 2
        utterance = stt.open()
        utterance.push(audio.between(0, middle))
        first = await utterance.finish()
        utterance.push(audio.between(middle, audio.end))
        second = await utterance.finish()
        assert first.until == middle
        assert words(second.text) == words(OTHER) != words(first.text)


async def test_a_guess_saves_steps_and_is_kept_only_as_far_as_it_is_right() -> None:
    async with loaded(Moonshine) as stt:
        pcm = spoken(OTHER).pcm
        *_, alone = stt.decode(pcm)
        right = [token for token in alone.tokens if token != END]
        for guess in (right, right[:3], [*right[:3], *reversed(right)], [right[0] + 1, *right], right * 3):
            steps = list(stt.decode(pcm, guess))
            assert stt.text_of(steps[-1]) == stt.text_of(alone)
        assert len(list(stt.decode(pcm, right))) < 4 < len(list(stt.decode(pcm)))


async def test_a_long_utterance_is_settled_and_costs_its_tail() -> None:
    async with loaded(Moonshine) as stt:
        audio = spoken(LONG)
        assert audio.seconds > 14
        utterance = stt.open()
        lengths: list[int] = []
        decode = stt.decode

        def counting(pcm: Samples, guess: Sequence[int] = ()) -> Iterator[MoonshineTokens]:
            lengths.append(len(pcm))
            return decode(pcm, guess)

        stt.decode = counting  # type: ignore[method-assign]
        await push_in_pieces(utterance, audio, 0.5)
        assert max(lengths) <= 10 * 16_000
        lengths.clear()
        utterance.push(silence(0.1, 16_000, audio.end))
        stepwise = await utterance.finish()
        assert sum(lengths) <= 10 * 16_000
        at_once = stt.open()
        at_once.push(audio)
        for transcript in (stepwise, await at_once.finish()):
            heard, said = words(transcript.text), words(LONG)
            wrong = sum(word not in heard for word in said) + abs(len(heard) - len(said))
            assert wrong <= len(said) * 0.08, transcript.text


async def test_a_finish_overtakes_a_partial() -> None:
    async with loaded(Moonshine) as stt:
        slow, quick = stt.open(), stt.open()
        slow.push(spoken(LONG).between(0, 150_000))
        quick.push(spoken(SHORT))
        partial = asyncio.create_task(slow.partial())
        await asyncio.sleep(0.01)
        assert words((await quick.finish()).text) == words(SHORT)
        assert not partial.done()
        final = await slow.finish()  # its own partial gives way as well, and has nothing newer to tell
        assert len(words(final.text)) > 15
        assert len(words((await partial).text)) in (0, len(words(final.text)))


async def test_silence_and_a_click_have_no_words() -> None:
    async with loaded(Moonshine) as stt:
        stt.worker.close()  # they are not even looked at
        nothing = stt.open()
        assert (await nothing.finish()).text == ""
        nothing.push(silence(5.0, 16_000))
        assert (await nothing.partial()).text == ""
        click = stt.open()
        click.push(spoken(SHORT).between(8000, 9000))
        assert (await click.finish()).text == ""


async def test_other_languages_and_rates_are_refused() -> None:
    async with loaded(Moonshine) as stt:
        with pytest.raises(EngineError, match=r"English only, not de-DE.*moonshine \(en\)"):
            stt.open("de-DE")
        with pytest.raises(EngineError, match="16000"):
            stt.open().push(Audio(np.zeros(240, np.float32), 24_000))
        assert stt.open("EN_us")


async def test_bytes_that_are_no_text_do_not_harm() -> None:
    async with loaded(Moonshine) as stt:
        broken = [token for token, piece in enumerate(stt._vocabulary) if piece in (b"\xc3", b"\xff")]
        whole = [token for token, piece in enumerate(stt._vocabulary) if piece == "▁the".encode()]
        assert len(broken) == 2
        assert stt.text_of(MoonshineTokens([broken[0], *whole, broken[1], 32_500, 2], [0.0] * 5)) == "the"


async def test_the_larger_model_hears_as_well() -> None:
    async with loaded(Moonshine, SttSettings(model="moonshine-base-en")) as stt:
        for text in (SHORT, OTHER):
            utterance = stt.open("en")
            utterance.push(spoken(text))
            transcript = await utterance.finish()
            assert words(transcript.text) == words(text)
            assert 0.8 < transcript.confidence <= 1.0


def test_a_model_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(EngineError, match=r"no model called huge.*moonshine-tiny-en, moonshine-base-en"):
        Moonshine.needs(SttSettings(model="huge"))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="chinwag models pull moonshine-tiny-en"):
        Moonshine.load(EngineOptions(None))
    with pytest.raises(EngineError, match="models verify"):
        Moonshine.load(EngineOptions(None, {"moonshine-tiny-en": tmp_path}))
