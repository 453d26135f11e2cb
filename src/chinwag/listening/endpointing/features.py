"""What the form of the words so far says of an end: a number under way, an "um", an "and", a whole question.

Punctuation counts only between words: a transcriber closes with a full stop whatever it heard.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import astuple, dataclass, fields

from chinwag.language import normalised_words as words_of
from chinwag.language import primary_subtag
from chinwag.listening.endpointing.cues import CUES, ENGLISH, Cues

_SENTENCE = re.compile(r"[.?!…।]+\s+|[。？！]+\s*")

WHOLE_NUMBER, LONG_NUMBER = 10, 6
"""Digits: a telephone number is rarely longer than the first (ITU-T E.164 allows 15 with the country's), and a group
or a short code rarely longer than the second."""

LONGEST_PHRASE = 6
"""Words of a cue; characters of a Japanese one."""

WHOLE_SPELLING = 5
"""Letters: the median of English surnames and first names is five or six."""


@dataclass(frozen=True, slots=True)
class FormFeatures:
    """Each from 0, not there, to 1.

    dictating: digits or letters are being dictated, and there are probably more.
    filler: the last words hold the floor. dangling, leaning: no sentence, few sentences end with such a word.
    open_clause: a clause has begun that needs another. question: a whole question. answer: a whole short turn.
    """

    dictating: float = 0.0
    filler: float = 0.0
    dangling: float = 0.0
    leaning: float = 0.0
    open_clause: float = 0.0
    question: float = 0.0
    answer: float = 0.0

    def values(self) -> tuple[float, ...]:
        """In the order of FEATURES."""
        return astuple(self)


FEATURES = tuple(field.name for field in fields(FormFeatures))


def has_cues(language: str | None) -> bool:
    """Whether anything is known of the form of sentences in it. language: BCP 47."""
    return primary_subtag(language) in CUES


def form_features(text: str, language: str | None = "en") -> FormFeatures:
    """Look at the words so far. In a language that is not known nothing is found."""
    cues = CUES.get(primary_subtag(language))
    bare = strip_final_punctuation(text)
    if cues is None or not bare:
        return FormFeatures()
    words = words_of(bare)
    if not words:
        return FormFeatures()
    sentence = words_of(_SENTENCE.split(bare)[-1]) or words
    asks = _asks(sentence, cues)
    filler = _filler(bare, sentence, cues)
    dangling = float(words[-1] in cues.dangling)
    dictating = _dictating(bare, words, cues)
    dangling = 0.0 if dictating else dangling  # "A" among letters is no article
    leaning = float(words[-1] in cues.leaning and not (asks and _stranded(sentence)))
    ends_open = bool(filler or dangling or leaning)
    answer = not dangling and _answers(words, cues)
    return FormFeatures(
        dictating=dictating,
        filler=filler,
        dangling=dangling,
        leaning=0.0 if answer else leaning,
        open_clause=_open_clause(bare, sentence, cues),
        question=float(bool(asks or _ends_with(sentence, cues.endings)) and not ends_open and len(sentence) >= 3),
        answer=float(answer),
    )


_HYPHEN = re.compile(r"(?<=\w)[-‐‑](?=\w)")


def strip_final_punctuation(text: str) -> str:
    """Without the mark that the transcriber closed with."""
    return text.strip().rstrip(" .?!…,;:-–—\"'”’。？！，、；：」』।॥")


def word_key(text: str) -> str:
    """Equal for texts of the same words: without punctuation and capitals. "sky-blue" is one word, "sky blue" two."""
    return " ".join(words_of(_HYPHEN.sub("", text)))


def _ends_with(words: list[str], phrases: frozenset[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest of the phrases that the words end with."""
    for length in range(min(len(words), LONGEST_PHRASE), 0, -1):
        if tuple(words[-length:]) in phrases:
            return tuple(words[-length:])
    return ()


def _filler(bare: str, sentence: list[str], cues: Cues) -> float:
    phrase = _ends_with(sentence, cues.fillers)
    if not phrase:
        return 0.0
    before = [word.split("'")[0] if word.endswith("'s") else word for word in sentence[: -len(phrase)]]
    if cues is ENGLISH and before and _MEANS_SOMETHING.get(phrase, frozenset()) & {*before[-2:], before[0]}:
        return 0.0
    if phrase in _SOFT and before and not re.search(rf"[,.?!…—-]\s*{phrase[0]}\b[^,]*$", bare, re.IGNORECASE):
        return 0.5
    return 1.0


_SOFT = frozenset({("like",), ("so",), ("well",), ("actually",), ("anyway",), ("basically",), ("also",), ("bueno",)})
"""Fillers where a comma goes before them; else they may well be the last word of a sentence."""

_ASKS_LIKE = frozenset(
    [
        "what",
        "how",
        "who",
        "look",
        "looks",
        "looked",
        "feel",
        "feels",
        "taste",
        "tastes",
        "sound",
        "sounds",
        "i'd",
        "would",
        "you",
    ]
)
_MEANS_SOMETHING = {
    ("like",): _ASKS_LIKE,
    ("so",): frozenset(
        ["think", "thought", "hope", "guess", "suppose", "believe", "said", "say", "do", "is", "afraid"]
    ),
    ("well",): frozenset(
        [
            "very",
            "doing",
            "is",
            "as",
            "pretty",
            "really",
            "going",
            "sleep",
            "slept",
            "done",
            "works",
            "speak",
            "works",
            "quite",
            "feel",
        ]
    ),
    ("you", "know"): frozenset(["do", "did", "would", "how", "if", "as"]),
    ("kind", "of"): frozenset(["what", "which", "this", "that", "some"]),
    ("sort", "of"): frozenset(["what", "which", "this", "that", "some"]),
}
"""Words that make the same phrase no filler when they stand in front of it."""


_STRANDED = frozenset(
    [
        "for",
        "with",
        "from",
        "about",
        "like",
        "at",
        "on",
        "in",
        "of",
        "do",
        "did",
        "does",
        "mean",
        "over",
        "around",
        "after",
    ]
)


def _stranded(sentence: list[str]) -> bool:
    """Ends as an English question may: "what is it for", "who are you talking to", "what is this"."""
    before, last = sentence[-2], sentence[-1]
    if last == "to":
        return before.endswith("ing") or before in ("go", "speak", "talk", "listen", "belong", "happen", "happened")
    return last in _STRANDED or (
        last in ("this", "that", "these", "those") and before in ENGLISH.auxiliaries | {"what's"}
    )


def _asks(sentence: list[str], cues: Cues) -> bool:
    """Begins as a question does: "what is", "can you", "how far"."""
    begin = [word for word in sentence[:5] if word not in cues.starts and word not in ("and", "so", "but", "um", "uh")]
    if len(begin) < 2:
        return False
    if begin[0] in cues.asking:
        inverted = any(word in cues.auxiliaries for word in begin[1:4])
        return begin[0] not in cues.openers or begin[1] in cues.auxiliaries if inverted else "'" in begin[0]
    return begin[0] in cues.auxiliaries


def _open_clause(bare: str, sentence: list[str], cues: Cues) -> float:
    """ "If you go there" is half of something, until another subject with its verb has come."""
    begin = sentence[1:] if sentence and sentence[0] in ("and", "so", "but", "well", "because") else sentence
    if not begin or begin[0] not in cues.openers or (len(begin) > 1 and begin[1] in cues.auxiliaries):
        return 0.0
    after_comma = words_of(_SENTENCE.split(bare)[-1].rpartition(",")[2])
    if len(after_comma) >= 2 and len(after_comma) < len(begin):
        return 0.0
    subjects = sum(word.split("'")[0] in cues.pronouns for word in begin[1:])
    inverted = any(
        first in cues.auxiliaries and second in cues.pronouns for first, second in itertools.pairwise(begin[3:])
    )
    return 0.0 if inverted or "then" in begin[3:] or len(begin) > 12 else 0.5 if subjects >= 2 else 1.0


def _answers(words: list[str], cues: Cues) -> bool:
    if tuple(words) in cues.answers:
        return True
    rest = tuple(words[1:])
    return len(words) > 1 and words[0] in cues.starts and rest in cues.answers


_NUMBER_CUE = re.compile(
    r"\b(number|phone|mobile|code|pin|postcode|zip|account|card|reference|serial|dial|call (me|him|her|us) on|"
    r"spell(ed|ing|t|s)?|letters?|nummer|vorwahl|postleitzahl|buchstabiert|numéro|code postal|s'écrit|número|teléfono|"
    r"código|deletrea)\b"
)


def _dictating(bare: str, words: list[str], cues: Cues) -> float:
    """How far the digits or letters at the end look like a beginning."""
    run: list[str] = []
    for word in reversed(words):
        if not (word.isdigit() or word in cues.digits or _letter(word)):
            break
        run.insert(0, word)
    told = bool(_NUMBER_CUE.search(bare.casefold()))
    if all(word in _WORD_LETTERS for word in run) and not (told and len(run) > 1):
        return 0.0
    digits = sum(len(word) if word.isdigit() else not _letter(word) for word in run)
    letters = sum(map(_letter, run))
    singles = sum(not word.isdigit() or len(word) == 1 for word in run)
    if not told and singles < 2 and not (words[0].isdigit() and len(words) == 1) and digits < 5:
        return 0.0  # a number among words: "at 6", "in 1976", "room 417"
    if letters > digits:
        return 1.0 if letters < WHOLE_SPELLING else 0.5
    return 0.1 if digits >= WHOLE_NUMBER else 0.5 if digits > LONG_NUMBER else 1.0


_WORD_LETTERS = frozenset("aàeiouy")
"""Letters that are words as well, in one language or another: alone they spell nothing."""


def _letter(word: str) -> bool:
    return len(word) == 1 and word.upper() != word
