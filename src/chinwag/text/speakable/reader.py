"""Where `Speakable` is in its text, what it is in the middle of, and what it skips."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from chinwag.text.speakable import markup
from chinwag.text.speakable.prose import Gap, Prose

WAIT = -1
"""What a rule answers that needs more text to know; nothing has changed then."""


@dataclass(frozen=True, slots=True)
class SymbolNames:
    """What is said in place of a symbol. `code` stands for a block of code, which is not read aloud."""

    dot: str = "dot"
    at: str = "at"
    about: str = "about"
    number: str = "number"
    to: str = "to"
    power: str = "to the power of"
    over: str = "over"
    code: str = "(The code is left out.)"


class Reader:
    """The text that has come and is not yet taken, and the state that rules share.

    A rule takes a place in the text; it answers where what it took ends, or WAIT. `skip` is the rule that comes
    before all others: it answers its own place where nothing is to be skipped.
    """

    def __init__(self, words: SymbolNames) -> None:
        self.words = words
        self.prose = Prose()
        self.text = ""
        self.final = False  # no more text will come
        self.fresh = True  # at the start of a line
        self.box = False  # just after a bullet: "[x]" is a box to tick
        self.brackets = 0
        self.math = False
        self.skip: Callable[[int], int] = self._skip_nothing
        self._hidden_end = markup.COMMENT_END
        self._fence = ""
        self._line_begins = False  # inside a fence
        self._depth = 0  # of parentheses in what is skipped

    def needs(self, at: int) -> bool:
        """Must the character at `at` be awaited?"""
        return at >= len(self.text) and not self.final

    def newline(self) -> None:
        """A line ends here, by a newline or a tag."""
        self.prose.end_line()
        self.fresh, self.brackets, self.math = True, 0, False

    def skip_code(self, fence: str) -> None:
        """Skip up to a closing fence of at least this length."""
        self.skip, self._fence, self._line_begins = self._skip_code, fence, False

    def skip_hidden(self, end: re.Pattern[str]) -> None:
        """Skip up to this, which stands for itself; without it, to the text's end."""
        self.skip, self._hidden_end = self._skip_hidden, end

    def skip_destination(self) -> None:
        """Skip a link's "(…)"."""
        self.skip, self._depth = self._skip_destination, 0

    def skip_path(self) -> None:
        """Skip the rest of an address, of which the host has been said."""
        self.prose.leave(Gap.SOFT, dropped=True)
        self.skip, self._depth = self._skip_path, 0

    def address(self, at: int) -> int:
        """Say the host of the address that is at `at`, and skip the rest."""
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
        if said := f" {self.words.dot} ".join(label for label in labels if label):
            self.prose.emit(said)

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
        if found := self._hidden_end.search(self.text, at):
            self.skip = self._skip_nothing
            return found.end()
        if self.final:
            return len(self.text)
        rest = len(self.text) - len(self._hidden_end.pattern) + 1
        return rest if rest > at else WAIT

    def _skip_destination(self, at: int) -> int:
        """Up to the closing parenthesis, or the line's end."""
        for found in markup.PARENTHESES.finditer(self.text, at):
            self._depth += {"(": 1, ")": -1}.get(found[0], 0)
            if found[0] == "\n" or self._depth == 0:
                self.skip = self._skip_nothing
                return found.start() if found[0] == "\n" else found.end()
        return len(self.text)

    def _skip_path(self, at: int) -> int:
        """Up to a space, less the punctuation that belongs to the sentence."""
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
