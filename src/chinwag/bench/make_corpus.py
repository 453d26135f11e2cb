"""A corpus made with the Kokoro voices, which the server under test does not speak with."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import numpy as np
from platformdirs import user_cache_path

from chinwag.audio import WIRE_RATE, Audio, join, silence
from chinwag.bench.corpus import CorpusError, Recording, Truth, load, save, spoken
from chinwag.caller.call import room_noise
from chinwag.config import TtsSettings
from chinwag.engines import registry
from chinwag.engines.protocols import EngineOptions, Voice
from chinwag.weights import Progress, Store

VERSION = 2
"""Part of the cache's name: raise it whenever what is made changes."""

NOISE_DBFS = -60.0
LEVEL_DBFS = -23.0
"""Root mean square of the speech."""

PAUSE = "|"
SENTENCES = (
    "What is the capital of France?",
    "Can you tell me a short joke?",
    "How do I boil an egg so that the yolk stays soft?",
    "What should I wear when it rains?",
    "I would like to book a table for, | four people on Friday evening.",
    "Why is the sky blue?",
    "Please remind me what a prime number is.",
    "How long does it take to fly from London to New York?",
    "I was thinking about, | going for a walk in the park this afternoon.",
    "Who wrote the play Romeo and Juliet?",
    "What is the difference between a frog and a toad?",
    "Could you explain how a bicycle stays upright?",
    "My friend is coming over tonight, and, | I have no idea what to cook.",
    "How many days are there in a leap year?",
    "What is a good way to fall asleep faster?",
    "Tell me something interesting about the moon.",
    "If I mix blue and yellow paint, | what colour do I get?",
    "Is it better to run in the morning or in the evening?",
    "Give me one tip for learning to play the guitar.",
    "How do bees make honey?",
    "I need to write a birthday card for my sister, | who just turned thirty.",
    "What is the tallest mountain in the world?",
    "Do you think that I should get a cat or a dog?",
    "Where does chocolate come from?",
)
# voices that end in silence: bm_fable, say, hisses at -43 dBFS for half a second after its last word
VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george", "af_bella", "am_fenrir", "bf_isabella", "bm_daniel")
PAUSES = (0.5, 0.8, 0.6, 1.0, 0.7)
"""Seconds of silence where a speaker stops to think; one of them for each recording."""
SILENT = 1e-4
LEAD = 0.2
"""Seconds of the room before and after the speech."""


async def default_corpus(store: Store, tell: Callable[[str], None]) -> list[Recording]:
    """The made corpus, from the cache or made now (a minute or two on two cores).

    tell: is given a line on what is happening. Raises WeightsError or EngineError where the voice cannot be had.
    """
    folder = user_cache_path("chinwag") / f"bench-corpus-{VERSION}"
    with contextlib.suppress(CorpusError):
        return load(folder)
    tell("making a corpus of spoken questions with the Kokoro voices, once")
    settings = TtsSettings(engine="kokoro", voice="", speed=1.0)
    engine = registry.find("tts", settings.engine)
    needs = engine.needs(settings)
    if missing := store.missing(needs):
        tell(f"fetching {', '.join(missing)} ({store.size(missing) // 10**6} MB)")
        await store.pull(missing, Progress(tell))
    options = EngineOptions(settings, {name: store.folder(name) for name in needs})
    voice = cast("Voice", await asyncio.to_thread(engine.load, options))
    try:
        recordings = []
        for place, text in enumerate(SENTENCES):
            speaker = VOICES[place % len(VOICES)]
            tell(f"  {place + 1} of {len(SENTENCES)}: {text.replace(PAUSE, '…')}")
            recordings.append(await record(voice, f"{place:02d}-{speaker}", text, speaker))
    finally:
        await voice.close()
    _publish(recordings, folder)
    return load(folder)


async def record(voice: Voice, name: str, text: str, speaker: str) -> Recording:
    """Let a voice say the text, silent for a while at each `|`, in a quiet room (noise at -60 dBFS)."""
    pause = PAUSES[sum(map(ord, name)) % len(PAUSES)]
    language = "en-GB" if speaker.startswith("b") else "en-US"
    sounds: list[Audio] = []
    gaps: list[tuple[int, int]] = []
    for part in text.split(PAUSE):
        spoken_part = await _say(voice, part.strip(), speaker, language)
        if sounds:
            begin = sum(len(sound.pcm) for sound in sounds)
            sounds.append(silence(pause, WIRE_RATE))
            gaps.append((begin, begin + len(sounds[-1].pcm)))
        sounds.append(spoken_part)
    pcm = np.concatenate([silence(LEAD, WIRE_RATE).pcm, join(sounds).pcm, silence(LEAD, WIRE_RATE).pcm])
    lead = round(LEAD * WIRE_RATE)
    truth = Truth(
        text=" ".join(text.replace(PAUSE, " ").split()),
        speech_start_ms=_ms(lead),
        speech_end_ms=_ms(len(pcm) - lead),
        pauses_ms=[(_ms(lead + begin), _ms(lead + end)) for begin, end in gaps],
        voice=speaker,
    )
    return Recording(name=name, audio=Audio(pcm + room_noise(len(pcm), NOISE_DBFS), WIRE_RATE), truth=truth)


async def _say(voice: Voice, text: str, speaker: str, language: str) -> Audio:
    """The text from its first to its last sample beyond -45 dBFS, at one level for every voice."""
    async with aclosing(voice.speak(text, voice=speaker, language=language)) as stream:
        pieces = [piece async for piece in stream]
    pcm = join(pieces).resampled(WIRE_RATE).pcm
    if not np.abs(pcm).max(initial=0.0) > SILENT:
        raise CorpusError(f"The voice {speaker} made no sound for {text!r}.", "Try: chinwag models verify kokoro")
    pcm = pcm / np.abs(pcm).max()
    speech = pcm[slice(*spoken(pcm))]
    pcm = pcm * (10 ** (LEVEL_DBFS / 20) / float(np.sqrt(np.mean(speech**2))))
    pcm = pcm / max(1.0, float(np.abs(pcm).max()))
    start, end = spoken(pcm)
    return Audio(pcm[start:end], WIRE_RATE)


def _ms(samples: int) -> float:
    return round(samples * 1000 / WIRE_RATE, 2)


def _publish(recordings: list[Recording], folder: Path) -> None:
    """Put the whole corpus there in one step, so that nobody reads half of one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name))
    for recording in recordings:
        save(recording, made)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        made.rename(folder)
    except OSError:  # another process has put the same there just now
        shutil.rmtree(made, ignore_errors=True)
