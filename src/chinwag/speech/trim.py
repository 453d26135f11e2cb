"""Takes away the silence a voice puts around its words.

hibari begins with about 310 ms of it and ends with about 430 ms: at the start it is pure delay, and between clauses
it drags.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np

from chinwag.audio import Audio

AUDIBLE = 10 ** (-45 / 20)
"""-45 dBFS: quieter is silence for a listener who follows speech at -20."""

LEAD_S = 0.01
"""Left in front of the first audible sample, so that a soft onset is not clipped."""

SENTENCE_PAUSE_S, CLAUSE_PAUSE_S, RUN_ON_S = 0.28, 0.10, 0.02
"""Left behind the last audible sample: about what a calm reader leaves after a full stop, after a comma, and where the
sentence was cut without one."""


def pause_after(clause: str) -> float:
    """Seconds of silence that belong behind a clause."""
    said = clause.rstrip("\"')»”’ ")
    if said.endswith((".", "!", "?", "…", "。", "！", "？", "।")):
        return SENTENCE_PAUSE_S
    return RUN_ON_S if said[-1:].isalnum() else CLAUSE_PAUSE_S


async def trimmed(pieces: AsyncIterator[Audio], pause_s: float) -> AsyncGenerator[Audio, None]:
    """The pieces of one clause with no more than LEAD_S of silence in front and `pause_s` behind.

    Silence inside is kept: it is held back only until the next sound shows that it was not the end.
    """
    begun = False
    held: list[Audio] = []
    async for piece in pieces:
        loud = np.flatnonzero(np.abs(piece.pcm) > AUDIBLE)
        if not len(loud):
            if begun:
                held.append(piece)
            continue
        first, last = int(loud[0]), int(loud[-1]) + 1
        begin = 0 if begun else max(0, first - round(LEAD_S * piece.rate))
        for kept in held:
            yield kept
        begun = True
        yield piece.between(piece.start + begin, piece.start + last)
        held = [piece.between(piece.start + last, piece.end)] if last < len(piece.pcm) else []
    if begun:
        rate = held[0].rate if held else 0
        left = round(pause_s * rate)
        for kept in held:
            if left <= 0:
                break
            yield kept.between(kept.start, kept.start + left)
            left -= len(kept.pcm)
