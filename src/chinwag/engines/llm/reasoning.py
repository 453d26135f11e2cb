"""Removes a model's reasoning from its streamed text, in all formats that models and servers use."""

from __future__ import annotations

import re

OPENS = ("<think>", "<thinking>", "<thought>", "<reasoning>", "[THINK]", "<|START_THINKING|>", "<seed:think>")
"""Of DeepSeek, Qwen and most others; Claude-like and Gemma tunes; Magistral; Command A; Seed-OSS."""
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
    """Return whether a model's name suggests that its responses begin within reasoning opened by the chat template."""
    return bool(_THINKERS.search(model))


class ThinkFilter:
    """Removes reasoning from a stream of text, even if a tag is split between pieces.

    in_thought: the response may begin within reasoning that the chat template opened, as with DeepSeek-R1 and QwQ.
    No text passes then before a tag or `answers`. Afterwards it holds what was detected, for the next response.
    """

    def __init__(self, in_thought: bool = False) -> None:
        self.in_thought = in_thought
        self._pending = ""
        self._undecided: str | None = "" if in_thought else None
        self._until: tuple[str, ...] = ()
        self._header = ""
        self._at_start = True

    def feed(self, text: str) -> str:
        """Add a piece of text; return the text that is known to be no reasoning."""
        self._pending += text
        text_out = ""
        while True:
            tags = (MESSAGE,) if self._header else self._until or TEXT_TAGS
            found = _find_first_tag(self._pending, tags)
            if found is None:
                break
            at, tag = found
            before, self._pending = self._pending[:at], self._pending[at + len(tag) :]
            if self._undecided is not None:
                self.in_thought, self._undecided = tag in CLOSES, None
            elif not self._header and not self._until:
                text_out += before
            self._handle_tag(tag, before)
        count = len(self._pending) if self._header else _partial_tag_length(tags, self._pending)
        free = self._pending[: len(self._pending) - count]
        self._pending = self._pending[len(self._pending) - count :]
        if self._undecided is not None:
            self._undecided += free
        elif not self._until and not self._header:
            text_out += free
        return self._strip_start(text_out)

    def answers(self) -> str:
        """Treat all text as the response, as the server sends reasoning in its own field; return the withheld text."""
        text, self._undecided = self._undecided or "", None
        self.in_thought = False
        return self._strip_start(text)

    def end(self, cut: bool = False) -> str:
        """Return the withheld text if it is no reasoning. cut: the length limit ended the response."""
        rest, self._pending = self._pending, ""
        if self._undecided is not None:
            return "" if cut else self._strip_start(self.answers() + rest)
        return "" if self._until or self._header else self._strip_start(rest)

    def _handle_tag(self, tag: str, before: str) -> None:
        """Update the state at a tag. before: the text between the last tag and this one."""
        if self._header:
            _, separator, channel = (self._header + before).rpartition(CHANNEL)
            word = _FIRST_WORD.match(channel)
            final = not separator or (word is not None and word[1] == FINAL)
            # channels other than the final one hold reasoning, until the next message begins
            self._header, self._until = "", () if final else (CHANNEL, START)
        elif tag in (CHANNEL, START):
            self._header, self._until = tag, ()
        elif self._until:
            self._until = ()
        elif tag in OPENS:
            self._until = (CLOSES[OPENS.index(tag)],)
        elif tag in CLOSES:  # the template opened it: the text so far was reasoning
            self.in_thought = True

    def _strip_start(self, text_out: str) -> str:
        if self._at_start:  # drop the empty lines after reasoning
            text_out = text_out.lstrip()
            self._at_start = not text_out
        return text_out


def _find_first_tag(text: str, tags: tuple[str, ...]) -> tuple[int, str] | None:
    """Return position and tag of the first tag in the text (the longest at that position), or None."""
    found = [(text.find(tag), -len(tag), tag) for tag in tags if tag in text]
    return (min(found)[0], min(found)[2]) if found else None


def _partial_tag_length(tags: tuple[str, ...], text: str) -> int:
    """Return how many characters at the end of the text may begin a tag."""
    longest = max(len(tag) for tag in tags) - 1
    for count in range(min(longest, len(text)), 0, -1):
        tail = text[-count:]
        if any(tag.startswith(tail) and tag != tail for tag in tags):
            return count
    return 0
