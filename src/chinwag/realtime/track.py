"""The replies of a call on their way into its media track, and where in them the listener's ear is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.gain import DUCKED, GainRamp
from chinwag.conversation.response import Response

FRAME = WIRE_RATE // 50
"""Samples in the 20 ms that a frame has."""

SEND_AHEAD_S = 0.1
"""What is queued here can still be lowered or dropped, so this only has to bridge a busy moment of the event loop."""

JITTER_BUFFER_S = 0.06
"""A browser's jitter buffer on a good network and its loudspeaker's own delay: a guess, for who does not tell."""

LONGEST_DELAY_S = 1.0

FADE = WIRE_RATE // 200
"""A voice that is cut off fades in 5 ms, which does not click."""


@dataclass
class _Piece:
    """end: place in the reply's sound of the sample behind it."""

    reply: Response
    pcm: Samples
    end: int


@dataclass(frozen=True)
class _Sent:
    """By then so many samples of a reply had left."""

    at: float
    reply: Response
    samples: int


class PlayoutTrack:
    """Sans-IO: `frame` is asked for every 20 ms, and everything else follows from that.

    tell: sends a server event of a kind with fields. clock: seconds, the event loop's. mutes: the client silences
    itself at `speech_started`, so that what is on its way then is not heard; else it is.
    """

    def __init__(self, tell: Callable[..., None], clock: Callable[[], float], *, mutes: bool) -> None:
        self.network_delay_s = 0.0
        """From here to there, and what a jitter buffer adds for how unevenly packets come, where that is known."""
        self.client_delay_s: float | None = None
        """What the client says that a frame waits at its end."""
        self._tell, self._clock, self._mutes = tell, clock, mutes
        self._queue: deque[_Piece] = deque()
        self._sent: deque[_Sent] = deque()
        self._sounding: Response | None = None
        self._left = 0
        self._whole: set[str] = set()
        self._gain, self._ramp = 1.0, GainRamp()

    def play(self, reply: Response, audio: Audio) -> None:
        """More of a reply's sound, 24 kHz, behind what still waits; its start is the place in the reply."""
        if reply is not self._sounding:
            self._end()
            self._sounding = reply
            self._ramp.gain = self._gain = DUCKED if reply.ducked else 1.0
            self._left = 0
            reply.playout.report_played(0)
            self._tell("output_audio_buffer.started", response_id=reply.response_id)
        self._queue.append(_Piece(reply, audio.pcm, audio.end))

    def duck(self, *, low: bool) -> None:
        """Be heard low from the next frame on, or at full volume again."""
        self._gain = DUCKED if low else 1.0

    def finish(self, response_id: str) -> None:
        """No more of that reply will come."""
        self._whole.add(response_id)

    def clear(self) -> None:
        """Fall silent, if anything sounds: the reply is stopped, and what waits of it is dropped."""
        if self._sounding:
            self._sounding.stop("client_cancelled")
            self._drop()

    @property
    def delay_s(self) -> float:
        """From a frame's leaving to the ear."""
        return min(
            self.network_delay_s + (JITTER_BUFFER_S if self.client_delay_s is None else self.client_delay_s),
            LONGEST_DELAY_S,
        )

    @property
    def at_rest(self) -> bool:
        """All that was to be heard has been."""
        return not (self._sounding or self._queue or self._sent)

    @property
    def queued_s(self) -> float:
        """Seconds that wait."""
        return sum(len(piece.pcm) for piece in self._queue) / WIRE_RATE

    def next_frame(self) -> Samples:
        """The next 20 ms, which leave now: float32 of shape (FRAME,)."""
        now, out = self._clock(), np.zeros(FRAME, np.float32)
        if self._sounding and self._sounding.playout.stopped:
            tail = self._take(FADE, now, count=False)
            out[: len(tail)] = tail * np.linspace(1, 0, len(tail), dtype=np.float32)
            self._drop()
            return out
        pcm = self._take(FRAME, now)
        out[: len(pcm)] = pcm
        self._report(now)
        if self._sounding and not self._queue and self._sounding.response_id in self._whole:
            self._end()
        return out

    def _take(self, wanted: int, now: float, *, count: bool = True) -> Samples:
        pieces: list[Samples] = []
        while wanted and self._queue:
            head = self._queue[0]
            part, head.pcm = head.pcm[:wanted], head.pcm[wanted:]
            if not len(head.pcm):
                self._queue.popleft()
            pieces.append(part)
            wanted -= len(part)
            if count:
                sent = _Sent(now, head.reply, head.end - len(head.pcm))
                self._sent.append(sent)
                if head.reply is self._sounding:
                    self._left = sent.samples
        if not pieces:
            return np.zeros(0, np.float32)
        return self._ramp.apply(np.concatenate(pieces), self._gain, WIRE_RATE)

    def _report(self, now: float) -> None:
        """What left long enough ago has been heard by now."""
        while self._sent and self._sent[0].at + FRAME / WIRE_RATE + self.delay_s <= now:
            sent = self._sent.popleft()
            sent.reply.playout.report_played(sent.samples)

    def _end(self) -> None:
        """All of a reply has left."""
        if self._sounding:
            self._whole.discard(self._sounding.response_id)
            self._tell("output_audio_buffer.stopped", response_id=self._sounding.response_id)
            self._sounding = None

    def _drop(self) -> None:
        """It was stopped. A client that does not silence itself hears what has left."""
        reply, self._sounding = self._sounding, None
        assert reply is not None
        if not self._mutes:
            reply.playout.report_played(self._left)
        self._queue.clear()
        self._sent.clear()
        self._whole.discard(reply.response_id)
        self._ramp.gain = self._gain = 1.0
        self._tell("output_audio_buffer.cleared", response_id=reply.response_id)
        heard_ms = min(self._left, reply.playout.played) * 1000 // WIRE_RATE
        where = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": heard_ms}
        self._tell("conversation.item.truncated", **where)
