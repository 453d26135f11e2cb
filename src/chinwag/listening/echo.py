"""Tells the reply's own voice, come back through loudspeaker and microphone, from a person.

The method is that of residual echo estimators (Habets et al., "Joint dereverberation and residual echo suppression of
speech signals in noisy environments", IEEE TASLP 16(8), 2008; WebRTC's AEC3 holds one), in power spectra alone, as a
browser's echo canceller leaves no phase to trust:

1. The lag between the reply and its echo is where their spectra *change* together: the normalised correlation of
   differences of log spectra, over a second and a half.
2. The path's gain in each band is the median of the microphone's power over the reply's, a reverberation added to
   the latter, where the reply is loud and nobody was found speaking.
3. What stands out of the echo expected and of the room's noise, over the bands, is a person.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.listening.echo_reference import (
    CHANGE,
    FAINT,
    HOP,
    HOPS_PER_S,
    WINDOW,
    BandPower,
    Levels,
    PlaybackSpectra,
)

SOONEST, LATEST = -25, 112
"""Hops of the lag that are looked at, -0.2 to 0.9 s: the way there and back, and an estimate that is off."""

LEAST_NOISE = 3e-8
"""-75 dBFS in a band: a microphone whose noise is suppressed falls to nothing and back all the time."""

ECHOING = HOPS_PER_S // 2
"""Hops that reverberation may go on for."""

ARRIVALS = 32
"""Frames, a second of them, the earliest of which tells when sound really came in."""

PAUSED_S = 6.0
"""Where no frame came for so long, none was made: what comes next is not late, and no earlier one tells when it was."""

FORGET = float(np.exp(-512 / LISTEN_RATE / 1.5))
"""For each frame: the correlation remembers a second and a half."""

LEARNED = 4 * HOPS_PER_S
"""Hops, four seconds of them, that the path's gain is learned from."""

RECENT = 48
"""Frames, a second and a half of them, that a new lag's path is first learned from."""

ANOTHER_PATH = 40
"""Frames: a person who spoke over the echo for so long would have made it unlike the reply."""

PERSON_BEGINS, PERSON_ENDS = 0.01, 0.05
"""For each frame: somebody breaks in once in 3 s of echo at most, and a word goes on for 0.6 s."""

USUAL_EXCESS, USUAL_RATE = 0.15, 0.012
"""dB: the least excess that an echo alone is thought to have, and the share of each frame in what it does have. Three
times as much is as likely a person as not, as real voices showed, in rooms and through a canceller."""

SUSPECTED = 0.8
"""P where sound changes as the reply does, but for too short a time to be sure."""


class EchoGate:
    """One conversation's way back from the loudspeaker to the microphone. Never blocks; memory is bounded (about 5 MB).

    All times are seconds of one clock, the event loop's. Frames are 512 samples at 16 kHz, counted by `Audio.start`.
    """

    def __init__(self) -> None:
        self._bands = BandPower()
        self._clock: float | None = None
        self._played = PlaybackSpectra(self._bands, 0)
        self._tail = np.zeros(WINDOW - HOP, np.float32)
        self._levels = np.zeros((CHANGE, self._bands.count), np.float32)
        self._noise = np.full(self._bands.count, np.inf, np.float32)
        self._delays = np.full(ARRIVALS, np.inf)
        self._frames = 0
        self._last_at = -np.inf
        self._lags = _Lags()
        self._path = _Path(self._bands.count)
        self._over, self._alone = 0, 0.0
        self._recent: deque[tuple[int, Levels]] = deque(maxlen=RECENT)

    def add_playback(self, audio: Audio, at: float) -> None:
        """A piece of the reply, at any rate, whose first sample is thought to be heard at that second."""
        self._played.add(audio, self._sample(at))

    def stop_playback(self, at: float) -> None:
        """What was to be heard from that second on never was; ducking is over as well."""
        self._played.silence(self._sample(at))

    def set_gain(self, gain: float, at: float) -> None:
        """From that second on the player makes it this much louder than what `played` was given (1.0: no more)."""
        self._played.scale(gain, self._sample(at))

    @property
    def lag(self) -> float | None:
        """Seconds from when the reply is thought to be heard to when its echo comes in; None while not known."""
        return None if self._lags.lag is None else self._lags.lag / HOPS_PER_S

    def echo_probability(self, frame: Audio, at: float) -> float:
        """P(there is nothing in this frame but the reply's echo), 0 where none is to be expected.

        at: when its last sample came in; that may jitter, as the earliest of the last second's is believed.
        """
        if at - self._last_at > PAUSED_S:
            self._delays[:] = np.inf
        self._last_at = at
        self._delays[self._frames % ARRIVALS] = at - frame.end / LISTEN_RATE
        self._frames += 1
        hop = self._sample(frame.end / LISTEN_RATE + float(self._delays.min())) // HOP
        sound = np.concatenate([self._tail, frame.pcm])
        self._tail = sound[-(WINDOW - HOP) :]
        power = self._bands(sound)
        self._follow_noise(power)
        level = np.concatenate([self._levels, 10 * np.log10(power + 2 * self._noise)])
        self._levels = level[-CHANGE:]
        self._played.follow(hop - SOONEST)
        self._recent.append((hop, power))
        if not self._played.heard_within(hop - LATEST - ECHOING, hop - SOONEST):
            self._path.person = 0.0
            return 0.0
        change = np.clip(level[CHANGE:] - level[:-CHANGE], -15, 15)
        reply = self._played.rows(self._played.change, hop - len(change) + 1 - LATEST, hop + 1 - SOONEST)
        self._lags.push(reply, change)
        if self._frames % 2 == 0 and self._lags.settle():
            self._alone = self._lags.likeness
            self._begin_path()
        if self._lags.lag is None:
            return SUSPECTED if self._lags.suspected else 0.0
        self._path.push(power, self._echo(hop, len(power)), self._noise)
        if self._is_another_path():
            self._begin_path()
        return 1.0 - self._path.person

    def _begin_path(self) -> None:
        self._over = 0
        self._path.begin([(past, self._echo(then, len(past))) for then, past in self._recent], self._noise)

    def _is_another_path(self) -> bool:
        """More than the echo is heard, for long, and still it changes as the reply does: the volume was turned up."""
        likeness = self._lags.likeness
        if self._path.person < 0.5:
            self._over = max(0, self._over - 4)
            self._alone += 0.02 * (likeness - self._alone)
            return False
        self._over += 1
        return self._over >= ANOTHER_PATH and likeness > 0.85 * self._alone

    def _echo(self, hop: int, hops: int) -> Levels:
        """The reply as it is to come back in the hops up to that one."""
        end = hop + 1 - (self._lags.lag or 0)
        return self._played.rows(self._played.smeared, end - hops, end)

    def _follow_noise(self, power: Levels) -> None:
        """The room's noise is the least that is heard; it may rise by 1 dB a second."""
        mean = power.mean(axis=0)
        self._noise = np.maximum(np.minimum(self._noise * 1.008, mean * 1.5), LEAST_NOISE)

    def _sample(self, at: float) -> int:
        if self._clock is None:
            self._clock = at
        return round((at - self._clock) * LISTEN_RATE)


class _Lags:
    """How well the reply's changes explain the microphone's, for each lag; and the lag, once it is sure."""

    def __init__(self) -> None:
        lags = LATEST - SOONEST + 1
        self._common, self._of_reply, self._of_mic = np.zeros(lags), np.zeros(lags), 0.0
        self._best = self._clear = self._faint = self._unlike = 0
        self.lag: int | None = None
        self.suspected = False
        self.likeness = 0.0
        """At the lag: 1 where the microphone changes exactly as the reply does."""

    def push(self, reply: Levels, change: Levels) -> None:
        """change: the microphone's, (hops, bands). reply: those of the same hops, LATEST before and -SOONEST after."""
        hops = len(change)
        products, squares = reply @ change.T, np.einsum("ij,ij->i", reply, reply)
        lags = len(self._common)
        self._common *= FORGET
        self._of_reply *= FORGET
        self._of_mic = self._of_mic * FORGET + float(np.sum(change * change))
        for hop in range(hops):
            self._common += products[hop : hop + lags, hop][::-1]
            self._of_reply += squares[hop : hop + lags][::-1]

    def settle(self) -> bool:
        """Look at the correlation; True where the lag is another from now on.

        Two talks that begin at the same moment are alike for a while as well: the less was heard (the sum of squared
        changes; running speech makes about 1e5 a second), the clearer it must be. Limits: real voices, with headphones
        and with loudspeakers.
        """
        likeness = self._common / np.sqrt(self._of_reply * self._of_mic + 1e7)
        best = int(likeness.argmax())
        others = np.concatenate([likeness[: max(0, best - 8)], likeness[best + 9 :]])
        top, beyond = likeness[best], (likeness[best] - others.mean()) / (others.std() + 1e-3)
        heard = min(self._of_mic, self._of_reply[best])
        self.suspected = bool(beyond > 8 and top > 0.35 + 1e3 / (heard + 1))
        if abs(best - self._best) > 1:
            self._best, self._clear, self._faint = best, 0, 0
        if self.lag is not None:
            place = self.lag - SOONEST
            self.likeness = float(likeness[max(0, place - 1) : place + 2].max())
            self._unlike = self._unlike + 1 if self.likeness < 0.12 and self._of_reply[place] > 5e4 else 0
            if self._unlike >= 12 and self._of_mic > 5e4:  # it was a person who spoke at the same time by chance
                self.lag = None
        alone = beyond > 6 or top > max(0.6, 1.4 * others.max())
        self._clear = self._clear + 1 if alone and top > 0.3 + 1.6e4 / (heard + 1) else 0
        self._faint = self._faint + 1 if beyond > 7 and top > 0.15 + 1e4 / (heard + 1) else 0
        lag = best + SOONEST
        if (self._clear < 4 and self._faint < 10) or (self.lag is not None and abs(lag - self.lag) <= 1):
            return False
        self.lag, self.likeness = lag, float(top)
        return True


class _Path:
    """How loud the reply comes back in each band, and P(more than that is heard), frame by frame."""

    def __init__(self, bands: int) -> None:
        self._ratios = np.full((LEARNED, bands), np.inf, np.float32)
        self._next = 0
        self._peak = np.full(bands, FAINT, np.float32)
        self._gain = np.zeros(bands, np.float32)
        self._spread = np.full(bands, 4.0, np.float32)
        self._usual = USUAL_EXCESS
        self.person = 0.0

    def begin(self, heard: Sequence[tuple[Levels, Levels]], noise: Levels) -> None:
        """Learn the path anew, from frames of the microphone and the reply that was to come back in each."""
        self._ratios[:] = np.inf
        self._next, self._usual = 0, USUAL_EXCESS
        for power, reply in heard:
            self._learn(power, reply)
        self._fit()
        excesses = sorted(self._excess(power, reply, noise) for power, reply in heard)
        self._usual = max(USUAL_EXCESS, float(np.mean(excesses[: len(excesses) * 3 // 4 or 1])))
        self.person = 0.0

    def push(self, power: Levels, reply: Levels, noise: Levels) -> None:
        """The next frame: weigh it, and learn from it where it is the echo alone. Each is (hops, bands)."""
        excess = self._excess(power, reply, noise)
        before = self.person * (1 - PERSON_ENDS) + (1 - self.person) * PERSON_BEGINS
        odds = before / (1 - before) * float(np.exp(np.clip(0.5 * excess / self._usual - 1.6, -1.2, 3.0)))
        self.person = odds / (1 + odds)
        rate = USUAL_RATE if self.person < 0.5 else USUAL_RATE / 16  # a canceller may let more through from now on
        self._usual = max(USUAL_EXCESS, self._usual + rate * (min(excess, 4 * self._usual) - self._usual))
        if self.person < 0.5:
            self._learn(power, reply)
            if self._next % (8 * len(power)) == 0:
                self._fit()

    def _excess(self, power: Levels, reply: Levels, noise: Levels) -> float:
        """dB beyond what the echo, give or take its usual spread, and the room explain; mean over bands with sound."""
        expected = 10 ** (self._gain / 10) * reply + noise
        loud = power > 4 * noise
        beyond = np.clip(10 * np.log10(power / expected + 1e-9) - 1.5 * self._spread, 0, 15) * loud
        return float(np.mean(beyond.sum(axis=1) / (loud.sum(axis=1) + 3)))

    def _learn(self, power: Levels, reply: Levels) -> None:
        """Ratios count where the reply is within 15 dB of its loudest, so that they are not the room's noise."""
        self._peak = np.maximum(self._peak * 0.998, reply.max(axis=0))
        rows = np.arange(self._next, self._next + len(power)) % LEARNED
        ratios = 10 * np.log10((power + 1e-12) / (reply + 1e-12))
        self._ratios[rows] = np.where(reply > 0.03 * self._peak, ratios, np.inf)
        self._next += len(power)

    def _fit(self) -> None:
        ratios = np.sort(self._ratios, axis=0)
        known = np.isfinite(ratios).sum(axis=0)
        enough = known >= 12
        if not enough.any():
            return
        places = np.minimum((known * np.array([[0.16], [0.5], [0.84]])).astype(int), LEARNED - 1)
        low, middle, high = np.take_along_axis(ratios, places, axis=0)[:, enough]
        self._gain[:] = np.median(middle)
        self._gain[enough] = middle
        self._spread[:] = 5.0
        self._spread[enough] = np.clip((high - low) / 2, 2, 8)
