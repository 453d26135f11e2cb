"""Split streamed text into clauses to be spoken.

Written by hand: sentence splitters on PyPI need the whole text, or cannot make the first clause short. The
abbreviations follow the idea of Punkt (Kiss and Strunk 2006), with a short fixed list instead of a learned one.

A cut depends on the text alone, not on how the text was divided into pieces. It is made as soon as no further
character could change it.
"""

from __future__ import annotations

import itertools
import re
from enum import IntEnum

from chinwag.text.speakable.markup import is_cjk, word_set


class _Cut(IntEnum):
    NO = 0
    CLAUSE = 1
    SENTENCE = 2


_CLOSERS = "\"'”’)\\]»›」』）】》〉"
_WIDE_ENDS = "。！？｡।॥"
_WIDE_COMMAS = "、，；："
_MARK = re.compile(
    rf"\n|[{_WIDE_COMMAS}]|(?:[.!?…؟{_WIDE_ENDS}]{{1,16}}|[,;:،؛—])[{_CLOSERS}]{{0,8}}|(?<=\s)[–-](?=\s)"
)
_SENTENCE_END = re.compile(rf"[.!?…؟{_WIDE_ENDS}][{_CLOSERS}\s]*$")
_MAX_MARK_SPAN = 26
"""Longest mark, with the character after it."""
_LETTER = re.compile(r"[^\W_]")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\S+")
_LAST_WORD = re.compile(r"[^\s\"'“‘«(\[¿¡—]*$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")

_TITLES = word_set(
    "dr mr mrs ms prof st mt gen sen rep gov capt lt col sgt maj rev hon pres vs e.g i.e cf approx esp resp al ft "
    "sra srta dra dña mme mlle hr fr bzw ca z.b d.h u.a p.ej ej núm pág tel"
)
"""Abbreviations that never end a sentence."""
_BEFORE_NUMBERS = word_set("no nos nr vol fig ch sec art p pp pt eq")
"""Abbreviations if a number follows ("No. 5"), and sentence ends if not ("No. I do not")."""
_MAYBE_LAST = word_set(
    "a.m p.m etc inc ltd co corp jr sr jan feb mar apr jun jul aug sep sept oct nov dec ph.d b.c a.d dept est min max"
)
"""Abbreviations that end a sentence if a capital letter follows."""

_BREAK_BEFORE = word_set(
    "and but or nor so yet because although though while when whenever where which who whom whose that if unless "
    "until since before after as than with without from into through between about in on at by for during "
    "over under near across around like then"
)
"""Conjunctions and prepositions that a speaker may take a breath before."""
_VERBS = word_set(
    "is are was were has had have can could will would should may might must does did isn't aren't can't won't"
)
"""Verbs that a speaker may take a breath before, after a subject."""
_SUBJECT_PRONOUNS = word_set("i you he she it we they")
"""A verb after one of these pronouns is no place for a breath: "it is"."""
_WEAK_BREAK_BEFORE = word_set("to of")
"""Words that a speaker may take a breath before if the text offers no better place."""
_NO_BREAK_AFTER = word_set(
    "a an the this that these those my your his her its our their such as so more less much many very too both "
    "either neither not and or but of to in on at by for with from than no every each some any "
    "there that's it's i'm you're is are was were can could will would should may might must"
)
"""Words that a speaker takes no breath after."""
_OBJECT_PRONOUNS = word_set("it him them me us")
"""Pronouns as objects: a speaker takes no breath between the verb and them."""


def ends_sentence(clause: str) -> bool:
    """Return whether a clause is the last one of its sentence."""
    return bool(_SENTENCE_END.search(clause))


class ClauseSplitter:
    """Splitter of streamed text: pass each piece to `push`, then call `finish`. Both return complete clauses.

    The first clause is short, so that sound comes early. It ends at the first sentence end, or at the first comma
    (or similar mark) after `first_words` words. If `first_limit` words have no mark, it ends before a conjunction, a
    preposition or the verb after a subject; failing that, between two words that are not bound to each other.
    Later clauses are whole sentences. They end at a comma if they have `min_chars` characters, and between any two
    words before they reach `max_chars`. Chinese and Japanese characters count double.

    Clauses are stripped, and each has a letter or digit. Joined, they are the text without white space and without
    trailing punctuation that follows no word.
    """

    def __init__(
        self, *, first_words: int = 2, first_limit: int = 3, min_chars: int = 50, max_chars: int = 200
    ) -> None:
        self._first_words, self._first_limit = first_words, first_limit
        self._min, self._max = min_chars, max_chars
        self._text = ""  # from the first character of the current clause on
        self._judged_to = 0  # marks before this index were judged
        self._first_letter = -1  # index of the clause's first letter or digit; -1 if there is none yet
        self._searched_to = 0  # text before this index has no letter or digit
        self._in_first_clause = True
        self._final = False

    def push(self, text: str) -> list[str]:
        """Append a piece of text of any length, and return the clauses that are now complete."""
        clauses: list[str] = []
        for start in range(0, len(text), 256):
            self._append(text[start : start + 256])
            clauses += self._cut_all()
        return clauses

    def finish(self) -> list[str]:
        """End the text, and return the clauses that are left."""
        self._final = True
        clauses = self._cut_all()
        if self._first_letter >= 0 and (rest := self._text.strip()):
            clauses.append(rest)
        self._text, self._first_letter = "", -1
        return clauses

    def _append(self, piece: str) -> None:
        """Append a piece. Each run of white space becomes one character: a newline if the run has one."""
        last = self._text[-1:]
        piece = _SPACES.sub(lambda spaces: "\n" if "\n" in spaces[0] else " ", piece)
        if piece[0].isspace() and (last.isspace() or not last):
            if last and piece[0] == "\n":
                self._text = self._text[:-1] + "\n"
                self._judged_to = min(self._judged_to, len(self._text) - 1)
            piece = piece[1:]
        self._text += piece

    def _cut_all(self) -> list[str]:
        clauses = []
        while end := self._next_cut():
            clauses.append(self._text[:end].strip())
            self._text = self._text[end:].lstrip()
            self._judged_to = self._searched_to = 0
            self._first_letter, self._in_first_clause = -1, False
        return clauses

    def _next_cut(self) -> int:
        """Return the index at which the clause ends, or 0 if that is not known yet."""
        text = self._text
        if self._first_letter < 0:
            letter = _LETTER.search(text, self._searched_to)
            self._searched_to = len(text)
            if not letter:
                return 0
            self._first_letter = self._judged_to = letter.start()
        limit = self._first_letter + self._max
        while mark := _MARK.search(text, self._judged_to, limit + _MAX_MARK_SPAN):
            if self._in_first_clause and (early_cut := self._early_cut(mark.start())):
                return early_cut
            if mark.end() > limit:
                break
            cut = self._classify_mark(mark)
            if cut is None:
                return 0
            if cut is _Cut.SENTENCE or (cut is _Cut.CLAUSE and self._long_enough(mark)):
                return mark.end()
            self._judged_to = mark.end()
        if self._in_first_clause and (early_cut := self._early_cut(min(len(text), limit))):
            return early_cut
        return self._forced_cut(limit) if len(text) > limit else 0

    def _classify_mark(self, mark: re.Match[str]) -> _Cut | None:
        """Return which kind of end a mark is; None if that depends on characters still to come."""
        text, end = self._text, mark.end()
        if mark[0] == "\n":
            return _Cut.SENTENCE
        if mark[0] in _WIDE_COMMAS:
            return _Cut.CLAUSE
        if end == len(text):
            return _Cut.NO if self._final else None
        wide = any(char in _WIDE_ENDS for char in mark[0])
        following = text[end]
        mark_text = mark[0].rstrip(_CLOSERS.replace("\\", ""))
        if mark_text == "—":
            return _Cut.CLAUSE if following != "—" else _Cut.NO
        if not (wide or following.isspace() or following in "¿¡" or (is_cjk(following) and mark_text[-1:] in "!?…")):
            return _Cut.NO
        if following == "\n":
            return _Cut.NO  # the newline itself is the end
        if mark_text in (",", ";", ":", "،", "؛", "–", "-"):
            return _Cut.CLAUSE
        if mark_text != "." or wide:
            return _Cut.CLAUSE if not mark_text.strip(".…") else _Cut.SENTENCE
        return self._classify_full_stop(mark.start(), end)

    def _classify_full_stop(self, at: int, end: int) -> _Cut | None:
        """Judge a full stop before a space: it ends a sentence or an abbreviation."""
        text = self._text
        last_word = _LAST_WORD.search(text, max(0, at - 24), at)
        word = last_word[0] if last_word else ""
        lower = word.lower()
        if text[self._first_letter : at].isdigit() or lower in _TITLES:
            return _Cut.NO  # a number alone is the start of a list item
        if len(word) == 1 and word.isupper() and word != "I" and not is_cjk(word):
            return _Cut.NO
        initials = _INITIALS.fullmatch(word)
        if not (initials or lower in _MAYBE_LAST or lower in _BEFORE_NUMBERS):
            return _Cut.SENTENCE
        if end + 1 >= len(text):
            return _Cut.SENTENCE if self._final else None
        following = text[end + 1]
        if lower in _BEFORE_NUMBERS:
            return _Cut.NO if following.isdigit() else _Cut.SENTENCE
        if lower in _MAYBE_LAST:
            return _Cut.NO if following.islower() or following.isdigit() else _Cut.SENTENCE
        return _Cut.NO  # "U.S. Army"

    def _long_enough(self, mark: re.Match[str]) -> bool:
        clause = self._text[self._first_letter : mark.end()]
        wide = sum(is_cjk(char) for char in clause)
        if not self._in_first_clause:
            return len(clause) + wide >= self._min
        narrow = sum(1 for word in _WORD.findall(clause) if _LETTER.search(word) and not is_cjk(word[0]))
        return narrow + wide / 2 >= self._first_words

    def _early_cut(self, end: int) -> int:
        """Return where to cut the first clause before `end`, in text without a mark; 0 if there is no place."""
        words = list(_WORD.finditer(self._text, self._first_letter, end))
        for count in range(self._first_limit + 1, len(words) + 1):  # as if the words arrived one by one
            inner = range(2, count - 1)
            best = [n for n in inner if self._may_break(words, n)]
            if not best and count > self._first_limit + 1:
                best = [n for n in inner if self._may_break(words, n, weak=True)]
                not_after_pronoun = [n for n in inner if words[n - 1][0].lower() not in _SUBJECT_PRONOUNS]
                best = best or [n for n in not_after_pronoun if self._separable(words, n)]
            if best:
                return words[best[-1]].start()
        return 0

    def _may_break(self, words: list[re.Match[str]], n: int, *, weak: bool = False) -> bool:
        word = words[n][0]
        if weak:
            return word in _WEAK_BREAK_BEFORE and self._separable(words, n)
        verb_after_subject = word in _VERBS and words[n - 1][0].lower() not in _SUBJECT_PRONOUNS
        return (verb_after_subject or word in _BREAK_BEFORE) and self._separable(words, n)

    def _separable(self, words: list[re.Match[str]], n: int) -> bool:
        """Return whether word n may be parted from the one before it: not in a name, a number or after an article."""
        before, after = words[n - 1][0], words[n + 1][0]
        if before.lower() in _NO_BREAK_AFTER or words[n][0].lower() in _OBJECT_PRONOUNS:
            return False
        name = before[0].isupper() and after[0].isupper()
        number = before[-1].isdigit() or after[0].isdigit()
        return not name and not number and before[-1].isalnum()

    def _forced_cut(self, limit: int) -> int:
        """Return the best index before `limit`: at a breath, else at a space, else between two characters."""
        text = self._text
        words = list(_WORD.finditer(text, self._first_letter, limit))
        half = self._first_letter + self._max // 2
        breaths = [words[n].start() for n in range(1, len(words) - 1) if self._may_break(words, n)]
        spaces = [
            word.start()
            for before, word in itertools.pairwise(words)
            if not (before[0][-1].isdigit() and word[0][0].isdigit())
        ]
        for places in (breaths, spaces):
            if places and places[-1] > half:
                return places[-1]
        return limit
