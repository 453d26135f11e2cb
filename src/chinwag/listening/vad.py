"""Where speech begins and falls silent, from a VAD's probabilities."""

from __future__ import annotations

from dataclasses import dataclass

LOWER = 0.15
"""Speech goes on until P(speech) falls this far below the threshold: the hysteresis of Silero's own VADIterator."""

FADING = 0.1
"""Below this much above the threshold speech may be ending: Silero takes some 100 ms to fall from 1 to silence."""


@dataclass
class SpeechTracker:
    """Follows P(speech) frame by frame; all counts are samples of the listening stream.

    threshold: P(speech) from which a frame counts as voice.
    onset: voiced samples, gaps of one frame forgiven, that make a beginning.
    fading: the last frame was quiet, or about to be.
    """

    threshold: float = 0.5
    onset: int = 1536
    speaking: bool = False
    started: int = 0
    voice_end: int = 0
    fading: bool = False
    _voiced: int = 0
    _gap: int = 0

    def voiced(self, probability: float) -> bool:
        """Whether a frame of that P(speech) counts as voice."""
        return probability >= (self.threshold - LOWER if self.speaking else self.threshold)

    def push(self, probability: float, start: int, end: int, sounding: int | None) -> bool:
        """The next frame; True where it made speech begin. sounding: the sample after its last sound, None for none."""
        self.fading = probability < self.threshold + FADING
        if self.voiced(probability) and (self.speaking or sounding is not None):
            if not self.speaking and self._voiced == 0:
                self.started = start
            self._voiced += end - start
            self._gap = 0
            if sounding is not None:
                self.voice_end = sounding
        elif not self.speaking and self._voiced:
            self._gap += 1
            if self._gap > 1:
                self._voiced = 0
        if not self.speaking and self._voiced >= self.onset:
            self.speaking = True
            return True
        return False

    def rest(self) -> None:
        """The turn is over: wait for a new beginning."""
        self.speaking, self._voiced, self._gap = False, 0, 0
