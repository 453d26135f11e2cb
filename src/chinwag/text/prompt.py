"""Instructions that make a model write text to be spoken."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from chinwag.language import language_name, primary_subtag

_DEFAULT_ASSISTANT = files("chinwag") / "assistants" / "companion.toml"

DEFAULT_INSTRUCTIONS: str = tomllib.loads(_DEFAULT_ASSISTANT.read_text("utf-8"))["instructions"]
"""Instructions of the default assistant. They are short, as every token delays the first word."""

DEFAULT_INSTRUCTIONS_BY_LANGUAGE: dict[str, str] = tomllib.loads(
    (files("chinwag.text") / "companions.toml").read_text("utf-8")
)
"""The default instructions in other languages, by the primary subtag of BCP 47."""

SILENCE_PROMPT = (
    "The user has said nothing for a while. "
    "Say one short, gentle sentence that invites them to go on, without pressing."
)
"""Instructions for the one response that breaks a long silence."""


def instructions_for(instructions: str, language: str | None) -> str:
    """Return the instructions for a conversation in a language.

    The default instructions are replaced by their translation. Any others get a sentence that names the language,
    unless it is English or unknown.
    """
    spoken = primary_subtag(language)
    if instructions == DEFAULT_INSTRUCTIONS and spoken in DEFAULT_INSTRUCTIONS_BY_LANGUAGE:
        return DEFAULT_INSTRUCTIONS_BY_LANGUAGE[spoken]
    if spoken in ("", "en"):
        return instructions
    name = language_name(language)
    return f"{instructions}\nThe user speaks {name}. Unless told otherwise above, answer in {name}.".strip()
