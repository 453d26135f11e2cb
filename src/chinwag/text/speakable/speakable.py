"""Conversion of a model's streamed markdown to plain words.

Written by hand: markdown libraries need the whole text, while here each word must be emitted as soon as it arrives.

A rule reads text from an index on, or asks for more; it never reads text whose meaning further text could change. So
the result does not depend on how the text was divided, and only the possible start of a construct is delayed. Each
rule looks ahead a bounded distance, so the run time is linear.
"""

from __future__ import annotations

from chinwag.text.speakable import markup
from chinwag.text.speakable.marks import RULES, plain
from chinwag.text.speakable.prose import Gap
from chinwag.text.speakable.reader import WAIT, Reader, SymbolNames

__all__ = ["Speakable", "SymbolNames"]

_SLICE = 1024  # characters read together; bounded, as the unread rest is copied


class Speakable:
    """Converter of streamed text: pass each piece to `push`, then call `finish`. Both return speakable text.

    Markdown, HTML, LaTeX marks, emoji and citations are removed. A link becomes its text, an address its host
    ("example dot com"), and a symbol that stands for a word becomes that word. Items, headings and table rows become
    sentences. Code blocks and a model's <think> are left out. Never raises.
    """

    def __init__(self, words: SymbolNames | None = None) -> None:
        self._reader = Reader(words or SymbolNames())
        self._digits: str | None = None  # the line so far, if it is only a number
        self._number = 0  # number of the last numbered item

    def push(self, text: str) -> str:
        """Append a piece of text of any length, and return the words that are now certain."""
        for start in range(0, len(text), _SLICE):
            self._reader.text += text[start : start + _SLICE]
            self._read()
        return self._reader.prose.take()

    def finish(self) -> str:
        """End the text, and return the rest, with a full stop if the last item has none."""
        self._reader.final = True
        self._read()
        self._reader.prose.end_item()
        return self._reader.prose.take()

    def _read(self) -> None:
        at = 0
        while at < len(self._reader.text):
            to = self._step(at)
            if to == WAIT:
                break
            at = to
        self._reader.text = self._reader.text[at:]

    def _step(self, at: int) -> int:
        reader = self._reader
        if (to := reader.skip(at)) != at:
            return to
        if reader.fresh and (to := self._line_start(at)) != at:
            return to
        text, digits = reader.text, self._digits
        char = text[at]
        if space := markup.SPACE.match(text, at):
            self._digits, reader.box = None, False
            if char in markup.NEWLINES:
                reader.newline()
            else:
                reader.prose.space()
            return space.end()
        if digits is not None:
            if more := markup.DIGITS.match(text, at):
                self._digits = (digits + more[0])[:4]
                reader.prose.emit(more[0])
                return more.end()
            if digits and char in ".)" and (to := self._numbered(at, int(digits))) != at:
                return to
        if rule := RULES.get(char):
            to = rule(reader, at)
        elif letters := markup.PLAIN.match(text, at):
            to = plain(reader, at, letters.end())
        elif picture := markup.PICTURES.match(text, at):
            reader.prose.leave(Gap.SPACE, dropped=True)
            to = picture.end()
        else:
            return at + 1  # a variation selector or similar
        if to != WAIT:
            self._digits, reader.box = None, False
        return to

    def _line_start(self, at: int) -> int:
        """Read the marks at the start of a line. None is spoken, so they wait for the first other character."""
        reader = self._reader
        text, words, prose = reader.text, reader.words, reader.prose
        prefix = markup.PREFIX.match(text, at)
        assert prefix
        marks, end = prefix[0], prefix.end()
        if len(marks) == markup.MAX_PREFIX:
            return end
        if reader.needs(end):
            return WAIT
        if (fence := markup.FENCE.search(marks)) and (to := self._fence(at + fence.start(), fence[0])) != at:
            return to
        reader.fresh, self._digits = False, ""
        following = text[end : end + 1]
        if not following or following in markup.NEWLINES:
            return end
        sign = marks[-1:]
        reader.box = bool(markup.BULLET.search(marks))
        prose.item = prose.item or reader.box or "|" in marks or bool(markup.HEADING.search(marks))
        if following.isdigit() and sign and sign in "-–+~#":
            self._digits = None
            if sign in "~#":
                prose.say(words.about if sign == "~" else words.number)
            else:
                prose.emit(sign)
        elif marks[-1:].isspace() and marks.strip() == "=":
            prose.emit("=")
            prose.leave(Gap.SPACE)
        elif sign == ":":
            return end - 1  # starts a face or a :shortcode:
        return end

    def _numbered(self, at: int, number: int) -> int:
        """Read the full stop of "1. Apples". Only a list's first or next number makes an item, so "42. Yes" stays."""
        reader = self._reader
        if number not in (1, self._number + 1):
            return at
        after = markup.AFTER_NUMBER.match(reader.text, at + 1)
        assert after
        if reader.needs(after.end()):
            return WAIT
        if not reader.text[after.end() : after.end() + 1].isspace():
            return at
        self._number, reader.prose.item, self._digits = number, True, None
        reader.prose.leave(Gap.COMMA)
        return after.end()

    def _fence(self, at: int, fence: str) -> int:
        """Begin to skip a block of code; return `at` unchanged if the line is inline code."""
        reader = self._reader
        info = markup.INFO.match(reader.text, at + len(fence))
        assert info
        if len(info[0]) < markup.MAX_INFO and reader.needs(info.end()):
            return WAIT
        if len(info[0]) == markup.MAX_INFO or reader.text.startswith("`", info.end()):
            return at
        reader.fresh = False
        reader.skip_code(fence)
        reader.prose.say(reader.words.code)
        return info.end()
