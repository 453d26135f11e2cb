"""What the English voices share."""

from __future__ import annotations

from collections.abc import Sequence

from chinwag.errors import EngineError


def check(engine: str, voices: Sequence[str], voice: str | None, language: str | None) -> str:
    """The voice to speak with: the one asked for, else the first. Raises EngineError for one that is not there."""
    if language is not None and language.lower().replace("_", "-").split("-")[0] != "en":
        raise EngineError(
            f"The voice engine {engine} speaks English, not {language}.", "Set another tts.engine.", engine
        )
    if not voice:
        return voices[0]
    if voice not in voices:
        raise EngineError(f"{engine} has no voice {voice}.", f"There are: {', '.join(voices)}.", engine)
    return voice
