"""Output of `Speakable`: words, and the gaps between them."""

from __future__ import annotations

from enum import IntEnum

from chinwag.text.speakable import markup


class Gap(IntEnum):
    """Gap before the next words. The greatest one requested applies."""

    NONE = 0
    SOFT = 1  # a space, but only between two letters: "snake_case"
    SPACE = 2
    COMMA = 3


class Prose:
    """Builder of the spoken text. A space waits for the next word, as a full stop may follow instead."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self.tail = ""  # the last two characters that were emitted
        self.gap = Gap.NONE
        self._dropped = False  # a picture or similar was dropped since the last words
        self._source_space = False  # the gap is a space in the source text
        self.item = False  # the line gets a full stop, as a sentence has

    def take(self) -> str:
        """Return the text emitted since the last call."""
        words = "".join(self._out)
        self._out.clear()
        return words

    def emit(self, words: str) -> None:
        """Emit words; they must not be empty."""
        last = self.tail[-1:]
        if self._dropped and words[0] in markup.FOLLOWS:
            self.gap = Gap.NONE
            if not last or last.isspace() or last in markup.ENDS:  # "Great! 👍." has its full stop
                self._dropped = False
                if len(words) == 1:
                    return
                words = words[1:]
        if self.gap:
            if last and not last.isspace():
                if self.gap is Gap.COMMA:
                    words = (" " if last in markup.ENDS else ", ") + words
                elif self.gap is Gap.SPACE or (last.isalnum() and words[0].isalnum()):
                    words = " " + words
            self.gap = Gap.NONE
        self._dropped = self._source_space = False
        self._send(words)

    def leave(self, gap: Gap = Gap.NONE, *, dropped: bool = False) -> None:
        """Leave a gap for a dropped mark. dropped: punctuation after it belongs to the words before it."""
        self.gap = max(self.gap, gap)
        self._dropped |= dropped

    def say(self, word: str) -> None:
        """Emit a word in place of a symbol."""
        self.leave(Gap.SPACE)
        if word:
            self.emit(word)
            self.leave(Gap.SPACE)

    def space(self) -> None:
        """Handle a space in the source text."""
        if self.gap < Gap.SPACE:
            self.gap, self._source_space = Gap.SPACE, not self._dropped
        if self.gap is Gap.SPACE and self.tail and self.tail[-1] in markup.ENDS:
            self.gap = Gap.NONE
            self._send(" ")  # sent at once, as it confirms the end of a sentence

    def end_line(self) -> None:
        """Handle a newline in the source text; several count as one."""
        self.end_item()
        self.gap, self._source_space, self._dropped = Gap.NONE, False, False
        if self.tail and not self.tail.endswith("\n"):
            self._send("\n")

    def end_item(self) -> None:
        """Add a full stop to an item, heading or row that has none."""
        last = self.tail[-1:]
        inner = self.tail[:1] if last in markup.CLOSERS else last
        if self.item and last and not last.isspace() and inner not in markup.ENDS:
            self._send("。" if markup.is_cjk(last) else ".")
        self.item = False

    @property
    def after_word(self) -> bool:
        """Whether the last character is a letter or digit."""
        return self.gap is Gap.NONE and self.tail[-1:].isalnum()

    @property
    def after_term(self) -> bool:
        """Whether a number or a single letter comes right before, as in "2*x"."""
        return self.after_word and (self.tail[-1].isdigit() or not self.tail[:-1].isalnum())

    @property
    def spaced(self) -> bool:
        """Whether a space comes right before, after a word or a closing parenthesis, as in "5 * 3"."""
        return self.gap is Gap.SPACE and self._source_space and (self.tail[-1:].isalnum() or self.tail[-1:] == ")")

    def _send(self, words: str) -> None:
        self._out.append(words)
        self.tail = words[-2:] if len(words) > 1 else self.tail[-1:] + words
