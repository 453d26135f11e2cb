"""Measures one engine in a process of its own: `python -m benchmarks.one_engine TASK NAME MODEL SENTENCES FILE`.

A process of its own, so that its memory is its own and nothing that was loaded before makes it look quicker.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import psutil

from chinwag import config
from chinwag.audio import LISTEN_RATE, Audio, join
from chinwag.bench import make_corpus
from chinwag.bench.corpus import Recording
from chinwag.bench.metrics import percentile, share, word_errors
from chinwag.engines import registry
from chinwag.engines.protocols import (
    ChatModel,
    Engine,
    EngineOptions,
    Message,
    Task,
    Transcriber,
    TurnJudge,
    Vad,
    Voice,
)
from chinwag.errors import ChinwagError, EngineError
from chinwag.weights import Store

PIECE_S = 0.32
"""Sound between two partials; it is pushed as fast as it is taken, so they cost what they cost and nobody waits."""
QUESTIONS = (
    "What is the capital of France?", "How do I boil an egg?", "Why is the sky blue?", "What can I do on a rainy day?",
    "Tell me about the moon.", "How far is it to the sun?", "What is bread made of?", "Who wrote Hamlet?",
)  # fmt: skip
ANSWER_TOKENS = 48
CHECK_TRANSCRIBERS = ("whisper", "moonshine")
"""Who hears the voices back, the first that is here."""


async def measure_engine(task: Task, name: str, model: str, count: int) -> dict[str, Any]:
    """The figures of one engine. Raises ChinwagError where it cannot be loaded or fails."""
    settings, store = _settings(task, name, model), Store(config.load().weights)
    recordings = await _sentences(count) if task != "llm" else []
    kind = registry.find(task, name)
    before = _memory()
    began = time.perf_counter()
    engine = await asyncio.to_thread(kind.load, EngineOptions.gathered(kind, settings, store.folder))
    told: dict[str, Any] = {"load_ms": _ms(began)}
    try:
        figures = await MEASURES[task](engine, recordings)
        told |= {"model": _model(engine, settings), "memory_mb": round((_memory() - before) / 1e6, 1), **figures}
    finally:
        await engine.close()
    if task == "tts":
        told |= await _transcribe_back(told.pop("sounds"), recordings, store)
    return told


def _model(engine: Engine, settings: Any) -> str:
    """What it runs: as it says itself, else as is set, else its own choice; "" where there is but one."""
    named = getattr(engine, "model", "") or getattr(settings, "model", "")
    return str(named or next(iter(type(engine).models(settings)), ""))


def _settings(task: Task, name: str, model: str) -> Any:
    section = getattr(config.load(), task)
    if section.engine != name:  # what is set for another engine is not meant for this one
        section = type(section)(engine=name)
    return section.model_copy(update={"model": model}) if model else section


async def _sentences(count: int) -> list[Recording]:
    """Recordings of whole sentences without pauses, of many voices, the same for every engine."""
    made = await make_corpus.default_corpus(Store(config.load().weights), lambda line: print(line, file=sys.stderr))
    return [recording for recording in made if not recording.truth.pauses_ms][:count]


async def _vad(vad: Vad, recordings: Sequence[Recording]) -> dict[str, Any]:
    times, seconds = [], 0.0
    for recording in recordings:
        audio, stream = recording.audio.resampled(LISTEN_RATE), vad.open()
        for at in range(0, len(audio.pcm) - vad.frame + 1, vad.frame):
            began = time.perf_counter()
            await stream.feed(Audio(audio.pcm[at : at + vad.frame], LISTEN_RATE, at))
            times.append(_ms(began))
            seconds += vad.frame / LISTEN_RATE
    return {**_first(times), "real_time_factor": _factor(sum(times), seconds)}


async def _turn(judge: TurnJudge, recordings: Sequence[Recording]) -> dict[str, Any]:
    times = []
    for recording in recordings:
        began = time.perf_counter()
        await judge.judge(recording.audio.resampled(LISTEN_RATE), recording.truth.text, [])
        times.append(_ms(began))
    return _first(times)


async def _stt(stt: Transcriber, recordings: Sequence[Recording]) -> dict[str, Any]:
    """first: one second of speech to words. final: behind the last sound, after live partials. The factor is of all of
    a sentence heard at once."""
    first, final, whole, seconds, wrong, said = [], [], 0.0, 0.0, 0, 0
    for recording in recordings:
        audio, language = recording.audio.resampled(LISTEN_RATE), recording.truth.language
        began = time.perf_counter()
        utterance = stt.open(language)
        utterance.push(audio.between(0, recording.start * LISTEN_RATE // recording.audio.rate + LISTEN_RATE))
        await utterance.partial()
        first.append(_ms(began))
        live, step = stt.open(language), int(PIECE_S * LISTEN_RATE)
        *earlier, last = range(0, len(audio.pcm), step)
        for at in earlier:
            live.push(audio.between(at, at + step))
            await live.partial()
        live.push(audio.between(last, audio.end))
        began = time.perf_counter()
        await live.finish()
        final.append(_ms(began))
        began = time.perf_counter()
        once = stt.open(language)
        once.push(audio)
        heard = await once.finish()
        whole += _ms(began)
        seconds += audio.seconds
        errors, words = word_errors(recording.truth.text, heard.text)
        wrong, said = wrong + errors, said + words
    return {
        **_first(first),
        "final_ms": percentile(final, 50),
        "final_p95_ms": percentile(final, 95),
        "real_time_factor": _factor(whole, seconds),
        "wer": share(wrong, said),
    }


async def _tts(voice: Voice, recordings: Sequence[Recording]) -> dict[str, Any]:
    """first: a sentence's first sound. sounds: what it said, to be heard back."""
    first, whole, seconds, sounds = [], 0.0, 0.0, []
    for recording in recordings:
        began = time.perf_counter()
        pieces: list[Audio] = []
        async with aclosing(voice.speak(recording.truth.text, language="en")) as speaking:
            async for piece in speaking:
                if not pieces:
                    first.append(_ms(began))
                pieces.append(piece)
        whole += _ms(began)
        if not pieces:
            raise EngineError(f"It said nothing for “{recording.truth.text}”.", "Try another voice.", voice.name)
        sound = join(pieces)
        seconds += sound.seconds
        sounds.append(sound)
    return {**_first(first), "real_time_factor": _factor(whole, seconds), "sounds": sounds}


async def _transcribe_back(sounds: Sequence[Audio], recordings: Sequence[Recording], store: Store) -> dict[str, Any]:
    """The words that a transcriber makes of what a voice said: errors of both."""
    ear, name = await _load_check_transcriber(store)
    wrong, said = 0, 0
    try:
        for sound, recording in zip(sounds, recordings, strict=True):
            utterance = ear.open("en")
            utterance.push(sound.resampled(LISTEN_RATE))
            errors, words = word_errors(recording.truth.text, (await utterance.finish()).text)
            wrong, said = wrong + errors, said + words
    finally:
        await ear.close()
    return {"wer": share(wrong, said), "heard_by": name}


async def _load_check_transcriber(store: Store) -> tuple[Transcriber, str]:
    for name in CHECK_TRANSCRIBERS:
        if name not in registry.names("stt"):
            continue
        kind, settings = registry.lookup("stt", name), config.SttSettings(engine=name)
        if not registry.missing_modules(kind) and not store.missing(kind.needs(settings)):
            options = EngineOptions.gathered(kind, settings, store.folder)
            return cast(Transcriber, await asyncio.to_thread(kind.load, options)), name
    raise EngineError("No transcriber is here to hear the voice.", "Run `chinwag models pull moonshine-tiny-en`.")


async def _llm(chat: ChatModel, recordings: Sequence[Recording]) -> dict[str, Any]:
    """first: a prompt it has not seen to the first word. prefilled: the same where the prompt was read ahead."""
    cold: list[float] = []
    warm: list[float] = []
    rates: list[float] = []
    system = "You are a friendly companion in a spoken conversation. Answer in one short sentence, in plain words."
    for place, question in enumerate(QUESTIONS):
        for prefilled, times in ((False, cold), (True, warm)):
            # a name at the very beginning: nothing of the prompt is in a cache
            messages: list[Message] = [
                {"role": "system", "content": f"{'BA'[prefilled]}{place}. {system}"},
                {"role": "user", "content": question},
            ]
            key = f"{place}{prefilled}"
            if prefilled:
                await chat.prefill(messages, cache_key=key)
            began, first, tokens = time.perf_counter(), 0.0, 0
            async with aclosing(chat.chat(messages, cache_key=key, max_tokens=ANSWER_TOKENS)) as deltas:
                async for delta in deltas:
                    if delta.text and not first:
                        first = time.perf_counter()
                    if delta.usage:
                        tokens = delta.usage.output_tokens
            if not first:
                continue
            times.append((first - began) * 1e3)
            if tokens > 1:
                rates.append((tokens - 1) / (time.perf_counter() - first))
    if not cold:
        raise EngineError("It answered none of the questions.", "Choose another llm.model.", chat.name)
    return {**_first(cold), "prefilled_ms": percentile(warm, 50), "tokens_per_s": percentile(rates, 50)}


MEASURES: dict[Task, Callable[[Any, Sequence[Recording]], Awaitable[dict[str, Any]]]] = {
    "vad": _vad,
    "turn": _turn,
    "stt": _stt,
    "llm": _llm,
    "tts": _tts,
}


def _first(times: Sequence[float]) -> dict[str, float | None]:
    return {"first_ms": percentile(times, 50), "first_p95_ms": percentile(times, 95)}


def _factor(ms: float, seconds: float) -> float | None:
    return round(ms / 1e3 / seconds, 4) if seconds else None


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 1)


def _memory() -> int:
    """Resident bytes of this process and of what it has started."""
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return total


def main(arguments: Sequence[str]) -> None:
    """Write the figures, or why there are none."""
    task, name, model, count, file = arguments
    try:
        result = asyncio.run(measure_engine(cast(Task, task), name, model, int(count)))
    except ChinwagError as error:
        result = {"error": error.message, "fix": error.fix}
    except Exception as error:  # an engine may raise anything, and is then to be in the table all the same
        result = {"error": f"{type(error).__name__}: {error}", "fix": "Run chinwag doctor to find out why."}
    Path(file).write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
