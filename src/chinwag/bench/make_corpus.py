"""A corpus made with the Kokoro voices, which the server under test does not speak with.

64 turns of 14 voices at speeds from 0.9 to 1.15: questions, statements and short answers of everyday talk. 27 of
them (42 %) hold one or two silences, 33 in all, spread evenly from 300 to 1200 ms: 16 inside a clause or at a
conjunction, 7 after "um", "so" or "well", 6 in dictated digits, addresses and spelled names, and 4 after a whole
sentence, where only the speaker knows that more will come. What stands before an unfinished silence is spoken as a part
of its own that ends in a comma. Silences of 200 ms and more that a voice makes by itself are in the truth too. It is
read speech: no breath, no stumbling, one level. Give --corpus for recorded people.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import numpy as np
from platformdirs import user_cache_path

from chinwag.audio import WIRE_RATE, Audio, Samples, join, silence
from chinwag.bench.corpus import SPEECH, CorpusError, Kind, Recording, Truth, load_corpus, save_recording, speech_bounds
from chinwag.bench.noises import NOISES
from chinwag.bench.sentences import BACKCHANNELS, INTERRUPTIONS, PAUSE, SENTENCES
from chinwag.client_sdk.client import room_noise
from chinwag.config import TtsSettings
from chinwag.engines import registry
from chinwag.engines.protocols import EngineOptions, Voice
from chinwag.weights import Progress, Store

VERSION = 3
"""Part of the caches' names: raise it whenever what is made changes."""

NOISE_DBFS = -60.0
LEVEL_DBFS = -23.0
"""Root mean square of the speech."""

# voices that end in silence: bm_fable, say, hisses at -43 dBFS for half a second after its last word
VOICES = (
    "af_heart", "am_michael", "bf_emma", "bm_george", "af_bella", "am_fenrir", "bf_isabella",
    "bm_daniel", "af_sarah", "am_puck", "bf_alice", "bm_lewis", "af_nova", "am_eric",
)  # fmt: skip
SPEEDS = (1.0, 0.92, 1.08, 0.95, 1.15, 0.9, 1.03, 0.98, 1.1)
SHORTEST_PAUSE, USUAL_PAUSE, LONGEST_PAUSE = 0.3, 0.7, 1.2
"""Seconds of silence where a speaker stops to think."""
NOTICED = 0.2
"""Seconds of silence that a voice makes by itself, from which on it counts as a pause."""
SILENT = 1e-4
LEAD = 0.2
"""Seconds of the room before and after the speech."""


async def default_corpus(store: Store, tell: Callable[[str], None]) -> list[Recording]:
    """The made turns, from the cache or made now (a few minutes on two cores).

    tell: is given a line on what is happening. Raises WeightsError or EngineError where the voice cannot be had.
    """

    async def make(voice: Voice) -> AsyncGenerator[Recording, None]:
        lengths = iter(pause_lengths())
        for place, text in enumerate(SENTENCES):
            speaker, speed = VOICES[place % len(VOICES)], SPEEDS[place % len(SPEEDS)]
            pauses = [next(lengths) for _ in range(text.count(PAUSE))]
            yield await synthesise_recording(voice, f"{place:02d}-{speaker}", text, speaker, pauses=pauses, speed=speed)

    return await make_with_kokoro("bench-corpus", "a corpus of spoken turns", make, store, tell)


async def interruption_corpus(store: Store, tell: Callable[[str], None]) -> list[Recording]:
    """What is said and heard into a reply: 24 interruptions, 16 backchannels and 6 noises. As `default_corpus`.

    The interruptions and all backchannels but "mm-hmm" and "uh-huh" are spoken by the Kokoro voices; those two, the
    coughs, knocks and hums are synthesised (`bench/noises.py`).
    """

    async def make(voice: Voice) -> AsyncGenerator[Recording, None]:
        for place, text in enumerate((*INTERRUPTIONS, *INTERRUPTIONS)):
            speaker = VOICES[(place * 5 + place // len(INTERRUPTIONS)) % len(VOICES)]
            yield await synthesise_recording(
                voice, f"interruption-{place:02d}-{speaker}", text, speaker, kind="interruption"
            )
        for place, text in enumerate((*BACKCHANNELS, *BACKCHANNELS)):
            speaker = VOICES[(place * 3 + place // len(BACKCHANNELS)) % len(VOICES)]
            yield await synthesise_recording(
                voice, f"backchannel-{place:02d}-{speaker}", text, speaker, kind="backchannel"
            )
        for name, kind, text, sound in NOISES:
            yield make_recording(name, text, kind, [Audio(sound, WIRE_RATE)])

    return await make_with_kokoro("bench-interruptions", "a corpus of interruptions", make, store, tell)


def pause_lengths() -> list[float]:
    """Seconds of each `|` of the sentences in turn: evenly spread, short and long ones mixed, always the same."""
    count = sum(text.count(PAUSE) for text in SENTENCES)
    even = np.linspace(SHORTEST_PAUSE, LONGEST_PAUSE, count)
    return [round(float(length), 3) for length in np.random.default_rng(3).permutation(even)]


async def make_with_kokoro(
    name: str,
    what: str,
    make: Callable[[Voice], AsyncGenerator[Recording, None]],
    store: Store,
    on_progress: Callable[[str], None],
) -> list[Recording]:
    """Return a corpus from the cache folder `name`; a corpus that is not there yet is made with the Kokoro voices.

    Raises WeightsError or EngineError if the Kokoro engine cannot be loaded.
    """
    folder = user_cache_path("chinwag") / f"{name}-{VERSION}"
    with contextlib.suppress(CorpusError):
        return load_corpus(folder)
    on_progress(f"making {what} with the Kokoro voices, once")
    settings = TtsSettings(engine="kokoro", voice="", speed=1.0)
    engine = registry.find("tts", settings.engine)
    needs = engine.needs(settings)
    if missing := store.missing(needs):
        on_progress(f"fetching {', '.join(missing)} ({store.size(missing) // 10**6} MB)")
        await store.pull(missing, Progress(on_progress))
    options = EngineOptions.gathered(engine, settings, store.folder)
    voice = cast("Voice", await asyncio.to_thread(engine.load, options))
    try:
        recordings = []
        async with aclosing(make(voice)) as stream:
            async for recording in stream:
                recordings.append(recording)
                on_progress(f"  {len(recordings)}: {recording.truth.text}")
    finally:
        await voice.close()
    _publish(recordings, folder)
    return load_corpus(folder)


async def synthesise_recording(
    voice: Voice,
    name: str,
    text: str,
    speaker: str,
    *,
    pauses: Sequence[float] | None = None,
    speed: float = 1.0,
    kind: Kind = "turn",
    language: str | None = None,
) -> Recording:
    """Let a voice say the text in a quiet room (noise at -60 dBFS).

    language: that the text is in; without one, the voice's English.
    pauses: seconds of silence at each `|`; without them, `USUAL_PAUSE` at each.
    """
    spoken_in = language or ("en-GB" if speaker.startswith("b") else "en-US")
    parts = [part.strip() for part in text.split(PAUSE)]
    sounds = [await _synthesise(voice, parts[0], speaker, spoken_in, speed)]
    lengths = [USUAL_PAUSE] * (len(parts) - 1) if pauses is None else pauses
    for part, pause in zip(parts[1:], lengths, strict=True):
        sounds += [silence(pause, WIRE_RATE), await _synthesise(voice, part, speaker, spoken_in, speed)]
    said = " ".join(text.replace(PAUSE, " ").split())
    return make_recording(name, said, kind, sounds, speaker, language or "en")


def make_recording(
    name: str, text: str, kind: Kind, sounds: list[Audio], speaker: str = "", language: str = "en"
) -> Recording:
    """The sounds end to end between two short stretches of the room, with the truth about them."""
    edge = silence(LEAD, WIRE_RATE)
    speech = join(sounds).pcm
    pcm = np.concatenate([edge.pcm, speech, edge.pcm])
    lead = len(edge.pcm)
    truth = Truth(
        text=text,
        speech_start_ms=_ms(lead),
        speech_end_ms=_ms(lead + len(speech)),
        pauses_ms=[(_ms(lead + begin), _ms(lead + end)) for begin, end in _silences(speech)],
        backchannels_ms=[(_ms(lead), _ms(lead + len(speech)))] if kind == "backchannel" else [],
        kind=kind,
        voice=speaker,
        language=language,
    )
    return Recording(name=name, audio=Audio(pcm + room_noise(len(pcm), NOISE_DBFS), WIRE_RATE), truth=truth)


def _silences(pcm: Samples) -> list[tuple[int, int]]:
    """Stretches inside of at least `NOTICED` seconds below -45 dBFS, as (first sample, the one after the last)."""
    loud = np.flatnonzero(np.abs(pcm) > SPEECH)
    wide = np.flatnonzero(np.diff(loud) > NOTICED * WIRE_RATE)
    return [(int(loud[place]) + 1, int(loud[place + 1])) for place in wide]


async def _synthesise(voice: Voice, text: str, speaker: str, language: str, speed: float) -> Audio:
    """The text from its first to its last sample beyond -45 dBFS, at one level for every voice."""
    async with aclosing(voice.speak(text, voice=speaker, language=language, speed=speed)) as stream:
        pieces = [piece async for piece in stream]
    pcm = join(pieces).resampled(WIRE_RATE).pcm
    if not np.abs(pcm).max(initial=0.0) > SILENT:
        raise CorpusError(f"The voice {speaker} made no sound for {text!r}.", "Try: chinwag models verify kokoro")
    pcm = pcm / np.abs(pcm).max()
    speech = pcm[slice(*speech_bounds(pcm))]
    pcm = pcm * (10 ** (LEVEL_DBFS / 20) / float(np.sqrt(np.mean(speech**2))))
    pcm = pcm / max(1.0, float(np.abs(pcm).max()))
    start, end = speech_bounds(pcm)
    return Audio(pcm[start:end], WIRE_RATE)


def _ms(samples: int) -> float:
    return round(samples * 1000 / WIRE_RATE, 2)


def _publish(recordings: list[Recording], folder: Path) -> None:
    """Put the whole corpus there in one step, so that nobody reads half of one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name))
    for recording in recordings:
        save_recording(recording, made)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        made.rename(folder)
    except OSError:  # another process has put the same there just now
        shutil.rmtree(made, ignore_errors=True)
