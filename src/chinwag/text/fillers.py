"""Fillers: what is said while a tool runs, by language."""

from __future__ import annotations

from chinwag.language import primary_subtag

ENGLISH = ("One moment.", "Let me see.", "Just a second.")

FILLERS = {
    "de": ("Einen Moment.", "Mal sehen.", "Nur eine Sekunde."),
    "es": ("Un momento.", "A ver.", "Un segundo."),
    "fr": ("Un instant.", "Voyons voir.", "Juste une seconde."),
    "hi": ("एक मिनट।", "देखता हूँ।", "बस एक पल।"),
    "it": ("Un attimo.", "Vediamo.", "Solo un secondo."),
    "ja": ("少々お待ちください。", "ええと、そうですね。", "もう少しです。"),
    "pt": ("Um momento.", "Deixe-me ver.", "Só um segundo."),
    "zh": ("请稍等。", "我看看。", "马上就好。"),
}


def translate_filler(filler: str, language: str | None) -> str:
    """Return one of the default fillers in the conversation's language; return any other filler unchanged."""
    if filler in ENGLISH and (translated := FILLERS.get(primary_subtag(language))):
        return translated[ENGLISH.index(filler)]
    return filler
