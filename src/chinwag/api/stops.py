"""Stop sequences: the text ends before the first one."""

from __future__ import annotations

from collections.abc import Sequence


class StopSequences:
    """Cuts streamed text at the first stop sequence. `push` and `finish` return the text that is safe to send.

    Text that may begin a sequence is delayed. met: a sequence was found; no more text is returned.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self.met = False
        self._sequences = [sequence for sequence in sequences if sequence]
        self._pending = ""

    def push(self, text: str) -> str:
        """Append a piece of text; return the text that is safe to send."""
        if self.met:
            return ""
        self._pending += text
        found = [place for sequence in self._sequences if (place := self._pending.find(sequence)) >= 0]
        if found:
            self.met = True
            said, self._pending = self._pending[: min(found)], ""
            return said
        keep = max((_begun(self._pending, sequence) for sequence in self._sequences), default=0)
        said, self._pending = self._pending[: len(self._pending) - keep], self._pending[len(self._pending) - keep :]
        return said

    def finish(self) -> str:
        """Return the delayed text at the end."""
        said, self._pending = self._pending, ""
        return said


def _begun(text: str, sequence: str) -> int:
    """Return how many characters at the end of the text may begin the sequence."""
    longest = min(len(sequence) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
