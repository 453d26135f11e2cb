"""The conversation is held in the language that is set or heard: words, prompt, voice, what is said in passing."""

from __future__ import annotations

from typing import Any

import pytest
from talker import Talker, talking

from chinwag.conversation.events import ErrorOccurred
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import Fakes, FakeTranscriber, FakeVoice
from chinwag.engines.protocols import Message
from chinwag.errors import EngineError
from chinwag.language import join_sentences, language_name, normalised_words, primary_subtag, split_words
from chinwag.listening.endpointing.features import form_features, strip_final_punctuation, word_key
from chinwag.listening.overlap import Overlap, judge_overlap
from chinwag.listening.turn import ListenerSettings
from chinwag.speech.playout import SpokenClause
from chinwag.text.commands import Command, find_command
from chinwag.text.fillers import ENGLISH, FILLERS, translate_filler
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS, DEFAULT_INSTRUCTIONS_BY_LANGUAGE, instructions_for
from chinwag.text.speakable.speakable import Speakable
from chinwag.text.speakable.symbols import SYMBOL_NAMES, symbol_names_for

pytestmark = pytest.mark.unit

VOICES = {"en": ("one", "two"), "es": ("uno",), "ja": ("ichi",)}
SPOKEN = ("de", "es", "fr", "hi", "it", "ja", "pt", "zh")


def speaking(heard_in: str | None = None, **voice: Any) -> Fakes:
    named = tuple(one for voices in VOICES.values() for one in voices)
    ear = FakeTranscriber(languages=("en", "es", "ja", "ru"), detected_language=heard_in)
    return Fakes(stt=ear, tts=FakeVoice(voices=named, languages=VOICES, **voice))


def system(fakes: Fakes) -> str:
    messages: list[Message] = fakes.llm.prompts[-1]
    return messages[0]["content"]


# --- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, don’t you?", ["hello", "don't", "you"]),
        ("नमस्ते, आप कैसे हैं?", ["नमस्ते", "आप", "कैसे", "हैं"]),
        ("今日はAIと話す。", ["今", "日", "は", "ai", "と", "話", "す"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
    ],
)
def test_words_are_found_in_any_script(text: str, found: list[str]) -> None:
    assert normalised_words(text) == found
    assert "".join(split_words(text)) == text
    assert word_key(text) == " ".join(found)


def test_words_that_are_joined_are_other_words() -> None:
    assert word_key("Why is the sky blue?") != word_key("Why is the sky-blue?")
    assert word_key("It is hot to-day.") == word_key("it is hot, today")


def test_sentences_are_put_together_as_their_script_does() -> None:
    assert join_sentences(["Yes.", "", "I see."]) == "Yes. I see."
    assert join_sentences(["はい。", "そうです。", "OK."]) == "はい。そうです。OK."
    assert join_sentences(["네.", "좋아요."]) == "네. 좋아요."


def test_of_an_unspaced_script_the_characters_that_were_heard_are_remembered() -> None:
    spoken = SpokenClause("今日はいい天気です。", 0, samples=1000, complete=True)
    assert [spoken.text_heard(played) for played in (0, 300, 600, 1000)] == [
        "",
        "今日は",
        "今日はいい天",
        "今日はいい天気です。",
    ]


def test_a_transcribers_full_stop_is_taken_off_in_any_script() -> None:
    assert [strip_final_punctuation(text) for text in ("元気ですか？", "你好。", "ठीक है।")] == [
        "元気ですか",
        "你好",
        "ठीक है",
    ]


def test_names_of_languages() -> None:
    assert (
        language_name("pt-BR"),
        language_name("ja"),
        language_name("xx"),
        primary_subtag("zh_TW"),
        primary_subtag(None),
    ) == (
        "Portuguese",
        "Japanese",
        "xx",
        "zh",
        "",
    )


# --- what is known of each language --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "whole", "open_"),
    [
        ("it", "Grazie mille", "Vorrei prenotare un tavolo per"),
        ("pt", "Muito obrigado", "Eu queria falar com a"),
        ("hi", "आप कैसे हैं?", "मुझे एक"),
        ("ja", "明日の天気はどうですか。", "私は"),
        ("zh", "今天天气怎么样？", "我想和"),
    ],
)
def test_the_form_tells_whole_sentences_from_open_ones(language: str, whole: str, open_: str) -> None:
    known, begun = form_features(whole, language), form_features(open_, language)
    assert max(known.question, known.answer) == 1.0
    assert known.dangling == 0.0
    assert (begun.dangling, begun.question) == (1.0, 0.0)


@pytest.mark.parametrize("text", ["今天天气怎么样", "そうですね", "我很好谢谢你"])
def test_characters_are_no_letters_that_are_spelled(text: str) -> None:
    assert form_features(text, "zh").dictating == form_features(text, "ja").dictating == 0.0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("Fermati.", "stop"),
        ("Aspetta un attimo.", "wait"),
        ("Puoi ripetere, per favore?", "again"),
        ("Espera aí.", "wait"),
        ("Pode repetir?", "again"),
        ("रुको।", "wait"),
        ("फिर से बोलिए।", "again"),
        ("ストップ。", "stop"),
        ("ちょっと待ってください。", "wait"),
        ("もう一度言ってください。", "again"),
        ("続けて。", "go_on"),
        ("停一下。", "stop"),
        ("等一下。", "wait"),
        ("请再说一遍。", "again"),
        ("继续说吧。", "go_on"),
        ("今日は天気がいいですね。", None),
        ("停车场在哪里？", None),
    ],
)
def test_what_is_asked_of_the_conversation_itself(said: str, wanted: Command | None) -> None:
    assert find_command(said, interrupted=True, spoken=True) == wanted


@pytest.mark.parametrize("said", ["うん", "そうですね", "嗯嗯", "好的", "हाँ", "ठीक है", "va bene", "tá bom"])
def test_a_backchannel_passes(said: str) -> None:
    assert judge_overlap(Overlap(said, spoken_s=0.4, silence_s=0.3, confidence=0.9)) == "passing"


@pytest.mark.parametrize("said", ["ちょっと待って", "等一下", "रुकिए", "espera aí"])
def test_a_call_interrupts(said: str) -> None:
    assert judge_overlap(Overlap(said, spoken_s=0.5, silence_s=0.0, confidence=0.9)) == "interrupts"


def test_each_language_has_its_instructions_fillers_and_symbols() -> None:
    assert set(DEFAULT_INSTRUCTIONS_BY_LANGUAGE) == set(FILLERS) == set(SYMBOL_NAMES) == set(SPOKEN)
    assert all(len(FILLERS[one]) == len(ENGLISH) for one in SPOKEN)
    assert translate_filler(ENGLISH[1], "es-MX") == "A ver."
    assert translate_filler("Ta da.", "es") == "Ta da."
    assert Speakable(symbol_names_for("es")).push("Mira ejemplo.com ahora. ") == "Mira ejemplo punto com ahora. "


def test_instructions_follow_the_language() -> None:
    assert (
        instructions_for(DEFAULT_INSTRUCTIONS, None)
        == instructions_for(DEFAULT_INSTRUCTIONS, "en-GB")
        == DEFAULT_INSTRUCTIONS
    )
    assert instructions_for(DEFAULT_INSTRUCTIONS, "es-MX") == DEFAULT_INSTRUCTIONS_BY_LANGUAGE["es"]
    assert instructions_for(DEFAULT_INSTRUCTIONS, "ru").startswith(DEFAULT_INSTRUCTIONS)
    assert instructions_for("Be a pirate.", "ru").endswith("answer in Russian.")
    assert instructions_for("Be a pirate.", "en") == "Be a pirate."


# --- a conversation ------------------------------------------------------------------------------------------------


async def say(talker: Talker) -> None:
    await talker.pause(0.3)
    await talker.say(1.0)
    await talker.hear_out()


async def test_the_language_that_is_set_is_spoken() -> None:
    fakes = speaking()
    async with talking(
        fakes, instructions=DEFAULT_INSTRUCTIONS, listening=ListenerSettings(language="es-MX")
    ) as talker:
        await say(talker)
    assert set(fakes.tts.styles) == {("uno", "es-MX")}
    assert system(fakes) == DEFAULT_INSTRUCTIONS_BY_LANGUAGE["es"]


async def test_the_language_that_is_heard_is_spoken_and_followed_when_it_changes() -> None:
    fakes = speaking(heard_in="es")
    async with talking(fakes, instructions=DEFAULT_INSTRUCTIONS) as talker:
        await say(talker)
        assert set(fakes.tts.styles) == {("uno", "es")}
        assert system(fakes) == DEFAULT_INSTRUCTIONS_BY_LANGUAGE["es"]
        fakes.tts.styles.clear()
        fakes.stt.detected_language = "ja"
        await say(talker)
        assert set(fakes.tts.styles) == {("ichi", "ja")}
        assert system(fakes) == DEFAULT_INSTRUCTIONS_BY_LANGUAGE["ja"]
        assert not talker.all(ErrorOccurred)


async def test_a_voice_that_was_chosen_is_kept_where_it_speaks_the_language() -> None:
    for language, spoken in (("en", "two"), ("es", "uno")):
        fakes = speaking(heard_in=language)
        settings = SessionSettings()
        async with talking(fakes, style=settings.style.__class__("two")) as talker:
            await say(talker)
        assert {voice for voice, _ in fakes.tts.styles} == {spoken}


async def test_who_speaks_what_the_voice_cannot_is_told_once_and_answered_in_what_it_can() -> None:
    fakes = speaking(heard_in="ru")
    async with talking(fakes, instructions=DEFAULT_INSTRUCTIONS) as talker:
        await say(talker)
        await say(talker)
        faults = talker.all(ErrorOccurred)
        assert [fault.code for fault in faults] == ["language_not_spoken"]
        assert "speaks English, Spanish, Japanese, not Russian. You are answered in English." in faults[0].message
        assert "chinwag engines" in faults[0].message
    assert {language for _, language in fakes.tts.styles} == {"en"}
    assert system(fakes) == DEFAULT_INSTRUCTIONS


async def test_a_language_that_the_voice_cannot_speak_is_refused_when_it_is_set() -> None:
    async with talking(speaking()) as talker:
        settings = talker.session.settings
        with pytest.raises(EngineError, match=r"not Russian\. Set another tts\.engine"):
            talker.session.update(SessionSettings(listening=ListenerSettings(language="ru")))
        assert talker.session.settings is settings
