"""What a short utterance asks of the conversation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chinwag.text.commands import Command, find_command

pytestmark = pytest.mark.unit

ASKED: dict[Command, tuple[str, ...]] = {
    "stop": (
        "stop", "Stop.", "Okay, please stop.", "stop talking", "That's enough.", "okay that’s enough, thanks",
        "be quiet", "Never mind.", "Nevermind",
        "no, stop stop", "shut up please", "You can stop now.", "Forget it.", "um, cancel that",
        "No, that's enough, thank you.", "Stop it, please.",
        "That's all for now, thanks.", "Wait, stop.", "Hör auf.", "Das reicht, danke.", "Stopp, bitte", "Arrête.",
        "Ça suffit, merci.", "Basta ya.",
        "cállate por favor",
    ),
    "wait": (
        "wait", "Wait a second.", "um, wait a second", "Hold on.", "okay hold on a minute please", "one moment",
        "Just a sec.", "Let me think.",
        "let me think about that for a moment", "hang on", "no wait", "Wait, wait, wait.",
        "Give me a second to think.", "I need a moment", "pause",
        "Warte mal kurz.", "Einen Moment, bitte.", "Lass mich kurz nachdenken.", "Attends une seconde.",
        "Un instant, s'il te plaît.",
        "Un momento, por favor.", "Déjame pensar.",
    ),
    "go_on": (
        "go on", "Go on, please.", "Yes, go on.", "continue", "please keep going", "carry on", "you were saying",
        "You were saying?",
        "What were you saying?", "Sorry, go on.", "Okay, continue, please.", "go ahead", "never mind, go on",
        "Where were we?", "Don't stop!",
        "Oh sorry, please do go on", "Mach weiter.", "weiter bitte", "Continue, s'il te plaît.", "vas-y",
        "Sigue, por favor.",
    ),
    "again": (
        "say that again", "Can you say that again?", "could you repeat that, please", "Pardon?", "what did you say?",
        "Sorry, what did you say?", "Sorry?",
        "I didn't hear you.", "sorry I didn't catch that", "What was that?", "one more time please", "Repeat that.",
        "I'm sorry?", "What?", "Huh?",
        "Come again?", "Could you say that one more time?", "I couldn't hear what you said.", "Wie bitte?",
        "Sag das noch mal.",
        "Was hast du gesagt?", "Répète, s'il te plaît.", "Qu'est-ce que tu as dit ?", "Otra vez, por favor.",
        "¿Qué has dicho?",
    ),
}  # fmt: skip

FOR_THE_MODEL = (
    "", "...", "um", "okay", "yes", "no", "thank you", "please", "go", "so what", "what's the time", "I'm sorry",
    "Excuse me.", "stop the music at ten",
    "wait, what about Sunday?", "how do I stop smoking", "go on Amazon", "go on holiday with me",
    "where is the bus stop", "stop and think",
    "continue the story with a dragon", "wait for me at the station", "what did you say about Paris",
    "tell me again why", "say it in French", "say it",
    "repeat after me", "enough about cats, what about dogs", "I can't wait",
    "never mind the weather, tell me a joke", "let me think about Sunday",
    "can you stop at the third one", "sorry about that", "what is a pause", "say hello", "quiet places in London",
    "what was that film called",
    "how long should I wait", "one minute is how many seconds", "hold on to your hat", "I don't get why",
    "what next year", "read it", "not yet",
    "tell me the rest of the story of Rome", "continue in German", "carry on luggage",
    "what were you saying about the moon", "don't stop the car",
    "what did you have for breakfast", "I need a minute timer", "egal was du denkst", "warte auf mich",
    "wie bitte ich um Hilfe", "attends-moi à la gare",
    "para mí un café", "el bus para aquí", "espera a Juan", "stopwatch", "unstoppable",
    "weiter im Text mit Kapitel zwei",
    "could you stop by the shop", "is that enough", "please wait until I have the pen",
    "never mind that he said so",
)  # fmt: skip


@pytest.mark.parametrize(("wanted", "words"), [(wanted, words) for wanted, all_ in ASKED.items() for words in all_])
def test_an_utterance_that_is_nothing_else_asks_for_it(wanted: Command, words: str) -> None:
    assert find_command(words, interrupted=True, spoken=True) == wanted


@pytest.mark.parametrize("words", FOR_THE_MODEL)
def test_anything_with_content_is_for_the_model(words: str) -> None:
    assert find_command(words, interrupted=True, spoken=True) is None


@pytest.mark.parametrize("words", [words for words in ASKED["go_on"] if words != "What were you saying?"])
def test_going_on_needs_an_answer_that_was_cut(words: str) -> None:
    assert find_command(words, interrupted=False, spoken=True) is None


@pytest.mark.parametrize("words", [*ASKED["stop"], *ASKED["again"]])
def test_stopping_and_repeating_need_something_that_was_said(words: str) -> None:
    assert find_command(words, interrupted=False, spoken=False) is None
    assert find_command(words, interrupted=False, spoken=True) is not None


def test_what_they_were_saying_is_said_again_where_it_was_not_cut() -> None:
    assert find_command("What were you saying?", interrupted=False, spoken=True) == "again"
    assert find_command("What were you saying?", interrupted=False, spoken=False) is None


def test_waiting_is_always_granted() -> None:
    assert find_command("Hold on a second.", interrupted=False, spoken=False) == "wait"


content = st.sampled_from(["Paris", "the music", "my sister", "seven", "in German", "tomorrow at ten"])
asked = st.sampled_from([words for all_ in ASKED.values() for words in all_])
polite = st.sampled_from(["please", "okay", "um", "oh", "yes", "no", "well", "hey Chinwag", "thanks"])


@settings(max_examples=300, deadline=None)
@given(asked, content, st.booleans())
def test_content_beside_it_always_leaves_it_to_the_model(words: str, more: str, first: bool) -> None:
    said = f"{more} {words}" if first else f"{words} {more}"
    assert find_command(said, interrupted=True, spoken=True) is None


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["stop", "hold on", "go on", "say that again"]),
    st.lists(polite, max_size=3),
    st.lists(polite, max_size=2),
)
def test_politeness_around_it_changes_nothing(words: str, before: list[str], after: list[str]) -> None:
    said = ", ".join([*before, words, *after])
    assert find_command(said, interrupted=True, spoken=True) == find_command(words, interrupted=True, spoken=True)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.booleans(), st.booleans())
def test_any_text_is_borne(words: str, interrupted: bool, spoken: bool) -> None:
    assert find_command(words, interrupted=interrupted, spoken=spoken) in (None, "stop", "wait", "go_on", "again")
