"""Kokoro-82M (int8) on onnxruntime: richer voices in eight languages, several times faster than speech."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.phonemes import G2P, UNSUPPORTED_SINCE, g2p, missing, sentences
from chinwag.engines.tts.sentences import SentenceVoice, check_settings
from chinwag.errors import EngineError
from chinwag.language import language_name, primary_subtag

STYLES, STYLE_WIDTH = 510, 256
"""Shape of a voice: one style vector for each number of tokens, 0 to 509 (hexgrad/kokoro, pipeline.py)."""

LONGEST = 400
"""Most phonemes in a piece; beyond about 450 Kokoro speaks too fast."""

LANGUAGES = {"a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt", "z": "zh"}
"""Language by the first letter of a voice's name; a is American, b British (hexgrad/kokoro, pipeline.py)."""

FIRST, LAST = "af_heart", "zf_xiaoni"
"""The best voice, and the one that Whisper could not understand (docs/engines/speaking.md); others sort by name."""

_CLAUSE = re.compile(r"(?<=[,;:—.!?…])\s+")


class KokoroVoice(SentenceVoice):
    """Kokoro's 54 voices. hibari's G2P converts English to phonemes, packages of the extra the other languages."""

    name: ClassVar[str] = "kokoro"
    about: ClassVar[About] = About(
        "Kokoro-82M: 54 richer voices, two to five times faster than speech; languages beside English by its extra",
        "Apache-2.0; other languages than English by espeak-ng, GPL-3.0-or-later",
        tuple(dict.fromkeys(LANGUAGES.values())),
        extra="kokoro",
    )

    def __init__(self, model: Any, styles: dict[str, Path], vocabulary: dict[str, int]) -> None:
        languages: dict[str, tuple[str, ...]] = {}
        for name in sorted(styles, key=lambda name: (name != FIRST, name == LAST, name)):
            language = LANGUAGES[name[0]]
            if language == "en" or not missing(language):
                languages[language] = (*languages.get(language, ()), name)
        super().__init__(languages)
        self._model, self._files, self._vocabulary = model, styles, vocabulary
        self._styles: dict[str, Samples] = {}
        self._g2p: dict[str, G2P] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: there is no choice."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the catalog names of the model and its voices."""
        return ("kokoro", "kokoro-voices")

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load the model and warm up with the configured voice."""
        check_settings(cls.name, options.settings)
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
        styles = {path.stem: path for path in voices.glob("*.bin") if path.stem[0] in LANGUAGES}
        if not styles:
            raise EngineError(
                "There is no Kokoro voice on this machine.", "Run `chinwag models pull kokoro-voices`.", cls.name
            )
        threads = getattr(options.settings, "threads", 0) or 2
        model = open_model(folder / "kokoro-v1.0.int8.onnx", cls.name, threads)
        vocabulary = json.loads((Path(ASSETS) / "vocab.json").read_text("utf-8"))
        voice = cls(model, styles, vocabulary)
        try:
            name = voice.choose(getattr(options.settings, "voice", ""), None)
            voice._warm_up(name, "Zorblax, 42.")
        except Exception:
            voice._worker.close()
            raise
        return voice

    async def close(self) -> None:
        """Stop the thread and release the model."""
        self._worker.close()
        self._model = None

    def choose(self, voice: str | None, language: str | None) -> str:
        """Choose as `SentenceVoice.choose` does, but a British voice for en-GB."""
        if not voice and language and language.casefold().replace("_", "-") == "en-gb":
            return next((name for name in self.languages["en"] if name[0] == "b"), self.voices[0])
        if voice in self._files and voice not in self.voices:
            raise _to_install(LANGUAGES[voice[0]])
        if (
            language
            and primary_subtag(language) in LANGUAGES.values()
            and primary_subtag(language) not in self.languages
        ):
            raise _to_install(primary_subtag(language))
        return super().choose(voice, language)

    def _phonemes(self, voice: str, text: str) -> list[str]:
        convert, language = self._converter(voice[0]), LANGUAGES[voice[0]]
        split = _english_sentences if language == "en" else sentences
        return [piece for sentence in split(text) for piece in _short_enough(convert(sentence))]

    def _converter(self, accent: str) -> G2P:
        """Return the converter for a voice's first letter; loaded at first use, as some read a large dictionary."""
        if accent not in self._g2p:
            language = LANGUAGES[accent]
            self._g2p[accent] = _english(accent) if language == "en" else g2p(language, self._converter("a"))
        return self._g2p[accent]

    def _synthesize(self, voice: str, phonemes: str, speed: float) -> Samples:
        ids = [self._vocabulary[symbol] for symbol in phonemes if symbol in self._vocabulary]
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
        """Return the styles of a voice, float32 of shape (510, 256)."""
        if voice not in self._styles:
            styles = np.fromfile(self._files[voice], np.float32)
            if styles.size != STYLES * STYLE_WIDTH:
                raise EngineError(f"The Kokoro voice {voice} is damaged.", "Run `chinwag models verify`.", self.name)
            self._styles[voice] = styles.reshape(STYLES, STYLE_WIDTH)
        return self._styles[voice]


def _english(accent: str) -> G2P:
    from hibari.g2p import G2P

    convert: Any = G2P(british=accent == "b")
    return lambda text: str(convert(text))


def _english_sentences(text: str) -> list[str]:
    from hibari import Hibari

    return list(Hibari.split_sentences(text))


def _to_install(language: str) -> EngineError:
    """Return the error for a language whose converter is not installed."""
    absent = " and no ".join(missing(language))
    if language in UNSUPPORTED_SINCE and sys.version_info >= UNSUPPORTED_SINCE[language]:
        major, minor = UNSUPPORTED_SINCE[language]
        fix = f"Use Python {major}.{minor - 1} or older: misaki supports no newer."
    else:
        fix = "Install it: pip install 'chinwag[kokoro]'."
    return EngineError(f"Kokoro cannot speak {language_name(language)} yet: there is no {absent}.", fix, "kokoro")


def _short_enough(phonemes: str) -> list[str]:
    """Cut at punctuation, or else at a space, so that no piece exceeds LONGEST."""
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
