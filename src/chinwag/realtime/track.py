"""Responses as the frames of a call's media track, with their playout positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.gain import DUCKED, GainRamp
from chinwag.conversation.response import Response

FRAME = WIRE_RATE // 50
"""Samples of a frame, which lasts 20 ms."""

SEND_AHEAD_S = 0.1
"""Seconds of audio queued here. It bridges a busy event loop; queued audio can still be ducked or dropped."""

JITTER_BUFFER_S = 0.06
"""Assumed delay of the client's jitter buffer and loudspeaker, for a client that does not report it."""

LONGEST_DELAY_S = 1.0

FADE = WIRE_RATE // 200
"""Samples of the fade-out of a stopped response: 5 ms avoid a click."""


@dataclass
class _Piece:
    """A piece of queued audio. end: offset in the response of the sample after it."""

    response: Response
    pcm: Samples
    end: int


@dataclass(frozen=True)
class _SentMark:
    """The number of samples of a response that had been sent at a time."""

    at: float
    response: Response
    samples: int


class PlayoutTrack:
    """Cuts responses into frames and reports their playout. Sans-IO: the caller takes `next_frame` every 20 ms.

    send_event: sends a server event of a kind with fields. clock: the event loop's, in seconds. mutes: the client
    mutes itself at `speech_started`, so the user does not hear the frames under way; otherwise the user hears them.
    """

    def __init__(self, send_event: Callable[..., None], clock: Callable[[], float], *, mutes: bool) -> None:
        self.network_delay_s = 0.0
        """Delay of the network and of its jitter, in seconds; 0 if unknown."""
        self.client_delay_s: float | None = None
        """Delay that the client reports between a frame's arrival and its playback."""
        self._send_event, self._clock, self._mutes = send_event, clock, mutes
        self._queue: deque[_Piece] = deque()
        self._marks: deque[_SentMark] = deque()
        self._playing: Response | None = None
        self._sent_samples = 0
        self._complete: set[str] = set()
        self._gain, self._ramp = 1.0, GainRamp()

    def play(self, response: Response, audio: Audio) -> None:
        """Queue audio of a response, at 24 kHz. audio.start: its offset in the response."""
        if response is not self._playing:
            self._end()
            self._playing = response
            self._ramp.gain = self._gain = DUCKED if response.ducked else 1.0
            self._sent_samples = 0
            response.playout.report_played(0)
            self._send_event("output_audio_buffer.started", response_id=response.response_id)
        self._queue.append(_Piece(response, audio.pcm, audio.end))

    def duck(self, *, low: bool) -> None:
        """Lower the volume from the next frame on, or restore it."""
        self._gain = DUCKED if low else 1.0

    def finish(self, response_id: str) -> None:
        """Note that all audio of a response is queued."""
        self._complete.add(response_id)

    def clear(self) -> None:
        """Stop the response that is playing, if any, and drop its queued audio."""
        if self._playing:
            self._playing.stop("client_cancelled")
            self._drop()

    @property
    def delay_s(self) -> float:
        """Seconds between sending a frame and its playback."""
        return min(
            self.network_delay_s + (JITTER_BUFFER_S if self.client_delay_s is None else self.client_delay_s),
            LONGEST_DELAY_S,
        )

    @property
    def at_rest(self) -> bool:
        """Whether all audio has been played."""
        return not (self._playing or self._queue or self._marks)

    @property
    def queued_s(self) -> float:
        """Seconds of queued audio."""
        return sum(len(piece.pcm) for piece in self._queue) / WIRE_RATE

    def next_frame(self) -> Samples:
        """Take the next 20 ms, to be sent now: float32 of shape (FRAME,)."""
        now, out = self._clock(), np.zeros(FRAME, np.float32)
        if self._playing and self._playing.playout.stopped:
            tail = self._take(FADE, now, count=False)
            out[: len(tail)] = tail * np.linspace(1, 0, len(tail), dtype=np.float32)
            self._drop()
            return out
        pcm = self._take(FRAME, now)
        out[: len(pcm)] = pcm
        self._report(now)
        if self._playing and not self._queue and self._playing.response_id in self._complete:
            self._end()
        return out

    def _take(self, wanted: int, now: float, *, count: bool = True) -> Samples:
        """Take up to that many samples from the queue. count: they count as sent."""
        pieces: list[Samples] = []
        while wanted and self._queue:
            head = self._queue[0]
            part, head.pcm = head.pcm[:wanted], head.pcm[wanted:]
            if not len(head.pcm):
                self._queue.popleft()
            pieces.append(part)
            wanted -= len(part)
            if count:
                mark = _SentMark(now, head.response, head.end - len(head.pcm))
                self._marks.append(mark)
                if head.response is self._playing:
                    self._sent_samples = mark.samples
        if not pieces:
            return np.zeros(0, np.float32)
        return self._ramp.apply(np.concatenate(pieces), self._gain, WIRE_RATE)

    def _report(self, now: float) -> None:
        """Report the frames that the client has played by now."""
        while self._marks and self._marks[0].at + FRAME / WIRE_RATE + self.delay_s <= now:
            mark = self._marks.popleft()
            mark.response.playout.report_played(mark.samples)

    def _end(self) -> None:
        """End the response that is playing: all of it has been sent."""
        if self._playing:
            self._complete.discard(self._playing.response_id)
            self._send_event("output_audio_buffer.stopped", response_id=self._playing.response_id)
            self._playing = None

    def _drop(self) -> None:
        """Drop the stopped response. A client that does not mute itself plays the audio that was sent."""
        response, self._playing = self._playing, None
        assert response is not None
        if not self._mutes:
            response.playout.report_played(self._sent_samples)
        self._queue.clear()
        self._marks.clear()
        self._complete.discard(response.response_id)
        self._ramp.gain = self._gain = 1.0
        self._send_event("output_audio_buffer.cleared", response_id=response.response_id)
        heard_ms = min(self._sent_samples, response.playout.played) * 1000 // WIRE_RATE
        self._send_event(
            "conversation.item.truncated", item_id=response.item_id, content_index=0, audio_end_ms=heard_ms
        )
