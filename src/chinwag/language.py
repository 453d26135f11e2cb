"""Language tags, and words and sentences in any script."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import regex

LANGUAGE_NAMES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "mr": "Marathi",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names, as used in instructions to a model."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces between words: each character counts as a word."""
_LETTERS = rf"[\p{{L}}\p{{M}}\p{{N}}--[{_UNSPACED}]]+"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|{_LETTERS}(?:'{_LETTERS})*", regex.VERSION1)
_PIECE = regex.compile(rf"[{_UNSPACED}]\p{{M}}*[^\s\p{{L}}\p{{N}}]*\s*|[^\s{_UNSPACED}]+\s*", regex.VERSION1)


AUTO_DETECT = "auto"
"""Value in place of a tag: the transcriber detects the language."""


def requested_language(tag: str | None) -> str | None:
    """Return the requested language; None if the transcriber detects it."""
    return None if tag == AUTO_DETECT else tag


def primary_subtag(tag: str | None) -> str:
    """Return the first subtag of a BCP 47 tag ("pt" of "pt-BR"); "" for None."""
    return (tag or "").replace("_", "-").split("-")[0].casefold()


def language_name(tag: str | None) -> str:
    """Return the English name of a language; the tag itself if the name is not known."""
    return LANGUAGE_NAMES.get(primary_subtag(tag), tag or "")


def language_tag(name: str | None) -> str | None:
    """Return the tag for an English name, as some servers report it; a tag unchanged; None for anything else."""
    lower = (name or "").casefold()
    known_tag = next((tag for tag, english in LANGUAGE_NAMES.items() if english.casefold() == lower), None)
    return known_tag or (lower if regex.fullmatch(r"[a-z]{2,3}(-\w+)*", lower) else None)


def normalised_words(text: str) -> list[str]:
    """Return the words, casefolded and without punctuation. In scripts without spaces each character is a word."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def split_words(text: str) -> list[str]:
    """Split the text after each word, or each character of a script without spaces; the parts join to the text."""
    text = text.lstrip()
    return _PIECE.findall(text)


def separator(before: str, after: str) -> str:
    """Return what belongs between two sentences: a space, but nothing next to Chinese or Japanese characters."""
    return "" if not before or not after or _wide(before[-1]) or _wide(after[0]) else " "


def join_sentences(parts: Iterable[str]) -> str:
    """Join sentences with the separators of their scripts."""
    text = ""
    for part in parts:
        text += separator(text, part) + part
    return text


def _wide(char: str) -> bool:
    """Return whether a character is Chinese or Japanese. Korean ones are as wide, but Korean has spaces."""
    return unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"
