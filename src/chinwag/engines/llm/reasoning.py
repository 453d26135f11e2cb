"""Keeps a model's thinking out of what is said, in each of the shapes in which models and servers write it."""

from __future__ import annotations

import re

OPENS = ("<think>", "<thinking>", "<thought>", "<reasoning>", "[THINK]", "<|START_THINKING|>", "<seed:think>")
"""DeepSeek, Qwen and most others; Claude-like and Gemma tunes; Magistral; Command A; Seed-OSS."""
CLOSES = ("</think>", "</thinking>", "</thought>", "</reasoning>", "[/THINK]", "<|END_THINKING|>", "</seed:think>")

CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
"""harmony (gpt-oss): <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>"""
FINAL = "final"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
START = "<|start|>"

TEXT_TAGS = (*OPENS, *CLOSES, CHANNEL, START, *ENDS)

_FIRST_WORD = re.compile(r"\s*(\w*)")
_THINKERS = re.compile(r"(?<![a-z0-9])(r1|qwq|thinking|reasoner)(?![a-z0-9])", re.IGNORECASE)


def begins_thinking(model: str) -> bool:
    """Whether a model of that name may begin its answers in the middle of a thought that its template opened."""
    return bool(_THINKERS.search(model))


class ThinkFilter:
    """Drops thoughts from a stream of text, wherever the pieces are cut.

    in_thought: the answer may begin inside a thought that the model's chat template opened, as DeepSeek-R1's and
    QwQ's do, so nothing is let through before a tag or `answers`; afterwards it is what was found, for the next answer.
    """

    def __init__(self, in_thought: bool = False) -> None:
        self.in_thought = in_thought
        self._held = ""
        self._unsure: str | None = "" if in_thought else None
        self._until: tuple[str, ...] = ()
        self._header = ""
        self._blank = True

    def feed(self, text: str) -> str:
        """Give the next piece; back comes what may be said of it."""
        self._held += text
        said = ""
        while True:
            tags = (MESSAGE,) if self._header else self._until or TEXT_TAGS
            found = _first(self._held, tags)
            if found is None:
                break
            at, tag = found
            before, self._held = self._held[:at], self._held[at + len(tag) :]
            if self._unsure is not None:
                self.in_thought, self._unsure = tag in CLOSES, None
            elif not self._header and not self._until:
                said += before
            self._turn(tag, before)
        kept = len(self._held) if self._header else _may_begin(tags, self._held)
        free = self._held[: len(self._held) - kept]
        self._held = self._held[len(self._held) - kept :]
        if self._unsure is not None:
            self._unsure += free
        elif not self._until and not self._header:
            said += free
        return self._without_blank_start(said)

    def answers(self) -> str:
        """The server tells thoughts in a field of their own, so the text is the answer; back comes what was held."""
        kept, self._unsure = self._unsure or "", None
        self.in_thought = False
        return self._without_blank_start(kept)

    def end(self, cut: bool = False) -> str:
        """What was held back and was no thought after all. cut: the answer ended for its length, maybe in a thought."""
        held, self._held = self._held, ""
        if self._unsure is not None:
            return "" if cut else self._without_blank_start(self.answers() + held)
        return "" if self._until or self._header else self._without_blank_start(held)

    def _turn(self, tag: str, before: str) -> None:
        """Go on from a tag; before: what stood between the last one and it."""
        if self._header:
            _, named, channel = (self._header + before).rpartition(CHANNEL)
            word = _FIRST_WORD.match(channel)
            final = not named or (word is not None and word[1] == FINAL)
            # another channel than the final one is thought, up to where the next message begins
            self._header, self._until = "", () if final else (CHANNEL, START)
        elif tag in (CHANNEL, START):
            self._header, self._until = tag, ()
        elif self._until:
            self._until = ()
        elif tag in OPENS:
            self._until = (CLOSES[OPENS.index(tag)],)
        elif tag in CLOSES:  # opened by nothing that we saw: what came before it was thought
            self.in_thought = True

    def _without_blank_start(self, said: str) -> str:
        if self._blank:  # the empty lines after a thought are not the answer's
            said = said.lstrip()
            self._blank = not said
        return said


def _first(text: str, tags: tuple[str, ...]) -> tuple[int, str] | None:
    """The first of the tags in the text, and where; the longest of those that begin there."""
    found = [(text.find(tag), -len(tag), tag) for tag in tags if tag in text]
    return (min(found)[0], min(found)[2]) if found else None


def _may_begin(tags: tuple[str, ...], text: str) -> int:
    """How many of text's last characters may be the beginning of a tag."""
    longest = max(len(tag) for tag in tags) - 1
    for count in range(min(longest, len(text)), 0, -1):
        tail = text[-count:]
        if any(tag.startswith(tail) and tag != tail for tag in tags):
            return count
    return 0
