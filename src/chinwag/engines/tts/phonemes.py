"""Conversion of text to Kokoro-82M v1.0's phonemes, in its languages other than English.

The same converters as in hexgrad/kokoro's pipeline.py: espeak-ng with misaki's mapping, misaki's Cutlet for Japanese
and its ZHG2P for Chinese. misaki requires a Japanese dictionary of 500 MB, but the small unidic-lite works as well.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

G2P = Callable[[str], str]

ESPEAK = {"es": "es", "fr": "fr-fr", "hi": "hi", "it": "it", "pt": "pt-br"}
"""espeak-ng's voice for each language."""

_ESPEAK_MODULES = ("espeakng_loader", "phonemizer")
MODULES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ESPEAK, _ESPEAK_MODULES),
    "ja": ("misaki", "fugashi", "unidic_lite", "jaconv", "mojimoji"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an", "ordered_set"),
}
"""Modules that each language imports."""

UNSUPPORTED_SINCE = {"ja": (3, 13), "zh": (3, 13)}
"""The first Python version that misaki does not support."""

_E2M = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O",
    "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}  # fmt: skip
"""Kokoro's single symbols for espeak-ng's pairs (hexgrad/misaki, espeak.py)."""

_LATIN = re.compile(r"([A-Za-z](?:[A-Za-z'’ -]*[A-Za-z])?)")
_SENTENCE_END = re.compile(r"(?<=[!?…।])\s+|(?<=\w\w\w\.)\s+|(?<=[。！？])(?![」』”）])\s*")
"""The end of a sentence. A full stop after one or two letters may belong to an abbreviation."""


def missing(language: str) -> tuple[str, ...]:
    """Return the modules of a language that are not installed."""
    return tuple(module for module in MODULES[language] if importlib.util.find_spec(module) is None)


def sentences(text: str) -> list[str]:
    """Split a text of any of these languages into sentences."""
    return [piece for piece in (part.strip() for part in _SENTENCE_END.split(text)) if piece]


def g2p(language: str, english: G2P) -> G2P:
    """Return a converter for one sentence. english: converts Latin words within Chinese and Japanese."""
    if language == "ja":
        return _mixed(_japanese(), english)
    if language == "zh":
        return _mixed(_chinese(), english)
    return _espeak(ESPEAK[language])


def _espeak(voice: str) -> G2P:
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    quiet = logging.getLogger(f"{__name__}.espeak")
    quiet.setLevel(logging.ERROR)  # it warns of every word that becomes two
    backend: Any = EspeakBackend(
        language=voice,
        preserve_punctuation=True,
        with_stress=True,
        tie="^",
        language_switch="remove-flags",
        logger=quiet,
    )

    def convert(text: str) -> str:
        # phonemizer does not preserve danda and parentheses.
        text = text.replace("।", ".").replace("«", "“").replace("»", "”").replace("(", "«").replace(")", "»")
        phonemes = "".join(backend.phonemize([text])).strip()
        for old, new in _E2M.items():
            phonemes = phonemes.replace(old, new)
        return phonemes.replace("^", "").replace("-", "").replace("«", "(").replace("»", ")")

    return convert


def _japanese() -> G2P:
    from misaki.cutlet import Cutlet

    converter = Cutlet()
    return lambda text: str(converter(text)[0])


def _chinese() -> G2P:
    import jieba
    from misaki.zh import ZHG2P

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    converter = ZHG2P()
    return lambda text: str(converter(text)[0])


def _mixed(own: G2P, english: G2P) -> G2P:
    """Return a converter that uses `english` for Latin words, whose letters `own` would take for phonemes."""

    def convert(text: str) -> str:
        parts = _LATIN.split(text)
        phonemes = [
            (english if place % 2 else own)(part).strip() if part.strip() else "" for place, part in enumerate(parts)
        ]
        return " ".join(part for part in phonemes if part)

    return convert
