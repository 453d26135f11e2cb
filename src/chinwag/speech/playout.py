"""Playout position: how much of the sent audio the client has played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chinwag.language import split_words

RESYNC_S = 0.5
"""Difference from the model at which a client's report corrects it; a smaller one is the age of the report."""


class Playout:
    """Playout position of one item's audio at the client.

    A client's own reports are believed. For a client without reports, the player is modelled: it starts with the
    first frame, plays at real speed, and pauses when it has no audio.

    rate: samples a second. clock: returns seconds, as the event loop's does.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.sent = 0
        self._clock = clock
        self._empty_at = clock()
        self._stopped_at: float | None = None
        self._reported: tuple[int, float] | None = None

    def add_sent(self, samples: int) -> None:
        """Count samples that were sent."""
        self._empty_at = max(self._empty_at, self._clock()) + samples / self.rate
        self.sent += samples

    def queue_after(self, earlier: Playout) -> None:
        """Start playback after the audio of an earlier item."""
        self._empty_at = max(self._empty_at, earlier.ends_at)

    @property
    def ahead_s(self) -> float:
        """Seconds of audio that were sent and are not yet played."""
        return max(0.0, self._empty_at - self._clock())

    @property
    def ends_at(self) -> float:
        """Time at which playback ends or ended, by the clock; at the latest when it was stopped."""
        return self._empty_at if self._stopped_at is None else min(self._empty_at, self._stopped_at)

    @property
    def stopped(self) -> bool:
        """Whether playback was stopped."""
        return self._stopped_at is not None

    @property
    def played(self) -> int:
        """Number of samples that were played."""
        now = self._clock() if self._stopped_at is None else self._stopped_at
        if self._reported is not None:
            samples, at = self._reported
            return min(self.sent, samples + round(max(0.0, now - at) * self.rate))
        return max(0, self.sent - round(max(0.0, self._empty_at - now) * self.rate))

    def report_played(self, samples: int) -> None:
        """Record the client's report of samples played by now. A report after a stop counts as well."""
        self._reported = max(0, samples), self._clock()
        late_s = (self.sent - samples) / self.rate - self.ahead_s
        if late_s > RESYNC_S and not self.stopped:  # the client was cut off for a while, and still has to play the rest
            self._empty_at = self._clock() + (self.sent - samples) / self.rate

    def stop(self, at: float | None = None) -> None:
        """Stop playback, now or at a time of the clock: audio that was not played until then is never heard."""
        if self._stopped_at is None:
            self._stopped_at = self._clock() if at is None else at


@dataclass(eq=False)
class SpokenClause:
    """A clause and the extent of its audio.

    text: the clause. start: index of its first sample in the item's audio. samples: number of samples so far.
    complete: all samples are there. expected: an estimate of their number until then.
    """

    text: str
    start: int
    expected: int = 0
    samples: int = 0
    complete: bool = False

    def text_heard(self, played: int) -> str:
        """Return the words played up to a sample of the item's audio; a word counts if over half was played.

        Word times are unknown, so a word's share of the clause's audio is its share of the characters.
        """
        position = played - self.start
        if position <= 0 or not self.samples:
            return ""
        if self.complete and position >= self.samples:
            return self.text
        share = position / (self.samples if self.complete else max(self.samples, self.expected))
        words = split_words(self.text)
        total = sum(map(len, words))
        heard, characters = 0, 0
        for word in words:
            if characters + len(word) / 2 > share * total:
                break
            characters += len(word)
            heard += 1
        return "".join(words[:heard]).rstrip()
