"""The texts and recordings of the conversation and languages benchmarks. `|` marks a silence, as in bench.sentences."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from chinwag.audio import WIRE_RATE, Audio
from chinwag.bench.corpus import Recording
from chinwag.bench.make_corpus import make_recording, make_with_kokoro, synthesise_recording
from chinwag.bench.noises import NOISES
from chinwag.engines.protocols import Voice
from chinwag.weights import Store

SCRIPT_VOICE = "am_michael"

PHRASES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))
"""By language: `said`, a list of phrases, and `voice`, the Kokoro voice that says them."""


class ScriptLine(NamedTuple):
    """One turn of the person in the scripted conversation.

    pauses: seconds of each `|`. into: name of the recording that is played into the response ("" for none), `when`
    seconds after the response's first sound.
    """

    text: str
    pauses: tuple[float, ...] = ()
    into: str = ""
    when: float = 0.0


SCRIPT = (
    ScriptLine("Hello! I would like to plan a weekend in London."),
    ScriptLine("I like museums, and, um, | maybe a walk in a park.", (1.0,)),
    ScriptLine("Tell me a short story about the Tower of London.", (), "mm-hmm", 2.0),
    ScriptLine("Which museum is good for, | somebody who likes, | old ships?", (1.4, 0.7)),
    ScriptLine("Tell me more about it.", (), "wait", 2.5),
    ScriptLine("Go on.", (), "cough", 1.8),
    ScriptLine("My number is, five five five, | two three four, | nine one one seven.", (0.6, 0.6)),
    ScriptLine("Explain how I get from the station to the park.", (), "bus", 2.5),
    ScriptLine("Thank you, that was very helpful. Goodbye."),
)
INTO = {"wait": "Wait, stop. What does it cost?", "bus": "No, I meant by bus."}
"""Interruptions of the script; "mm-hmm" and "cough" come from `noises`."""


async def script_recordings(store: Store, tell: Callable[[str], None]) -> list[Recording]:
    """Return the person's lines of the scripted conversation (line-0 and so on) and what is played into responses."""

    async def make(voice: Voice) -> AsyncGenerator[Recording, None]:
        for place, line in enumerate(SCRIPT):
            yield await synthesise_recording(voice, f"line-{place}", line.text, SCRIPT_VOICE, pauses=line.pauses)
        for name, text in INTO.items():
            yield await synthesise_recording(voice, name, text, SCRIPT_VOICE, kind="interruption")
        for name, source in (("mm-hmm", "backchannel-mm-hmm-low"), ("cough", "noise-cough-1")):
            noise = next(noise for noise in NOISES if noise.name == source)
            yield make_recording(name, noise.text, noise.kind, [Audio(noise.pcm, WIRE_RATE)])

    return await make_with_kokoro("bench-script", "the person of the scripted conversation", make, store, tell)


async def language_recordings(store: Store, tell: Callable[[str], None], most: int = 6) -> list[Recording]:
    """Return up to `most` phrases of each language, language by language."""

    async def make(voice: Voice) -> AsyncGenerator[Recording, None]:
        for language, phrases in PHRASES.items():
            for place, text in enumerate(phrases["said"][:most]):
                yield await synthesise_recording(
                    voice, f"{language}-{place}", text, phrases["voice"], language=language
                )

    return await make_with_kokoro(f"bench-languages-{most}", "a corpus in each language", make, store, tell)
