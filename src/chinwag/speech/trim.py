"""Trim the silence that a voice engine adds around a clause.

The engine hibari adds about 310 ms before and 430 ms after it: pure delay before the first word, and slow between
clauses.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np

from chinwag.audio import Audio

AUDIBLE = 10 ** (-45 / 20)
"""Amplitude of -45 dBFS. Anything quieter is silence to a listener beside speech at -20 dBFS."""

ONSET_S = 0.01
"""Silence left before the first audible sample, so that a soft onset is not clipped."""

SENTENCE_PAUSE_S, CLAUSE_PAUSE_S, WORD_PAUSE_S = 0.28, 0.10, 0.02
"""Silence left after the last audible sample: about a calm reader's pause after a full stop, after a comma, and
between words."""


def pause_after(clause: str) -> float:
    """Return how many seconds of silence should follow a clause."""
    text = clause.rstrip("\"')»”’ ")
    if text.endswith((".", "!", "?", "…", "。", "！", "？", "।")):
        return SENTENCE_PAUSE_S
    return WORD_PAUSE_S if text[-1:].isalnum() else CLAUSE_PAUSE_S


async def trim_silence(pieces: AsyncIterator[Audio], pause_s: float) -> AsyncGenerator[Audio, None]:
    """Yield the audio of one clause with at most ONSET_S of silence before it and `pause_s` after it.

    Silence inside the clause stays. It is delayed until the next audible sample shows that it is not at the end.
    """
    started = False
    pending: list[Audio] = []
    async for piece in pieces:
        audible = np.flatnonzero(np.abs(piece.pcm) > AUDIBLE)
        if not len(audible):
            if started:
                pending.append(piece)
            continue
        first, last = int(audible[0]), int(audible[-1]) + 1
        begin = 0 if started else max(0, first - round(ONSET_S * piece.rate))
        for silent in pending:
            yield silent
        started = True
        yield piece.between(piece.start + begin, piece.start + last)
        pending = [piece.between(piece.start + last, piece.end)] if last < len(piece.pcm) else []
    if started:
        rate = pending[0].rate if pending else 0
        left = round(pause_s * rate)
        for silent in pending:
            if left <= 0:
                break
            yield silent.between(silent.start, silent.start + left)
            left -= len(silent.pcm)
