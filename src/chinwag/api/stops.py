"""Stop sequences: text ends in front of the first of them."""

from __future__ import annotations

from collections.abc import Sequence


class StopSequences:
    """Give the text as it comes to `push`, then call `finish`; both return what is sure by now.

    Only what may be the beginning of a sequence is held back. met: one was found, and nothing comes any more.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self.met = False
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""

    def push(self, text: str) -> str:
        """Take the next piece."""
        if self.met:
            return ""
        self._held += text
        found = [place for sequence in self._sequences if (place := self._held.find(sequence)) >= 0]
        if found:
            self.met = True
            said, self._held = self._held[: min(found)], ""
            return said
        keep = max((_begun(self._held, sequence) for sequence in self._sequences), default=0)
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said

    def finish(self) -> str:
        """The text has ended: what was held back."""
        said, self._held = self._held, ""
        return said


def _begun(text: str, sequence: str) -> int:
    """How many characters at the text's end may begin the sequence."""
    longest = min(len(sequence) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
