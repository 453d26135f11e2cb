"""Languages by their tags, and where the words are, in any script."""

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
"""As a model is told of them; another goes by its tag."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no space between words: here each character counts as one."""
_LETTERS = rf"[\p{{L}}\p{{M}}\p{{N}}--[{_UNSPACED}]]+"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|{_LETTERS}(?:'{_LETTERS})*", regex.VERSION1)
_PIECE = regex.compile(rf"[{_UNSPACED}]\p{{M}}*[^\s\p{{L}}\p{{N}}]*\s*|[^\s{_UNSPACED}]+\s*", regex.VERSION1)


AUTO_DETECT = "auto"
"""In place of a tag: it is to be heard."""


def requested_language(tag: str | None) -> str | None:
    """The language that is asked for; None where it is to be heard."""
    return None if tag == AUTO_DETECT else tag


def primary_subtag(tag: str | None) -> str:
    """The first subtag of a BCP 47 tag, as "pt" of "pt-BR"; "" of none."""
    return (tag or "").replace("_", "-").split("-")[0].casefold()


def language_name(tag: str | None) -> str:
    """What the language is called in English; the tag itself where that is not known."""
    return LANGUAGE_NAMES.get(primary_subtag(tag), tag or "")


def language_tag(name: str | None) -> str | None:
    """The tag of a language by its English name, as some servers tell it; a tag as it is; None of neither."""
    low = (name or "").casefold()
    named = next((one for one, called in LANGUAGE_NAMES.items() if called.casefold() == low), None)
    return named or (low if regex.fullmatch(r"[a-z]{2,3}(-\w+)*", low) else None)


def normalised_words(text: str) -> list[str]:
    """The words alone, casefolded; without spaces between them (Chinese, Japanese, Thai, …) each character is one."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def split_words(text: str) -> list[str]:
    """The text cut behind each word, or each character of an unspaced script; put together they are the text."""
    text = text.lstrip()
    return _PIECE.findall(text)


def separator(before: str, after: str) -> str:
    """What belongs between two sentences: a space, but none beside Chinese or Japanese writing."""
    return "" if not before or not after or _wide(before[-1]) or _wide(after[0]) else " "


def join_sentences(parts: Iterable[str]) -> str:
    """Sentences put together."""
    text = ""
    for part in parts:
        text += separator(text, part) + part
    return text


def _wide(char: str) -> bool:
    """Chinese and Japanese characters and marks. Korean's are as wide, but it has spaces."""
    return unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"
