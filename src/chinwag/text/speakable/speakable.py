"""From a model's markdown to plain words, token by token.

Written by hand: markdown libraries want the whole text, while here a word must pass as soon as it comes.

Every rule looks at the text from one place on and either takes some of it or asks to see more; it never takes what
further text could change. So the result does not depend on how the text was cut, and only what may be the
beginning of a construct is held back. How far a rule looks is bounded, which keeps the whole linear.
"""

from __future__ import annotations

from chinwag.text.speakable import markup
from chinwag.text.speakable.marks import RULES, plain
from chinwag.text.speakable.prose import Gap
from chinwag.text.speakable.reader import WAIT, Reader, SymbolNames

__all__ = ["Speakable", "SymbolNames"]

_SLICE = 1024  # characters looked at together, as what is left of them is copied


class Speakable:
    """Give a model's text as it comes to `push`, then call `finish`; both return what can be spoken by now.

    Markdown, HTML, LaTeX marks, emoji and citations are taken out; a link is its text, an address its host
    ("example dot com"), a symbol that stands for a word that word; items, headings and table rows become
    sentences; code blocks and a model's <think> are left out. Never raises.
    """

    def __init__(self, words: SymbolNames | None = None) -> None:
        self._reader = Reader(words or SymbolNames())
        self._digits: str | None = None  # the line so far, while it is only a number
        self._number = 0  # of the last numbered item

    def push(self, text: str) -> str:
        """Take the next piece of text, of any length; return the words that are sure by now, maybe none."""
        for start in range(0, len(text), _SLICE):
            self._reader.text += text[start : start + _SLICE]
            self._take()
        return self._reader.prose.take()

    def finish(self) -> str:
        """The text has ended: return what was held back, and the full stop that a last item lacks."""
        self._reader.final = True
        self._take()
        self._reader.prose.end_item()
        return self._reader.prose.take()

    def _take(self) -> None:
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
            return at + 1  # a variation selector or the like
        if to != WAIT:
            self._digits, reader.box = None, False
        return to

    def _line_start(self, at: int) -> int:
        """Marks at the start of a line, none of which is spoken: so they can wait for the first other character."""
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
            return end - 1  # of a face or a :shortcode:
        return end

    def _numbered(self, at: int, number: int) -> int:
        """The full stop of "1. Apples": only a list's first or next number makes an item, so "42. Yes" stays."""
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
        """Begin to skip a block of code; the same place where the line is inline code after all."""
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
