"""What a listener hears: sound that came in pieces, played at real speed without a break where it can be.

Times are seconds of the caller's own clock. Nothing here waits or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples, join, silence
from chinwag.audio.gain import DUCKED

AUDIBLE = 10 ** (-50 / 20)
"""Amplitude of -50 dBFS: a sample beyond it is heard."""


class Playback(Protocol):
    """Where the answer's sound goes: the model below, or a real loudspeaker."""

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """Put sound (24 kHz) behind what still waits to be played."""
        ...

    def flush(self, now: float) -> None:
        """Drop what was not played yet; what comes next is played at full volume."""
        ...

    def duck(self, now: float) -> None:
        """Play on, but at the volume `DUCKED`."""
        ...

    def resume(self, now: float) -> None:
        """Play at full volume again."""
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
    """A player with no delay of its own: sound is heard when it arrives, or right after what is playing.

    volumes: (moment, factor of amplitude) of each change of the volume. dropped: (moment, samples) of each flush that
    dropped sound.
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.volumes: list[tuple[float, float]] = []
        self.dropped: list[tuple[float, int]] = []

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """See `Playback.receive`. A piece that comes after the last one has ended is heard at once."""
        start = max(now, self.pieces[-1].end) if self.pieces else now
        self.pieces.append(Piece(item_id, start, audio.resampled(WIRE_RATE).pcm))

    def flush(self, now: float) -> None:
        """See `Playback.flush`."""
        received = sum(len(piece.pcm) for piece in self.pieces)
        for piece in self.pieces:
            piece.pcm = piece.pcm[: piece.played(now)]
        self.pieces = [piece for piece in self.pieces if len(piece.pcm)]
        if lost := received - sum(len(piece.pcm) for piece in self.pieces):
            self.dropped.append((now, lost))
        self.resume(now)

    def duck(self, now: float) -> None:
        """See `Playback.duck`."""
        self._turn_to(now, DUCKED)

    def resume(self, now: float) -> None:
        """See `Playback.resume`."""
        self._turn_to(now, 1.0)

    def volume(self, now: float) -> float:
        """Factor of amplitude at that moment."""
        return next((factor for moment, factor in reversed(self.volumes) if moment <= now), 1.0)

    def _turn_to(self, now: float, factor: float) -> None:
        if self.volume(now) != factor:
            self.volumes.append((now, factor))

    def heard(self, start: float, count: int, item_id: str | None = None) -> Samples:
        """What reached the ear in `count` samples (24 kHz) from that moment on, of one item or of all."""
        pcm = np.zeros(count, np.float32)
        end = start + count / WIRE_RATE
        for piece in reversed(self.pieces):
            if piece.end <= start:
                break
            if piece.start >= end or item_id not in (None, piece.item_id):
                continue
            at = round((piece.start - start) * WIRE_RATE)
            part = piece.pcm[max(-at, 0) : max(count - at, 0)]
            pcm[max(at, 0) : max(at, 0) + len(part)] = part
        for place, (moment, factor) in enumerate(self.volumes):
            until = self.volumes[place + 1][0] if place + 1 < len(self.volumes) else end
            first, last = (min(max(round((at - start) * WIRE_RATE), 0), count) for at in (moment, until))
            pcm[first:last] *= np.float32(factor)
        return pcm

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
