"""hibari: a small English voice, a hundred times faster than speech on one core."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Samples
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import SentenceVoice, check_settings
from chinwag.errors import EngineError


class HibariVoice(SentenceVoice):
    """Hibari voices: "heart", which is part of the package, and the voices already on this machine."""

    name: ClassVar[str] = "hibari"
    about: ClassVar[About] = About("hibari: English, a hundred times faster than speech", "Apache-2.0", ("en",))

    def __init__(self, voices: dict[str, Any]) -> None:
        super().__init__({"en": tuple(voices)})
        self._loaded = voices

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: there is no choice."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the weights are part of the package."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load the packaged voice, find the others, and warm up with a word that is in no lexicon."""
        check_settings(cls.name, options.settings)
        try:
            from hibari import Hibari
            from hibari.voices import DEFAULT, VOICES, voice_path
        except ImportError as error:
            raise EngineError(
                f"hibari cannot be imported: {error}.", "Install it: pip install hibari-tts.", cls.name
            ) from error
        voices = {DEFAULT: None}
        for name in VOICES:
            try:
                voice_path(name, download_missing=False)  # by default hibari downloads it
            except OSError:
                continue
            voices.setdefault(name, None)
        try:
            # One thread: two would spin between calls on cores that others need.
            voice = cls({**voices, DEFAULT: Hibari(DEFAULT, threads=1)})
            voice._warm_up(DEFAULT, "Zorblax speaks. A second sentence, with a number: 42.")
        except Exception as error:  # hibari passes on errors of onnxruntime and the file system
            raise EngineError(
                f"hibari cannot be loaded: {error}.",
                "Install it again: pip install --force-reinstall hibari-tts.",
                cls.name,
            ) from error
        return voice

    async def close(self) -> None:
        """Stop the thread and release the voices."""
        self._worker.close()
        self._loaded = {}

    def _phonemes(self, voice: str, text: str) -> list[str]:
        if self._loaded[voice] is None:
            from hibari import Hibari

            self._loaded[voice] = Hibari(voice, threads=1)
        return list(self._loaded[voice].phonemize(text))

    def _synthesize(self, voice: str, phonemes: str, speed: float) -> Samples:
        loaded = self._loaded[voice]
        # A fixed seed, so that the same clause sounds the same.
        pcm: Samples = loaded.from_ids(loaded.ids(phonemes), speed, np.random.default_rng(0))
        return pcm.astype(np.float32, copy=False)
