"""Cuts a growing text into clauses to be spoken.

Written by hand: sentence splitters on PyPI want the whole text or know nothing of a short first clause. The
abbreviations follow the idea of Punkt (Kiss and Strunk 2006) with a short fixed list in place of a learned one.

A cut depends on the text alone, never on how it came: it is decided as soon as the characters that decide it are
there, and no later ones could change it.
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
_SPAN = 26
"""No mark is longer, with the character behind it."""
_LETTER = re.compile(r"[^\W_]")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\S+")
_LAST_WORD = re.compile(r"[^\s\"'“‘«(\[¿¡—]*$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")

_TITLES = word_set(
    "dr mr mrs ms prof st mt gen sen rep gov capt lt col sgt maj rev hon pres vs e.g i.e cf approx esp resp al ft "
    "sra srta dra dña mme mlle hr fr bzw ca z.b d.h u.a p.ej ej núm pág tel"
)
"""What goes on after them."""
_BEFORE_NUMBERS = word_set("no nos nr vol fig ch sec art p pp pt eq")
"""Go on where a number follows: "No. 5", but "No. I do not"."""
_MAYBE_LAST = word_set(
    "a.m p.m etc inc ltd co corp jr sr jan feb mar apr jun jul aug sep sept oct nov dec ph.d b.c a.d dept est min max"
)
"""End a sentence where a capital letter follows."""

_BREAK_BEFORE = word_set(
    "and but or nor so yet because although though while when whenever where which who whom whose that if unless "
    "until since before after as than with without from into through between about in on at by for during "
    "over under near across around like then"
)
_VERBS = word_set(
    "is are was were has had have can could will would should may might must does did isn't aren't can't won't"
)
_SUBJECTS = word_set("i you he she it we they")
"""Words that a speaker may take a breath before: conjunctions, prepositions, and the verb behind a subject."""
_BREAK_WEAKLY = word_set("to of")
"""... where there is no other."""
_BINDS = word_set(
    "a an the this that these those my your his her its our their such as so more less much many very too both "
    "either neither not and or but of to in on at by for with from than no every each some any "
    "there that's it's i'm you're is are was were can could will would should may might must"
)
"""Words that a speaker takes no breath after."""
_LEANS = word_set("it him them me us")
"""Objects, which are said in one breath with their verb."""


def ends_sentence(clause: str) -> bool:
    """Whether a clause is the last one of its sentence."""
    return bool(_SENTENCE_END.search(clause))


class ClauseSplitter:
    """Give the text as it comes to `push`, then call `finish`; both return the clauses that are sure by now.

    The first clause is short, so that sound comes early: it ends at the first sentence end, at the first comma
    (or the like) after `first_words` words, or, where `first_limit` words have no mark, before a conjunction, a
    preposition or the verb behind a subject; where there is none, between two words that are not bound. Later ones are
    whole sentences, cut at a comma where they have grown to `min_chars`, and anywhere between words before `max_chars`.
    Chinese and Japanese characters count double.

    Clauses are stripped, and each has a letter or digit. Put together they are the text, but for white space, and
    for punctuation at the end that has no word.
    """

    def __init__(
        self, *, first_words: int = 2, first_limit: int = 3, min_chars: int = 50, max_chars: int = 200
    ) -> None:
        self._first_words, self._first_limit = first_words, first_limit
        self._min, self._max = min_chars, max_chars
        self._text = ""  # from the clause's first character on
        self._seen = 0  # marks before it were looked at
        self._letter = -1  # where the clause's first letter or digit is; -1 before there is one
        self._searched = 0  # for it
        self._first = True
        self._final = False

    def push(self, text: str) -> list[str]:
        """Take the next piece of text, of any length; return the clauses that are complete, maybe none."""
        clauses: list[str] = []
        for start in range(0, len(text), 256):
            self._append(text[start : start + 256])
            clauses += self._cut_all()
        return clauses

    def finish(self) -> list[str]:
        """The text has ended: return what is left, in one clause or more."""
        self._final = True
        clauses = self._cut_all()
        if self._letter >= 0 and (rest := self._text.strip()):
            clauses.append(rest)
        self._text, self._letter = "", -1
        return clauses

    def _append(self, piece: str) -> None:
        """Add a piece, each run of white space as one character: a newline if it has one."""
        last = self._text[-1:]
        piece = _SPACES.sub(lambda spaces: "\n" if "\n" in spaces[0] else " ", piece)
        if piece[0].isspace() and (last.isspace() or not last):
            if last and piece[0] == "\n":
                self._text = self._text[:-1] + "\n"
                self._seen = min(self._seen, len(self._text) - 1)
            piece = piece[1:]
        self._text += piece

    def _cut_all(self) -> list[str]:
        clauses = []
        while end := self._next_cut():
            clauses.append(self._text[:end].strip())
            self._text = self._text[end:].lstrip()
            self._seen = self._searched = 0
            self._letter, self._first = -1, False
        return clauses

    def _next_cut(self) -> int:
        """Where the clause ends, or 0 while that is not known."""
        text = self._text
        if self._letter < 0:
            letter = _LETTER.search(text, self._searched)
            self._searched = len(text)
            if not letter:
                return 0
            self._letter = self._seen = letter.start()
        limit = self._letter + self._max
        while mark := _MARK.search(text, self._seen, limit + _SPAN):
            if self._first and (soft := self._early_cut(mark.start())):
                return soft
            if mark.end() > limit:
                break
            cut = self._judge(mark)
            if cut is None:
                return 0
            if cut is _Cut.SENTENCE or (cut is _Cut.CLAUSE and self._long_enough(mark)):
                return mark.end()
            self._seen = mark.end()
        if self._first and (soft := self._early_cut(min(len(text), limit))):
            return soft
        return self._forced_cut(limit) if len(text) > limit else 0

    def _judge(self, mark: re.Match[str]) -> _Cut | None:
        """What kind of end a mark is; None while the characters that tell are not there."""
        text, end = self._text, mark.end()
        if mark[0] == "\n":
            return _Cut.SENTENCE
        if mark[0] in _WIDE_COMMAS:
            return _Cut.CLAUSE
        if end == len(text):
            return _Cut.NO if self._final else None
        wide = any(char in _WIDE_ENDS for char in mark[0])
        following = text[end]
        ends = mark[0].rstrip(_CLOSERS.replace("\\", ""))
        if ends == "—":
            return _Cut.CLAUSE if following != "—" else _Cut.NO
        if not (wide or following.isspace() or following in "¿¡" or (is_cjk(following) and ends[-1:] in "!?…")):
            return _Cut.NO
        if following == "\n":
            return _Cut.NO  # the newline itself is the end
        if ends in (",", ";", ":", "،", "؛", "–", "-"):
            return _Cut.CLAUSE
        if ends != "." or wide:
            return _Cut.CLAUSE if not ends.strip(".…") else _Cut.SENTENCE
        return self._judge_full_stop(mark.start(), end)

    def _judge_full_stop(self, at: int, end: int) -> _Cut | None:
        """A full stop and a space: the end of a sentence, or of an abbreviation?"""
        text = self._text
        found = _LAST_WORD.search(text, max(0, at - 24), at)
        word = found[0] if found else ""
        low = word.lower()
        if text[self._letter : at].isdigit() or low in _TITLES:
            return _Cut.NO  # a number alone is the head of what follows
        if len(word) == 1 and word.isupper() and word != "I" and not is_cjk(word):
            return _Cut.NO
        initials = _INITIALS.fullmatch(word)
        if not (initials or low in _MAYBE_LAST or low in _BEFORE_NUMBERS):
            return _Cut.SENTENCE
        if end + 1 >= len(text):
            return _Cut.SENTENCE if self._final else None
        following = text[end + 1]
        if low in _BEFORE_NUMBERS:
            return _Cut.NO if following.isdigit() else _Cut.SENTENCE
        if low in _MAYBE_LAST:
            return _Cut.NO if following.islower() or following.isdigit() else _Cut.SENTENCE
        return _Cut.NO  # "U.S. Army"

    def _long_enough(self, mark: re.Match[str]) -> bool:
        clause = self._text[self._letter : mark.end()]
        wide = sum(is_cjk(char) for char in clause)
        if not self._first:
            return len(clause) + wide >= self._min
        narrow = sum(1 for word in _WORD.findall(clause) if _LETTER.search(word) and not is_cjk(word[0]))
        return narrow + wide / 2 >= self._first_words

    def _early_cut(self, end: int) -> int:
        """A place to cut the first clause in the text up to `end`, which has no mark; 0 for none."""
        words = list(_WORD.finditer(self._text, self._letter, end))
        for count in range(self._first_limit + 1, len(words) + 1):  # as if they came one by one
            inner = range(2, count - 1)
            best = [n for n in inner if self._may_break(words, n)]
            if not best and count > self._first_limit + 1:
                best = [n for n in inner if self._may_break(words, n, weak=True)]
                apart = [n for n in inner if words[n - 1][0].lower() not in _SUBJECTS]
                best = best or [n for n in apart if self._is_loose(words, n)]
            if best:
                return words[best[-1]].start()
        return 0

    def _may_break(self, words: list[re.Match[str]], n: int, *, weak: bool = False) -> bool:
        word = words[n][0]
        if weak:
            return word in _BREAK_WEAKLY and self._is_loose(words, n)
        behind_subject = word in _VERBS and words[n - 1][0].lower() not in _SUBJECTS
        return (behind_subject or word in _BREAK_BEFORE) and self._is_loose(words, n)

    def _is_loose(self, words: list[re.Match[str]], n: int) -> bool:
        """Word n is not bound to the one before it, as in a name, a number or behind an article."""
        before, after = words[n - 1][0], words[n + 1][0]
        if before.lower() in _BINDS or words[n][0].lower() in _LEANS:
            return False
        name = before[0].isupper() and after[0].isupper()
        number = before[-1].isdigit() or after[0].isdigit()
        return not name and not number and before[-1].isalnum()

    def _forced_cut(self, limit: int) -> int:
        """The best place before `limit`: a breath, else a space, else between two characters."""
        text = self._text
        words = list(_WORD.finditer(text, self._letter, limit))
        half = self._letter + self._max // 2
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
