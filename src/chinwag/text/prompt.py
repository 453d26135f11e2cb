"""What the model is told about being spoken aloud."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from chinwag.language import language_name, primary_subtag

_OWN = files("chinwag") / "assistants" / "companion.toml"

DEFAULT_INSTRUCTIONS: str = tomllib.loads(_OWN.read_text("utf-8"))["instructions"]
"""Short and without markup: every needless token is silence before the first word, and a symbol cannot be said."""

DEFAULT_INSTRUCTIONS_BY_LANGUAGE: dict[str, str] = tomllib.loads(
    (files("chinwag.text") / "companions.toml").read_text("utf-8")
)
"""The same for a conversation in one language, by the first subtag of BCP 47."""

SILENCE_PROMPT = (
    "The user has said nothing for a while. "
    "Say one short, gentle sentence that invites them to go on, without pressing."
)
"""For the one answer that breaks a long silence."""


def instructions_for(instructions: str, language: str | None) -> str:
    """The instructions for a conversation in that language.

    Chinwag's own are given in it; others stay as they are, and the language is named behind them, unless it is English
    or not known.
    """
    spoken = primary_subtag(language)
    if instructions == DEFAULT_INSTRUCTIONS and spoken in DEFAULT_INSTRUCTIONS_BY_LANGUAGE:
        return DEFAULT_INSTRUCTIONS_BY_LANGUAGE[spoken]
    if spoken in ("", "en"):
        return instructions
    called = language_name(language)
    return f"{instructions}\nThe user speaks {called}. Unless told otherwise above, answer in {called}.".strip()
