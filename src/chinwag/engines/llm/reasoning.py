"""Keeps a model's thinking out of what is said."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class ThinkFilter:
    """Drops `<think>…</think>` from a stream of text, wherever the pieces are cut."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._blank = True

    def feed(self, text: str) -> str:
        """Give the next piece; back comes what may be said of it."""
        self._held += text
        said = ""
        while True:
            tag = CLOSE if self._thinking else OPEN
            at = self._held.find(tag)
            if at < 0:
                break
            said += "" if self._thinking else self._held[:at]
            self._held = self._held[at + len(tag) :]
            self._thinking = not self._thinking
        kept = _beginning_of(tag, self._held)
        if not self._thinking:
            said += self._held[: len(self._held) - kept]
        self._held = self._held[len(self._held) - kept :]
        return self._without_blank_start(said)

    def end(self) -> str:
        """What was held back because it might have begun a tag."""
        held, self._held = self._held, ""
        return "" if self._thinking else self._without_blank_start(held)

    def _without_blank_start(self, said: str) -> str:
        if self._blank:  # the empty lines after a thought are not the answer's
            said = said.lstrip()
            self._blank = not said
        return said


def _beginning_of(tag: str, text: str) -> int:
    """How many of text's last characters may be the beginning of the tag."""
    for count in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:count]):
            return count
    return 0
