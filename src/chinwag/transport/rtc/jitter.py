"""Packets in the order they were sent, as soon as that can be known.

A transcriber needs no steady stream, so nothing is held back for jitter: a packet that is the next one goes on at once,
and no clock of ours can run away from the sender's. Only behind a gap is waited, for as long as this link's packets
are late at times.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from chinwag.audio.opus import RATE, duration

SHORTEST_S, LONGEST_S = 0.03, 0.12
"""A missing packet is waited for beyond the moment it was due: at least, and at most."""

MARGIN_S = 0.01
"""Later than the latest of the packets that are remembered."""

REMEMBERED = 250
"""Packets, five seconds of them, that tell how late packets come."""

SILENT_AFTER_S = 0.4
"""Without any packet for so long, what is missing is silence; Opus with DTX sends one so often (RFC 7587)."""

DTX_BYTES = 2
"""A packet no longer than that says that silence follows."""

ASTRAY_S = 2.0
"""A packet so far from its time belongs to another stream, or the sender was suspended: begin anew."""


@dataclass(frozen=True, slots=True)
class Lost:
    """So many samples of 48 kHz that never came. silent: the sender had nothing to say."""

    samples: int
    silent: bool = False


class Reorder:
    """One stream's packets. Times are seconds of the caller's clock; places are samples of 48 kHz.

    lost, late: packets given up, and packets that came after that.
    """

    def __init__(self) -> None:
        self.lost = self.late = 0
        self._waiting: dict[int, tuple[int, bytes]] = {}
        self._transits: deque[float] = deque(maxlen=REMEMBERED)
        self._base = self._spread = self._last = self._filled = 0.0
        self._seq: int | None = None
        self._place = self._next_seq = self._next = 0
        self._dtx = False

    def push(self, seq: int, timestamp: int, payload: bytes, now: float) -> None:
        """A packet came: its sequence number (16 bits), RTP time (32 bits) and Opus."""
        if self._seq is None:
            self._begin(seq, timestamp)
        assert self._seq is not None
        seq = self._seq + _signed(seq - self._seq, 16)
        place = self._place + _signed(timestamp - self._place, 32)
        if self._transits and abs(now - self._base - place / RATE) > ASTRAY_S:
            self._begin(seq, place)
        if seq > self._seq:
            self._seq, self._place = seq, place
        if now - self._last > SILENT_AFTER_S:  # the sender may have stood still: its times may no longer hold
            self._transits.clear()
        self._last, self._filled = now, 0.0
        self._transits.append(now - place / RATE)
        self._base = min(self._transits)
        self._spread = max(self._transits) - self._base
        if seq < self._next_seq:
            self.late += 1
        elif duration(payload):
            self._waiting[seq] = (place, payload)

    def pull(self, now: float) -> list[bytes | Lost]:
        """What can go on by now, in order."""
        ready: list[bytes | Lost] = []
        while self._waiting:
            seq = min(self._waiting)
            if seq != self._next_seq and now < self._given_up_at():
                break
            place, payload = self._waiting.pop(seq)
            self.lost += seq - self._next_seq
            missed, self._next_seq = seq > self._next_seq, seq + 1
            if place > self._next:  # else silence was put in its place, and its words come behind that
                ready.append(Lost(place - self._next, silent=not missed))
            ready.append(payload)
            self._next = place + duration(payload)
            self._dtx = len(payload) <= DTX_BYTES
        if not self._waiting and self._transits and (silent := self._silent(now)) > 0:
            ready.append(Lost(silent, silent=True))
            self._next += silent
            self._filled += silent / RATE
        return ready

    @property
    def due(self) -> float | None:
        """When `pull` gives more, though nothing comes; None before the first packet."""
        if not self._transits:
            return None
        if self._waiting:
            return self._given_up_at()
        return self._last + self._patience + self._filled + 0.02

    def behind(self, now: float) -> float:
        """Seconds of sound that the quickest packets would have brought by now, and that has not gone on."""
        return now - self._base - self._next / RATE if self._transits else 0.0

    def _begin(self, seq: int, place: int) -> None:
        self._waiting.clear()
        self._transits.clear()
        self._seq, self._place = seq, place
        self._next_seq, self._next, self._dtx = seq, place, False

    @property
    def _allowance(self) -> float:
        return min(max(self._spread + MARGIN_S, SHORTEST_S), LONGEST_S)

    def _given_up_at(self) -> float:
        return self._base + self._next / RATE + self._allowance

    @property
    def _patience(self) -> float:
        return self._allowance + 0.02 if self._dtx else SILENT_AFTER_S

    def _silent(self, now: float) -> int:
        """Whole frames of silence that are due."""
        return max(0, int((now - self._last - self._patience - self._filled) / 0.02 + 1e-6)) * RATE // 50


def _signed(difference: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (difference + half) % (1 << bits) - half
