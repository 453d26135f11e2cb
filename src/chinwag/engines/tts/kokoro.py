"""Kokoro-82M (int8) on onnxruntime: a richer English voice, at a fifth of the time that its speech takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.english import EnglishVoice
from chinwag.errors import EngineError

STYLES, STYLE_WIDTH = 510, 256
"""A voice holds a style for every number of tokens from 0 to 509 (hexgrad/kokoro, pipeline.py)."""

LONGEST = 400
"""Phonemes in a piece; beyond about 450 Kokoro begins to hurry."""

_SPEECH = re.compile(r"^[ab][fm]_")
"""American and British women and men: those whose words hibari can turn into phonemes."""
_CLAUSE = re.compile(r"(?<=[,;:—.!?…])\s+")


class KokoroVoice(EnglishVoice):
    """Kokoro's 28 English voices. Words become phonemes by hibari's G2P, whose alphabet is Kokoro's own."""

    name: ClassVar[str] = "kokoro"
    about: ClassVar[About] = About("Kokoro-82M: richer voices, five times faster than speech", "Apache-2.0", ("en",))

    def __init__(self, model: Any, styles: dict[str, Path], vocabulary: dict[str, int]) -> None:
        first = "af_heart"
        super().__init__(tuple(sorted(styles, key=lambda name: (name != first, name))))
        self._model, self._files, self._vocabulary = model, styles, vocabulary
        self._styles: dict[str, Samples] = {}
        self._g2p: dict[bool, Any] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """None to choose from."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The model's and the voices' catalog names."""
        return ("kokoro", "kokoro-voices")

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and speak a word with its first voice."""
        try:
            from hibari.tts import ASSETS
        except ImportError as error:
            raise EngineError(
                f"Kokoro's phonemes come from hibari, which cannot be imported: {error}.",
                "Install it: pip install hibari-tts.",
                cls.name,
            ) from error
        folder = weights_folder(options.weights, "kokoro", cls.name)
        voices = weights_folder(options.weights, "kokoro-voices", cls.name)
        styles = {path.stem: path for path in voices.glob("*.bin") if _SPEECH.match(path.stem)}
        if not styles:
            raise EngineError("No Kokoro voice is here.", "Run `chinwag models pull kokoro-voices`.", cls.name)
        model = open_model(folder / "kokoro-v1.0.int8.onnx", cls.name, threads=2)
        vocabulary = json.loads((Path(ASSETS) / "vocab.json").read_text("utf-8"))
        voice = cls(model, styles, vocabulary)
        for phonemes in voice._phonemes(voice.voices[0], "Zorblax speaks."):
            voice._sound(voice.voices[0], phonemes, 1.0)
        return voice

    async def close(self) -> None:
        """End the thread and let the model go."""
        self._worker.close()
        self._model = None

    def _phonemes(self, voice: str, text: str) -> list[str]:
        from hibari import Hibari
        from hibari.g2p import G2P

        british = voice.startswith("b")
        if british not in self._g2p:
            self._g2p[british] = G2P(british=british)
        pieces: list[str] = []
        for sentence in Hibari.split_sentences(text):
            pieces += _short_enough(self._g2p[british](sentence))
        return pieces

    def _sound(self, voice: str, phonemes: str, speed: float) -> Samples:
        ids = [self._vocabulary[sign] for sign in phonemes if sign in self._vocabulary]
        if not ids:
            return np.zeros(0, np.float32)
        style = self._style(voice)[min(len(ids), STYLES - 1)]
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style[None],
            "speed": np.array([speed], np.float32),
        }
        pcm: Samples = self._model.run(None, feeds)[0].reshape(-1)
        return pcm

    def _style(self, voice: str) -> Samples:
        """Float32 of shape (510, 256)."""
        if voice not in self._styles:
            styles = np.fromfile(self._files[voice], np.float32)
            if styles.size != STYLES * STYLE_WIDTH:
                raise EngineError(f"The Kokoro voice {voice} is damaged.", "Run `chinwag models verify`.", self.name)
            self._styles[voice] = styles.reshape(STYLES, STYLE_WIDTH)
        return self._styles[voice]


def _short_enough(phonemes: str) -> list[str]:
    """Cut at punctuation, and where there is none at a space, so that no piece is longer than LONGEST."""
    pieces, current = [], ""
    for part in _CLAUSE.split(phonemes):
        rest = part
        while len(rest) > LONGEST:
            cut = rest.rfind(" ", 0, LONGEST)
            cut = cut if cut > 0 else LONGEST
            pieces += [current, rest[:cut]]
            current, rest = "", rest[cut:].strip()
        if len(current) + len(rest) + 1 > LONGEST:
            pieces.append(current)
            current = rest
        else:
            current = f"{current} {rest}" if current else rest
    return [piece for piece in [*pieces, current] if piece]
