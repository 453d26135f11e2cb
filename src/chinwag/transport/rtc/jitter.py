"""Jitter buffer without a fixed delay: packets in the order in which they were sent, as soon as possible.

A transcriber needs no steady stream, so the next packet passes at once, and clock drift does not matter. Only behind a
gap the buffer waits, for as long as this link's packets are late at times.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from chinwag.audio.opus import RATE, duration

MIN_WAIT_S, MAX_WAIT_S = 0.03, 0.12
"""Minimum and maximum wait for a missing packet, beyond the time when it was due."""

MARGIN_S = 0.01
"""Added to the delay of the latest remembered packet."""

REMEMBERED = 250
"""Packets, five seconds of them, from which the delay is estimated."""

SILENT_AFTER_S = 0.4
"""After this long without a packet the missing audio is silence: Opus with DTX sends one so often (RFC 7587)."""

DTX_BYTES = 2
"""A packet of at most this size announces silence."""

RESET_S = 2.0
"""A packet this far from its time resets the buffer: it is another stream, or the sender was suspended."""


@dataclass(frozen=True, slots=True)
class LostAudio:
    """Audio that never came. samples: at 48 kHz. silent: the sender sent nothing, as during silence."""

    samples: int
    silent: bool = False


class JitterBuffer:
    """Packets of one stream. Times are seconds of the caller's clock; places are samples at 48 kHz.

    lost: packets that were given up. late: packets that came after that.
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
        """Add a packet: its sequence number (16 bits), RTP timestamp (32 bits) and Opus payload."""
        if self._seq is None:
            self._begin(seq, timestamp)
        assert self._seq is not None
        seq = self._seq + _signed(seq - self._seq, 16)
        place = self._place + _signed(timestamp - self._place, 32)
        if self._transits and abs(now - self._base - place / RATE) > RESET_S:
            self._begin(seq, place)
        if seq > self._seq:
            self._seq, self._place = seq, place
        if now - self._last > SILENT_AFTER_S:  # the sender may have been suspended: its timestamps may be off
            self._transits.clear()
        self._last, self._filled = now, 0.0
        self._transits.append(now - place / RATE)
        self._base = min(self._transits)
        self._spread = max(self._transits) - self._base
        if seq < self._next_seq:
            self.late += 1
        elif duration(payload):
            self._waiting[seq] = (place, payload)

    def pull(self, now: float) -> list[bytes | LostAudio]:
        """Return the packets and gaps that are due, in order."""
        ready: list[bytes | LostAudio] = []
        while self._waiting:
            seq = min(self._waiting)
            if seq != self._next_seq and now < self._given_up_at():
                break
            place, payload = self._waiting.pop(seq)
            self.lost += seq - self._next_seq
            missed, self._next_seq = seq > self._next_seq, seq + 1
            if place > self._next:  # otherwise silence took its place, and its audio follows
                ready.append(LostAudio(place - self._next, silent=not missed))
            ready.append(payload)
            self._next = place + duration(payload)
            self._dtx = len(payload) <= DTX_BYTES
        if not self._waiting and self._transits and (silent := self._silent(now)) > 0:
            ready.append(LostAudio(silent, silent=True))
            self._next += silent
            self._filled += silent / RATE
        return ready

    @property
    def due(self) -> float | None:
        """Time at which `pull` returns more even without another packet; None before the first packet."""
        if not self._transits:
            return None
        if self._waiting:
            return self._given_up_at()
        return self._last + self._patience + self._filled + 0.02

    def behind(self, now: float) -> float:
        """Seconds of audio that the fastest packets would have delivered by now, and that `pull` has not returned."""
        return now - self._base - self._next / RATE if self._transits else 0.0

    def _begin(self, seq: int, place: int) -> None:
        self._waiting.clear()
        self._transits.clear()
        self._seq, self._place = seq, place
        self._next_seq, self._next, self._dtx = seq, place, False

    @property
    def _allowance(self) -> float:
        return min(max(self._spread + MARGIN_S, MIN_WAIT_S), MAX_WAIT_S)

    def _given_up_at(self) -> float:
        return self._base + self._next / RATE + self._allowance

    @property
    def _patience(self) -> float:
        return self._allowance + 0.02 if self._dtx else SILENT_AFTER_S

    def _silent(self, now: float) -> int:
        """Samples of silence that are due, in whole frames."""
        return max(0, int((now - self._last - self._patience - self._filled) / 0.02 + 1e-6)) * RATE // 50


def _signed(difference: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (difference + half) % (1 << bits) - half
