"""What a listener hears: received audio, played at real speed.

Times are seconds of the client's clock. Nothing here waits or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples, join, silence
from chinwag.audio.gain import DUCKED

AUDIBLE = 10 ** (-50 / 20)
"""Amplitude of -50 dBFS; louder samples count as audible."""


class Playback(Protocol):
    """Plays the audio of responses: a simulated listener (below) or a real loudspeaker."""

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """Append audio (24 kHz) to the audio that is not played yet."""
        ...

    def flush(self, now: float) -> None:
        """Drop audio that is not played yet, and return to full volume."""
        ...

    def duck(self, now: float) -> None:
        """Lower the volume to `DUCKED`."""
        ...

    def resume(self, now: float) -> None:
        """Return to full volume."""
        ...

    def last_played(self, now: float) -> tuple[str, int] | None:
        """Return the item that was heard last and how many ms of it were heard; None before the first."""
        ...

    def idle(self, now: float) -> bool:
        """Whether all received audio was played or dropped."""
        ...


@dataclass(slots=True)
class PlayedAudio:
    """Audio of one item. start: when its first sample is played."""

    item_id: str
    start: float
    pcm: Samples

    @property
    def end(self) -> float:
        """When its last sample has been played."""
        return self.start + len(self.pcm) / WIRE_RATE

    def played(self, now: float) -> int:
        """Return how many samples were played by then."""
        return min(max(round((now - self.start) * WIRE_RATE), 0), len(self.pcm))


class ListenerPlayback:
    """A simulated listener without delay: audio is heard when it arrives, or right after the audio before it.

    volumes: (time, factor of amplitude) of each change of volume. dropped: (time, samples) of each flush that dropped
    audio.
    """

    def __init__(self) -> None:
        self.pieces: list[PlayedAudio] = []
        self.volumes: list[tuple[float, float]] = []
        self.dropped: list[tuple[float, int]] = []

    def receive(self, item_id: str, audio: Audio, now: float) -> None:
        """See `Playback.receive`. Audio that arrives after the end of the last piece is heard at once."""
        start = max(now, self.pieces[-1].end) if self.pieces else now
        self.pieces.append(PlayedAudio(item_id, start, audio.resampled(WIRE_RATE).pcm))

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
        self._set_volume(now, DUCKED)

    def resume(self, now: float) -> None:
        """See `Playback.resume`."""
        self._set_volume(now, 1.0)

    def volume(self, now: float) -> float:
        """Return the factor of amplitude at that time."""
        return next((factor for moment, factor in reversed(self.volumes) if moment <= now), 1.0)

    def _set_volume(self, now: float, factor: float) -> None:
        if self.volume(now) != factor:
            self.volumes.append((now, factor))

    def audio_heard(self, start: float, count: int, item_id: str | None = None) -> Samples:
        """Return `count` samples (24 kHz) as heard from `start` on, of one item or of all."""
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
        """Return when the first audible sample of each item was or will be heard; silent items are left out."""
        found: dict[str, float] = {}
        for piece in self.pieces:
            if piece.item_id not in found:
                loud = np.flatnonzero(np.abs(piece.pcm) > AUDIBLE)
                if len(loud):
                    found[piece.item_id] = piece.start + int(loud[0]) / WIRE_RATE
        return found

    def recording(self, longest_gap: float = 0.5) -> Audio:
        """Return all audio that was heard, 24 kHz, with silences cut to `longest_gap` seconds."""
        sounds: list[Audio] = []
        end = None
        for piece in self.pieces:
            if end is not None and piece.start > end:
                sounds.append(silence(min(piece.start - end, longest_gap), WIRE_RATE))
            sounds.append(Audio(piece.pcm, WIRE_RATE))
            end = piece.end
        return join(sounds) if sounds else silence(0, WIRE_RATE)
