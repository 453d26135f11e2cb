"""Playout position: how much of the sent audio the client has played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chinwag.language import split_words

BEHIND_S = 0.5
"""A player that is later than this was not modelled well; less is the age of its report."""


class Playout:
    """Playout position of one item's audio at the client.

    A client that reports what it has played is believed. For one that does not, its player is modelled: it begins
    with the first frame it gets, plays at real speed, and waits where it runs dry.

    rate: samples a second. clock: seconds, the event loop's.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.sent = 0
        self._clock = clock
        self._dry_at = clock()
        self._stopped_at: float | None = None
        self._reported: tuple[int, float] | None = None

    def add_sent(self, samples: int) -> None:
        """Count samples that were sent."""
        self._dry_at = max(self._dry_at, self._clock()) + samples / self.rate
        self.sent += samples

    def queue_after(self, earlier: Playout) -> None:
        """Start playback after the audio of an earlier item."""
        self._dry_at = max(self._dry_at, earlier.ends_at)

    @property
    def ahead_s(self) -> float:
        """Seconds of sound that were sent and not yet played."""
        return max(0.0, self._dry_at - self._clock())

    @property
    def ends_at(self) -> float:
        """When the last sample was played, or will be; where the player was silenced, then."""
        return self._dry_at if self._stopped_at is None else min(self._dry_at, self._stopped_at)

    @property
    def stopped(self) -> bool:
        """Whether playback was stopped."""
        return self._stopped_at is not None

    @property
    def played(self) -> int:
        """Samples that were played."""
        now = self._clock() if self._stopped_at is None else self._stopped_at
        if self._reported is not None:
            samples, at = self._reported
            return min(self.sent, samples + round(max(0.0, now - at) * self.rate))
        return max(0, self.sent - round(max(0.0, self._dry_at - now) * self.rate))

    def report_played(self, samples: int) -> None:
        """The client says so many were played by now. A late report still counts, after a stop as well."""
        self._reported = max(0, samples), self._clock()
        late = (self.sent - samples) / self.rate - self.ahead_s
        if late > BEHIND_S and not self.stopped:  # it was cut off for a while, and has all of it still to play
            self._dry_at = self._clock() + (self.sent - samples) / self.rate

    def stop(self, at: float | None = None) -> None:
        """The listener's player was silenced now, or then: what it has not played is never heard."""
        if self._stopped_at is None:
            self._stopped_at = self._clock() if at is None else at


@dataclass(eq=False)
class SpokenClause:
    """A clause and the extent of its audio.

    text: the clause. start: place of its first sample in the item's sound. samples: how many it has so far, all of
    them once it is `whole`. expected: a guess at that number until then.
    """

    text: str
    start: int
    expected: int = 0
    samples: int = 0
    complete: bool = False

    def text_heard(self, played: int) -> str:
        """Return the words played up to a sample of the item's audio; a word counts if over half was played.

        Without word times, a word's share of the clause's sound is its share of the characters.
        """
        into = played - self.start
        if into <= 0 or not self.samples:
            return ""
        if self.complete and into >= self.samples:
            return self.text
        share = into / (self.samples if self.complete else max(self.samples, self.expected))
        words = split_words(self.text)
        total = sum(map(len, words))
        kept, spent = 0, 0
        for word in words:
            if spent + len(word) / 2 > share * total:
                break
            spent += len(word)
            kept += 1
        return "".join(words[:kept]).rstrip()
