"""Where a growing text is cut, so that it can be spoken piece by piece."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.text.clauses import ClauseSplitter

pytestmark = pytest.mark.unit


def cut(text: str, pieces: list[str] | None = None) -> list[str]:
    splitter = ClauseSplitter()
    clauses = [clause for piece in pieces or [text] for clause in splitter.push(piece)]
    return clauses + splitter.finish()


# "|" is where a cut is expected.
SENTENCES = {
    "a full stop": "It rains.| Take an umbrella.",
    "question and exclamation": "Really?!| Yes!| Go on.",
    "decimals": "Pi is 3.14 or so.| Good.",
    "a number at the end": "It is 3.| Then 4.",
    "thousands, times and versions": "It costs| 1,000 or 2,500.50 at 10:30 in v2.0.| Fine.",
    "titles": "Ask Dr. Smith.| Mr. and Mrs. Lee, Prof. Kim or St. Paul know.",
    "e.g. and i.e.": "Fruit, e.g. apples.| Fast, i.e. quick.",
    "initials": "J. R. R. Tolkien| wrote it.| C. S. Lewis too.",
    "the word I is no initial": "So do I.| Good.",
    "initialisms in names": "The U.S. Army came.| The U.K. left.",
    "No. before a number": "See No. 5.| Good.",
    "No as an answer": "No.| I do not.",
    "a.m. inside a sentence": "At 9 a.m. we go.| Good.",
    "a.m. at its end": "At 9 a.m.| We go.",
    "etc. inside and at the end": "Pens etc. are here.| Ink etc.| All here.",
    "months": "On Jan. 5 it snowed.| Yes.",
    "a web address": "Go to example.com now.| Good.",
    "an ellipsis": "Hm... I see.| Well… yes.",
    "quotes after the full stop": 'He said "Go."| “Now!”| Then he left.',
    "brackets after the full stop": "(It rains.)| [Yes.]| Good.",
    "a number alone heads what follows": "1. Apples| are red.| 2. Pears are not.",
    "newlines": "First line|\nSecond line|\nThird",
    "a newline after a full stop is one cut": "One.|\nTwo.",
    "an abbreviation before a newline ends": "Ask the Dr.|\nNow.",
    "Spanish": "¿Qué tal?| ¡Hola!| Muy bien.",
    "Spanish without a space": "Muy bien.|¿Y tú?",
    "German abbreviations": "Obst, z.B. Äpfel.| Ca. 5 Stück.",
    "French": "Vraiment ?| Oui !| Mme Roy le dit.",
    "Hindi": "नमस्ते।| कैसे हो?| ठीक।",
    "Arabic": "هل هذا صحيح؟| نعم.",
    "Chinese": "你好。|你是谁？|我很好！",
    "Chinese quotes": "他说：“好。”|我走了。",
    "Chinese with Western marks": "真的吗?|真的!|好。",
    "marks alone belong to what is around them": "Yes!| ... So it is.",
}


def parts(marked: str) -> list[str]:
    return [part.strip() for part in marked.split("|")]


@pytest.mark.parametrize("marked", SENTENCES.values(), ids=SENTENCES)
def test_sentences_end_where_they_do(marked: str) -> None:
    assert cut(marked.replace("|", "")) == parts(marked)


FIRST = {
    "a comma after two words": "Well then,| it is a long story.",
    "a comma after one word is too early": "Well, it is a long story.",
    "a short first sentence is sound at once": "Sure!| Here it is, at last.",
    "a colon": "Here it is:| the whole, long story.",
    "a dash": "So it is—| or was it, really?",
    "a dash between spaces": "So it is -| or was it, really?",
    "no mark: before a preposition that binds": "The capital| of France is Paris and it is a very large city.",
    "no mark: before a preposition": "You can find it| in the drawer of the kitchen table.",
    "no mark: before a conjunction": "I know| that he lives in a small house.",
    "no good place: any that is not bound": "Of course| I can tell you a story about a dragon.",
    "before that": "I think| that you should probably go to the University of California.",
    "a short sentence too": "He lives| in a small house.",
    "not inside a name": "Last week| Marks and Spencer in London were really very busy.",
    "not after an article": "She was one| of the in crowd of that town.",
    "not beside a number": "There are more than 100 and 20 of them| here now.",
    "not inside a decimal": "Pi is about| 3,14 says the German who knows.",
    "Chinese commas": "你好吗，|我很好。",
    "Japanese: too early": "はい、そうです。",
    "in Japanese no spaces are needed": "こんにちは、|お元気ですか。",
}


@pytest.mark.parametrize("marked", FIRST.values(), ids=FIRST)
def test_the_first_clause_is_short(marked: str) -> None:
    assert cut(marked.replace("|", "")) == parts(marked)


LATER = {
    "commas do not cut a short sentence": "Yes!| Red, green, blue, and all the rest of them.",
    "a comma after fifty characters does": (
        "Yes!| The quick brown fox jumps over the lazy dog near the river,| and then it runs away."
    ),
    "a semicolon too": "Yes!| The quick brown fox jumps over the lazy dog near the river;| it runs away, far away.",
    "wide characters count double": "是的。|" + "我" * 25 + "，|好。",
}


@pytest.mark.parametrize("marked", LATER.values(), ids=LATER)
def test_later_clauses_are_sentences_or_long(marked: str) -> None:
    assert cut(marked.replace("|", "")) == parts(marked)


def test_a_sentence_without_marks_is_cut_at_a_breath_before_the_limit() -> None:
    text = "Yes! " + "the dog saw some other dog " * 6 + "and the cat saw some other cats " * 6
    clauses = cut(text)
    assert clauses[2].startswith("and the cat")
    assert max(map(len, clauses)) <= 200


def test_a_word_without_an_end_is_cut_at_the_limit() -> None:
    assert [len(clause) for clause in cut("a" * 450)] == [200, 200, 50]


@pytest.mark.parametrize("length", range(180, 206))
def test_a_sentence_that_ends_near_the_limit_is_cut_the_same_letter_by_letter(length: int) -> None:
    text = "Yes! " + "a" * length + " b.”)” See a.m. Then c."
    clauses = cut(text)
    assert cut(text, list(text)) == clauses
    assert clauses[1].endswith("b.”)”" if length <= 194 else "a")


def test_a_number_with_spaces_is_not_cut_at_the_limit() -> None:
    text = "Yes! " + "word " * 38 + "100 000 000 then more of it all the way down to here"
    assert cut(text)[1].endswith("word")


AT_ONCE = {
    "a sentence with its space": ("It rains. ", ["It rains."]),
    "a full stop alone may become a decimal": ("It is 3.", []),
    "a question mark alone may be followed by a quote": ("Does it?", []),
    "an abbreviation waits for the next word": ("It is 9 a.m. ", []),
    "a newline": ("It rains\n", ["It rains"]),
    "a first comma with its space": ("If it rains, ", ["If it rains,"]),
    "a first comma alone may be a number's": ("It is 3,", []),
    "a Chinese comma": ("你好吗，", ["你好吗，"]),
    "a Chinese full stop may be followed by a quote": ("你好吗。", []),
    "a verb behind its subject, and the fourth word begins": ("The sky is b", ["The sky"]),
    "no fourth word yet": ("The sky is ", []),
    "no verb: the fifth word begins": ("The capital of France i", ["The capital"]),
}


@pytest.mark.parametrize(("text", "clauses"), AT_ONCE.values(), ids=AT_ONCE)
def test_a_cut_is_decided_as_soon_as_it_can_be(text: str, clauses: list[str]) -> None:
    assert ClauseSplitter().push(text) == clauses


def test_finish_returns_what_is_left() -> None:
    splitter = ClauseSplitter()
    assert splitter.push("It is 3.") == []
    assert splitter.finish() == ["It is 3."]
    assert splitter.finish() == []


@pytest.mark.parametrize("text", ["", " \n ", "...", "?! - —", "“”", "。。。"])
def test_what_has_no_word_is_no_clause(text: str) -> None:
    assert cut(text) == []


def test_the_limits_can_be_chosen() -> None:
    splitter = ClauseSplitter(first_words=1, min_chars=5, max_chars=20)
    text = "Well, one, two, and three three three three three."
    clauses = splitter.push(text) + splitter.finish()
    assert clauses[:2] == ["Well,", "one, two,"]
    assert max(map(len, clauses)) <= 20


ATOMS = [
    *" \n.,;:!?…—-–。、！，»\"'”)](¿।9aI",
    *("Dr.", "No.", "a.m. ", "U.S. ", "etc. ", "J. ", "and ", "in ", "to ", "the ", "Paris ", "word ", "of ", "3.14"),
    *("Hello. ", "so, ", "你好", "テスト", "है", "\u0301", "\u00a0", "!!!", "... ", "word word word word ", "a" * 70),
]
TEXTS = st.one_of(st.lists(st.sampled_from(ATOMS), max_size=80).map("".join), st.text(max_size=300))


@given(TEXTS, st.data())
def test_the_cuts_between_tokens_do_not_matter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert cut(text, pieces) == cut(text)


@given(TEXTS)
def test_letter_by_letter_is_the_same_too(text: str) -> None:
    assert cut(text, list(text)) == cut(text)


@given(TEXTS)
def test_the_clauses_are_the_text(text: str) -> None:
    """But for white space, and for marks at the end that belong to no word."""
    whole = "".join(text.split())
    said = "".join("".join(cut(text)).split())
    assert whole.startswith(said)
    assert not re.search(r"[^\W_]", whole[len(said) :])


@given(TEXTS)
def test_no_clause_is_empty_or_only_marks_or_too_long(text: str) -> None:
    for clause in cut(text):
        assert clause == clause.strip()
        words = re.search(r"[^\W_]", clause)
        assert words
        assert len(clause) - words.start() <= 200
