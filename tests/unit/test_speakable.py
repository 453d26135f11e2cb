"""What a model writes, and what a listener is to hear of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.text.speakable.speakable import Speakable, SymbolNames

pytestmark = pytest.mark.unit


def heard(text: str, words: SymbolNames | None = None) -> str:
    speakable = Speakable(words)
    return speakable.push(text) + speakable.finish()


def heard_in(pieces: list[str]) -> str:
    speakable = Speakable()
    return "".join([*(speakable.push(piece) for piece in pieces), speakable.finish()])


SPEECH = {
    "decimals and thousands": "Pi is 3.14, and 1,000 is more.",
    "money": "It costs $5, US$7.50 or 5$.",
    "a programming language": "C# and F# are not C++.",
    "a key in music": "Play it in F# minor, or C♯.",
    "multiplication": "5 * 3 is 15, and 2*x is even.",
    "comparison": "3 < 5, and 7 >= 5.",
    "apostrophes and quotes": "Don't say “never”, it's \"rare\".",
    "abbreviations": "E.g. Dr. Smith at 10 a.m. in the U.S., i.e. soon.",
    "a slash": "A/B tests and 24/7.",
    "percent and degrees": "10% at 20°C.",
    "hyphens and dashes": "A well-known fact — or 3-4 of them.",
    "a negative number": "It is -5 outside.",
    "times and dates": "10:30 on 2024-05-01.",
    "ampersands": "R&D at AT&T, Q & A.",
    "parentheses": "Paris (the capital) is large.",
    "ellipses": "Well... maybe… yes?!",
    "file names are no web addresses": "Node.js runs main.rs.",
    "a number is no list": "42. That is the answer.",
    "no-break spaces hold a number and a French mark": "10\u202f000, vraiment\u00a0?",
    "a French mark with its space": "Vraiment ? Oui !",
    "Spanish marks": "¿Qué tal? ¡Bien!",
    "Chinese": "你好，世界。这是“真的”吗？",
    "Japanese": "「はい、そうです。」と言った。",
    "Hindi, whose letters need their joiner": "क्ष्\u200dम है।",
    "Persian, whose letters need their non-joiner": "می\u200cخواهم بروم؟",
    "Arabic": "نعم، هذا صحيح.",
    "combining accents": "e\u0301tude",
    "letters that look like the start of an address": "How high? Whether http is hot, hm, www too.",
    "an address's parts, apart": "The http: is left.",
}


@pytest.mark.parametrize("text", SPEECH.values(), ids=SPEECH)
def test_speech_stays_as_it_is(text: str) -> None:
    assert heard(text) == text


MARKUP = {
    "bold": ("It is **very** big.", "It is very big."),
    "bold inside a word": ("un**believ**able", "unbelievable"),
    "bold with underscores": ("__init__ is _so_ odd", "init is so odd"),
    "bold and italics": ("***Wow***, *nice*.", "Wow, nice."),
    "bold before a colon": ("**Note:** go.", "Note: go."),
    "strikethrough": ("~~old~~ new", "old new"),
    "unclosed bold": ("**Never closed", "Never closed"),
    "a heading becomes a sentence": ("# Title\nText.", "Title.\nText."),
    "a closed heading": ("## Title ##\nText.", "Title.\nText."),
    "a heading that is a question": ("# Why?\nText.", "Why?\nText."),
    "inline code": ("Use `print()` here.", "Use print() here."),
    "inline code with three backticks": ("```x``` is code", "x is code"),
    "a block of code": ("Run:\n```sh\nrm -rf *\n```\nDone.", "Run:\n(The code is left out.)\nDone."),
    "a block of code with tildes": ("~~~\na_b\n~~~\nDone.", "(The code is left out.)\nDone."),
    "a fence inside a longer fence": ("````\n```\nx\n````\nDone.", "(The code is left out.)\nDone."),
    "a block of code that never ends": ("```\nx = 1\ny", "(The code is left out.)"),
    "a link": ("See [the docs](https://a.com/b_(c) 'T').", "See the docs."),
    "a link that is bold": ("**[docs](http://a.com)** here", "docs here"),
    "an image": ("![a cat](cat.png) sleeps", "a cat sleeps"),
    "a block quote": ("> To be\n> or not", "To be\nor not"),
    "a rule": ("One.\n\n---\n\n***\nTwo.", "One.\nTwo."),
    "an underlined heading": ("Title\n=====\nText.", "Title\nText."),
    "a table": ("| a | b |\n|---|:-:|\n| 1 | 2 |\n\nSo.", "a, b.\n1, 2.\nSo."),
    "a table without outer bars": ("a | b\n--|--\n1 | 2", "a, b\n1, 2"),
    "bullets become sentences": ("Buy:\n- Milk\n* Eggs\n+ Tea", "Buy:\nMilk.\nEggs.\nTea."),
    "pictured bullets": ("• Milk\n• Eggs", "Milk.\nEggs."),
    "nested bullets": ("- A\n  - B\n    - C", "A.\nB.\nC."),
    "an item that is a sentence": ("- Really?\n- (Yes.)\n- Go:\n", "Really?\n(Yes.)\nGo:\n"),
    "an item in Chinese": ("- 苹果\n- 梨", "苹果。\n梨。"),
    "boxes to tick": ("- [ ] buy\n- [x] done", "buy.\ndone."),
    "numbered items": ("1. One\n2. Two\n3) Three", "1, One.\n2, Two.\n3, Three."),
    "bold numbered items": ("**1. One**\n**2.** Two", "1, One.\n2, Two."),
    "a dash at the start is an item, a minus is not": ("-5\n- 5", "-5\n5."),
    "a long rule of signs": ("=" * 500 + "\nText", "Text"),
    "blank lines count once": ("One.\n\n\nTwo.\r\n\r\nThree.", "One.\nTwo.\nThree."),
    "spaces count once": ("One   two \t three ", "One two three"),
    "citations": ("So they say [1][^2].", "So they say."),
    "brackets": ("a [note] and x[0]", "a note and x 0"),
    "escapes": (r"\*not\* 1\. \# \$5", "not 1. $5"),
    "a path with backslashes": (r"C:\Users\me", "C: Users me"),
    "snake case": ("snake_case", "snake case"),
    "a power": ("2**8 or x^2", "2 to the power of 8 or x to the power of 2"),
    "an issue's number": ("#12 and issue #34", "number 12 and issue number 34"),
    "a hashtag": ("So #happy", "So happy"),
    "about": ("~5 of ~10, 3~4", "about 5 of about 10, 3 to 4"),
    "arrows": ("A -> B → C => D", "A to B to C to D"),
    "two hyphens": ("so -- then--go --help", "so — then—go help"),
}
WEB = {
    "an address": ("See https://www.example.com/a?b=c#d now", "See example dot com now"),
    "at a sentence's end": ("See http://example.com/a. Then.", "See example dot com. Then."),
    "in parentheses": ("(https://a.org/b_(c))", "(a dot org)"),
    "in parentheses that are not its own": ("(https://a.org/b) or so", "(a dot org) or so"),
    "in angle brackets": ("<https://a.org> is it", "a dot org is it"),
    "bold": ("**https://a.org/**", "a dot org"),
    "without a scheme": (
        "Go to github.com/a/b, or docs.python.org.",
        "Go to github dot com, or docs dot python dot org.",
    ),
    "www": ("www.a-b.com!", "a-b dot com!"),
    "another scheme": ("ftp://a.com/b", "ftp a dot com"),
    "before Japanese": ("https://a.com/bを見て。", "a dot com を見て。"),
    "mail": ("Write to jo.doe_x@mail.example.com.", "Write to jo dot doe x at mail dot example dot com."),
    "a handle": ("Ask @alice.", "Ask at alice."),
    "tags": ("<p>A <b>big</b> <a href='x'>dog</a></p>", "A big dog\n"),
    "a line break": ("One<br/>two", "One\ntwo"),
    "items": ("<ul><li>A</li><li>B</li></ul>", "A.\nB.\n"),
    "a comment": ("A<!-- no --> b", "A b"),
    "thoughts": ("<think>\nHmm, **x**.\n</think>\n\nHello.", "Hello."),
    "thoughts without an end": ("<think>Hmm", ""),
    "a placeholder is a word": ("Dear <name>, a List<int>.", "Dear name, a List int."),
    "less than, with no space": ("if a<b then", "if a b then"),
    "entities": ("a &amp; b &lt; 5 &#42;&#42;c&#x2a;&#x2a;&nbsp;d &c; &", "a & b < 5 c d &c; &"),
    "a formula": ("So $x^2$ and $$y_1$$.", "So x to the power of 2 and y 1."),
    "LaTeX": (r"\(\frac{1}{2} \times \pi\)", "1 over 2 times pi"),
    "a formula that begins with a digit": ("$2x$ costs $2", "2x costs $2"),
}
PICTURES = {
    "an emoji at the end": ("Great! 🎉", "Great! "),
    "an emoji before the full stop": ("I love it 😊.", "I love it."),
    "an emoji after the full stop, and another": ("Great! 🎉. Yes", "Great! Yes"),
    "an emoji that stands for a space": ("Hi👋there", "Hi there"),
    "a family": ("👨\u200d👩\u200d👧 home", "home"),
    "a flag": ("in 🇫🇷 and 🏴\U000e0067\U000e0062\U000e007f.", "in and."),
    "skin": ("👍🏽 ok", "ok"),
    "a heart with its selector": ("I ❤️ you", "I you"),
    "keycaps number things": ("1️⃣ First", "1, First"),
    "a keycap of a star": ("*️⃣ star", "star"),
    "shortcodes and faces": ("Hi :smile: you ;) :-D", "Hi you"),
    "what nobody sees": ("zero\u200bwidth \ufeffso\u00adft \u2067x\u2069", "zerowidth soft x"),
    "a half of a surrogate": ("a\ud83d b", "a b"),
}
CASES = {**MARKUP, **WEB, **PICTURES}


@pytest.mark.parametrize(("text", "speech"), CASES.values(), ids=CASES)
def test_a_mark_becomes_what_a_listener_expects(text: str, speech: str) -> None:
    assert heard(text) == speech


@pytest.mark.parametrize("text", [*SPEECH.values(), *(text for text, _ in CASES.values())])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_case_is_the_same_in_pieces(text: str, size: int) -> None:
    assert heard_in([text[place : place + size] for place in range(0, len(text), size)]) == heard(text)


def test_the_words_for_symbols_can_be_those_of_another_language() -> None:
    german = SymbolNames(dot="Punkt", at="ät", about="etwa", number="Nummer", to="bis", code="Dazu gehört Code.")
    text = "a@b.de, ~5, #7, 3~4\n```\nx\n```"
    assert heard(text, german) == "a ät b Punkt de, etwa 5, Nummer 7, 3 bis 4\nDazu gehört Code."


PIECES = {
    "plain words pass at once": (["The", " cat", " sat"], ["The", " cat", " sat"]),
    "a comma passes at once": (["So", ",", " yes"], ["So", ",", " yes"]),
    "a full stop waits for what follows (3.14, a.com)": (["So", ".", " I"], ["So", "", ". I"]),
    "a sentence's space passes with its full stop": (["So. ", "I"], ["So. ", "I"]),
    "a newline passes at once": (["So.\n", "I"], ["So.\n", "I"]),
    "bold words pass at once": (["**", "Bold", "**", " x"], ["", "Bold", "", " x"]),
    "a link's text passes before its address": (["[the", " docs](http", "://a.b)"], ["the", " docs", ""]),
    "only an address's beginning waits": (["see h", "ouse"], ["see", " house"]),
    "a host is said before the path has ended": (["http://a.com/", "b", "/c"], ["a dot com", "", ""]),
    "a heading's words pass": (["# ", "Title"], ["", "Title"]),
    "a bullet waits, its words pass": (["- ", "Milk", "\n"], ["", "Milk", ".\n"]),
    "a number at a line's start passes": (["3", " cats"], ["3", " cats"]),
    "a comparison does not wait": (["a < ", "b"], ["a <", " b"]),
    "the note for code comes before the code": (["```py\n", "x\n"], ["(The code is left out.)", ""]),
}


@pytest.mark.parametrize(("pieces", "out"), PIECES.values(), ids=PIECES)
def test_only_what_may_begin_a_construct_is_held_back(pieces: list[str], out: list[str]) -> None:
    speakable = Speakable()
    assert [speakable.push(piece) for piece in pieces] == out


# Marks in all neighbourhoods: what the rules are made of, and letters, digits and spaces between.
ATOMS = [
    *"*_~`#[](){}<>!|\\$^@&.,:;-=+/?'\" \n\r\tab1234567890xXhHw",
    *(
        "**",
        "```",
        "~~~",
        "---",
        "](",
        "://",
        "http://",
        "https://a.com/",
        "www.",
        "a.com",
        "&amp;",
        "&#42;",
        "<b>",
        "</p>",
    ),
    *(
        "<br>",
        "<li>",
        "<think>",
        "</think>",
        "<!--",
        "-->",
        "\\frac",
        "\\(",
        "1. ",
        "2) ",
        "- ",
        "[x]",
        "[1]",
        "C#",
        "$5",
    ),
    *(
        "😀",
        "👨\u200d👩",
        "🇫🇷",
        "\ufe0f",
        "\u20e3",
        "\u200d",
        "→",
        "•",
        "é",
        "你",
        "。",
        "、",
        "है",
        "\u00a0",
        "\u200b",
        "\ud800",
        ":a:",
    ),
]
MARKED = st.lists(st.sampled_from(ATOMS), max_size=60).map("".join)
TEXTS = st.one_of(MARKED, st.text(max_size=80), st.sampled_from([text for text, _ in CASES.values()]))

# What no voice can say. "#" is allowed after a letter (C#), "*" alone, "<" before a number, as in the tables above.
SYMBOLS = re.compile(
    r"[`~_|\[\]{}\\^@•→\u20e3\ufe0f\ud800-\udfff\U0001f000-\U0001faff]|\*\*|(?<![^\W\d_])#|<[A-Za-z/!]|\u200d(?=[😀-🙏])"
)


@given(TEXTS)
def test_no_symbol_reaches_the_voice_and_nothing_raises(text: str) -> None:
    assert not SYMBOLS.findall(heard(text))


@given(TEXTS, st.data())
def test_the_cuts_between_tokens_do_not_matter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert heard_in(pieces) == heard(text)


@given(TEXTS)
def test_letter_by_letter_is_the_same_too(text: str) -> None:
    assert heard_in(list(text)) == heard(text)


@pytest.mark.parametrize(
    "part", [*ATOMS, "(a", "[a", "<a b=c ", "a.", ".", "&a", ":a", "a@", "-", "1.", "\\a", "`a`\n"]
)
def test_what_is_held_back_is_bounded_whatever_repeats(part: str) -> None:
    """A token's cost grows with what is held back: this bound is what keeps the whole linear."""
    speakable = Speakable()
    for _ in range(600):
        speakable.push(part)
        assert len(speakable._reader.text) <= 320
    speakable.finish()


@given(st.text(st.sampled_from("abcdefg ,hij"), max_size=60))
def test_nothing_is_lost_of_plain_words(text: str) -> None:
    assert heard(text).split() == text.split()
