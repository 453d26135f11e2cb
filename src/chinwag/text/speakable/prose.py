"""The words that go out of `Speakable`, and what stands between them."""

from __future__ import annotations

from enum import IntEnum

from chinwag.text.speakable import markup


class Gap(IntEnum):
    """What is put before the next words. The greater wins."""

    NONE = 0
    SOFT = 1  # a space, but only between two letters: "snake_case"
    SPACE = 2
    COMMA = 3


class Prose:
    """Puts words together. A space waits for the word after it: what follows may be a full stop."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self.tail = ""  # the last two characters that went out
        self.gap = Gap.NONE
        self._dropped = False  # a picture or the like was left out since the last words
        self._typed = False  # the gap is a space of the text's own
        self.item = False  # the line is to end as a sentence does

    def take(self) -> str:
        """What has been put out since the last call."""
        words = "".join(self._out)
        self._out.clear()
        return words

    def emit(self, words: str) -> None:
        """Put out some words, never empty."""
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
        self._dropped = self._typed = False
        self._send(words)

    def leave(self, gap: Gap = Gap.NONE, *, dropped: bool = False) -> None:
        """Leave something out. dropped: punctuation that follows it belongs to what came before."""
        self.gap = max(self.gap, gap)
        self._dropped |= dropped

    def say(self, word: str) -> None:
        """A word in place of a symbol."""
        self.leave(Gap.SPACE)
        if word:
            self.emit(word)
            self.leave(Gap.SPACE)

    def space(self) -> None:
        """A space in the text."""
        if self.gap < Gap.SPACE:
            self.gap, self._typed = Gap.SPACE, not self._dropped
        if self.gap is Gap.SPACE and self.tail and self.tail[-1] in markup.ENDS:
            self.gap = Gap.NONE
            self._send(" ")  # at once: with it, a sentence is known to have ended

    def end_line(self) -> None:
        """A newline in the text; several count as one."""
        self.end_item()
        self.gap, self._typed, self._dropped = Gap.NONE, False, False
        if self.tail and not self.tail.endswith("\n"):
            self._send("\n")

    def end_item(self) -> None:
        """Give an item, heading or row the full stop it lacks."""
        last = self.tail[-1:]
        inner = self.tail[:1] if last in markup.CLOSERS else last
        if self.item and last and not last.isspace() and inner not in markup.ENDS:
            self._send("。" if markup.is_cjk(last) else ".")
        self.item = False

    @property
    def after_word(self) -> bool:
        """Does a letter or digit come right before?"""
        return self.gap is Gap.NONE and self.tail[-1:].isalnum()

    @property
    def after_term(self) -> bool:
        """Does a number or a lone letter come right before, as in "2*x"?"""
        return self.after_word and (self.tail[-1].isdigit() or not self.tail[:-1].isalnum())

    @property
    def spaced(self) -> bool:
        """Does a space come right before, and a word or a closing parenthesis before that, as in "5 * 3"?"""
        return self.gap is Gap.SPACE and self._typed and (self.tail[-1:].isalnum() or self.tail[-1:] == ")")

    def _send(self, words: str) -> None:
        self._out.append(words)
        self.tail = words[-2:] if len(words) > 1 else self.tail[-1:] + words
