"""Words to the phonemes that Kokoro-82M v1.0 was trained on, in its languages other than English.

The same converters as in hexgrad/kokoro's pipeline.py: espeak-ng with misaki's mapping, misaki's Cutlet for Japanese
and its ZHG2P for Chinese. misaki asks for a dictionary of 500 MB for Japanese; the small one in unidic-lite does.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

G2P = Callable[[str], str]

ESPEAK = {"es": "es", "fr": "fr-fr", "hi": "hi", "it": "it", "pt": "pt-br"}
"""What espeak-ng calls the voice of each."""

_SPOKEN_BY_ESPEAK = ("espeakng_loader", "phonemizer")
MODULES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ESPEAK, _SPOKEN_BY_ESPEAK),
    "ja": ("misaki", "fugashi", "unidic_lite", "jaconv", "mojimoji"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an", "ordered_set"),
}
"""What each language imports."""

NOT_BEYOND = {"ja": (3, 13), "zh": (3, 13)}
"""The first Python that misaki cannot be installed for."""

_E2M = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O",
    "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}  # fmt: skip
"""espeak-ng's two signs for one sound to Kokoro's one (hexgrad/misaki, espeak.py)."""

_LATIN = re.compile(r"([A-Za-z](?:[A-Za-z'’ -]*[A-Za-z])?)")
_STOP = re.compile(r"(?<=[!?…।])\s+|(?<=\w\w\w\.)\s+|(?<=[。！？])(?![」』”）])\s*")
"""Behind a sentence. A full stop behind one or two letters may be an abbreviation's."""


def missing(language: str) -> tuple[str, ...]:
    """The modules it needs that are not installed."""
    return tuple(module for module in MODULES[language] if importlib.util.find_spec(module) is None)


def sentences(text: str) -> list[str]:
    """The text cut behind each sentence, in any of these languages."""
    return [piece for piece in (part.strip() for part in _STOP.split(text)) if piece]


def g2p(language: str, english: G2P) -> G2P:
    """A converter of one sentence. english: that of the Latin words among Chinese and Japanese."""
    if language == "ja":
        return _among(_japanese(), english)
    if language == "zh":
        return _among(_chinese(), english)
    return _as_kokoro(espeak(ESPEAK[language], tie="^"))


def espeak(voice: str, tie: str = "") -> G2P:
    """espeak-ng's IPA with its stress and punctuation. tie: put between the signs of one sound."""
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    quiet = logging.getLogger(f"{__name__}.espeak")
    quiet.setLevel(logging.ERROR)  # it warns of every word that is said as two
    backend: Any = EspeakBackend(
        voice,
        preserve_punctuation=True,
        with_stress=True,
        tie=tie or False,
        language_switch="remove-flags",
        logger=quiet,
    )

    def convert(text: str) -> str:
        # Phonemizer keeps no danda and no parentheses as they are.
        text = text.replace("।", ".").replace("«", "“").replace("»", "”").replace("(", "«").replace(")", "»")
        return "".join(backend.phonemize([text])).strip().replace("«", "(").replace("»", ")")

    return convert


def _as_kokoro(convert: G2P) -> G2P:
    """espeak-ng's signs, tied by "^", to Kokoro's."""

    def converted(text: str) -> str:
        said = convert(text)
        for old, new in _E2M.items():
            said = said.replace(old, new)
        return said.replace("^", "").replace("-", "")

    return converted


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


def _among(own: G2P, english: G2P) -> G2P:
    """Latin words by one converter and the rest by the other; `own` would take their letters for phonemes."""

    def convert(text: str) -> str:
        parts = _LATIN.split(text)
        said = [
            (english if place % 2 else own)(part).strip() if part.strip() else "" for place, part in enumerate(parts)
        ]
        return " ".join(part for part in said if part)

    return convert
