"""What a listener hears: sound that came in pieces, played at real speed without a break where it can be.

Times are seconds of the caller's own clock. Nothing here waits or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples, join, silence

AUDIBLE = 10 ** (-50 / 20)
"""Amplitude of -50 dBFS: a sample beyond it is heard."""


class Playback(Protocol):
    """Where the answer's sound goes: the model below, or a real loudspeaker."""

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """Put sound (24 kHz) behind what still waits to be played."""
        ...

    def flush(self, now: float) -> None:
        """Drop what was not played yet."""
        ...

    def last_played(self, now: float) -> tuple[str, int] | None:
        """The item that was heard last, and how many milliseconds of it; None before the first."""
        ...

    def idle(self, now: float) -> bool:
        """Whether everything received was played or dropped."""
        ...


@dataclass(slots=True)
class Piece:
    """Sound of one item and the moment its first sample is played."""

    item_id: str
    start: float
    pcm: Samples

    @property
    def end(self) -> float:
        """The moment after its last sample."""
        return self.start + len(self.pcm) / WIRE_RATE

    def played(self, now: float) -> int:
        """Samples of it that were heard by then."""
        return min(max(round((now - self.start) * WIRE_RATE), 0), len(self.pcm))


class Ear:
    """A player with no delay of its own: sound is heard when it arrives, or right after what is playing."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """See `Playback.receive`. A piece that comes after the last one has ended is heard at once."""
        start = max(now, self.pieces[-1].end) if self.pieces else now
        self.pieces.append(Piece(item_id, start, audio.resampled(WIRE_RATE).pcm))

    def flush(self, now: float) -> None:
        """See `Playback.flush`."""
        for piece in self.pieces:
            piece.pcm = piece.pcm[: piece.played(now)]
        self.pieces = [piece for piece in self.pieces if len(piece.pcm)]

    def last_played(self, now: float) -> tuple[str, int] | None:
        """See `Playback.last_played`."""
        begun = [piece for piece in self.pieces if piece.start < now]
        if not begun:
            return None
        item_id = begun[-1].item_id
        samples = sum(piece.played(now) for piece in begun if piece.item_id == item_id)
        return item_id, round(samples * 1000 / WIRE_RATE)

    def idle(self, now: float) -> bool:
        """See `Playback.idle`."""
        return not self.pieces or self.pieces[-1].end <= now

    def onsets(self) -> dict[str, float]:
        """For each item, the moment its first audible sample was or will be heard; silent items are left out."""
        found: dict[str, float] = {}
        for piece in self.pieces:
            if piece.item_id not in found:
                loud = np.flatnonzero(np.abs(piece.pcm) > AUDIBLE)
                if len(loud):
                    found[piece.item_id] = piece.start + int(loud[0]) / WIRE_RATE
        return found

    def recording(self, longest_gap: float = 0.5) -> Audio:
        """All that was heard, in order, 24 kHz. Silence between pieces is kept up to `longest_gap` seconds."""
        sounds: list[Audio] = []
        end = None
        for piece in self.pieces:
            if end is not None and piece.start > end:
                sounds.append(silence(min(piece.start - end, longest_gap), WIRE_RATE))
            sounds.append(Audio(piece.pcm, WIRE_RATE))
            end = piece.end
        return join(sounds) if sounds else silence(0, WIRE_RATE)
