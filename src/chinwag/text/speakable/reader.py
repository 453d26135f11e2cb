"""State of `Speakable`: its unread text, its position in markdown constructs, and what it skips."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from chinwag.text.speakable import markup
from chinwag.text.speakable.prose import Gap, Prose

WAIT = -1
"""Result of a rule that needs more text; the rule has changed nothing."""


@dataclass(frozen=True, slots=True)
class SymbolNames:
    """Words spoken in place of symbols. `code` replaces a block of code, which is not read aloud."""

    dot: str = "dot"
    at: str = "at"
    about: str = "about"
    number: str = "number"
    to: str = "to"
    power: str = "to the power of"
    over: str = "over"
    code: str = "(The code is left out.)"


class Reader:
    """Unread text, and the state that the rules share.

    A rule gets an index into the text and returns the index after the text it has read, or WAIT. `skip` is the rule
    that runs before all others; it returns the index unchanged if nothing is skipped.
    """

    def __init__(self, words: SymbolNames) -> None:
        self.words = words
        self.prose = Prose()
        self.text = ""
        self.final = False  # no more text will come
        self.fresh = True  # at the start of a line
        self.box = False  # just after a bullet, where "[x]" is a tick box
        self.brackets = 0
        self.math = False
        self.skip: Callable[[int], int] = self._skip_nothing
        self._hidden_end = markup.COMMENT_END
        self._fence = ""
        self._line_begins = False  # inside a fence
        self._depth = 0  # of parentheses in the skipped text

    def needs(self, at: int) -> bool:
        """Return whether the character at `at` has not arrived yet."""
        return at >= len(self.text) and not self.final

    def newline(self) -> None:
        """End the line, at a newline or a tag."""
        self.prose.end_line()
        self.fresh, self.brackets, self.math = True, 0, False

    def skip_code(self, fence: str) -> None:
        """Skip up to a closing fence of at least this length."""
        self.skip, self._fence, self._line_begins = self._skip_code, fence, False

    def skip_hidden(self, end: re.Pattern[str]) -> None:
        """Skip past the match of a literal pattern; without a match, to the end of the text."""
        self.skip, self._hidden_end = self._skip_hidden, end

    def skip_destination(self) -> None:
        """Skip a link's "(…)"."""
        self.skip, self._depth = self._skip_destination, 0

    def skip_path(self) -> None:
        """Skip the rest of an address after its host."""
        self.prose.leave(Gap.SOFT, dropped=True)
        self.skip, self._depth = self._skip_path, 0

    def address(self, at: int) -> int:
        """Say the host of the address at `at`, and skip the rest."""
        host = markup.HOST.match(self.text, at)
        assert host
        if len(host[0]) < markup.MAX_HOST and self.needs(host.end()):
            return WAIT
        name = host[0].rstrip(".-_")
        self.prose.leave(Gap.SOFT)
        self.say_host(name.removeprefix("www."))
        self.skip_path()
        return at + len(name)

    def say_host(self, name: str) -> None:
        """Say "example.com" as "example dot com"."""
        labels = [" ".join(label.replace("_", " ").split()) for label in name.split(".")]
        if spoken_host := f" {self.words.dot} ".join(label for label in labels if label):
            self.prose.emit(spoken_host)

    def _skip_nothing(self, at: int) -> int:
        return at

    def _skip_code(self, at: int) -> int:
        text = self.text
        if self._line_begins:
            indent = markup.CODE_INDENT.match(text, at)
            assert indent
            fence = markup.CODE_FENCE.match(text, indent.end())
            assert fence
            if self.needs(fence.end()):
                return WAIT
            if fence[0].startswith(self._fence):
                self.skip = self._skip_nothing
                return fence.end()
        newline = text.find("\n", at)
        self._line_begins = newline >= 0
        return newline + 1 if newline >= 0 else len(text)

    def _skip_hidden(self, at: int) -> int:
        if match := self._hidden_end.search(self.text, at):
            self.skip = self._skip_nothing
            return match.end()
        if self.final:
            return len(self.text)
        rest = len(self.text) - len(self._hidden_end.pattern) + 1
        return rest if rest > at else WAIT

    def _skip_destination(self, at: int) -> int:
        """Skip to the closing parenthesis or the end of the line."""
        for parenthesis in markup.PARENTHESES.finditer(self.text, at):
            self._depth += {"(": 1, ")": -1}.get(parenthesis[0], 0)
            if parenthesis[0] == "\n" or self._depth == 0:
                self.skip = self._skip_nothing
                return parenthesis.start() if parenthesis[0] == "\n" else parenthesis.end()
        return len(self.text)

    def _skip_path(self, at: int) -> int:
        """Skip to a space, except for punctuation that belongs to the sentence."""
        text = self.text
        if path := markup.PATH.match(text, at):
            self._depth += path[0].count("(") - path[0].count(")")
            return path.end()
        marks = markup.PATH_MARKS.match(text, at)
        assert marks
        if len(marks[0]) < markup.MAX_PATH_MARKS and self.needs(marks.end()):
            return WAIT
        self.skip = self._skip_nothing
        own = text[at] == ">" or (text[at] == ")" and self._depth > 0)
        return at + 1 if own else at
