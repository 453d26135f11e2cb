"""Whole spoken turns in each language: whether it was understood, and answered in the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio
from chinwag.bench.corpus import Recording
from chinwag.bench.latency import measure
from chinwag.bench.metrics import share, spread, word_errors
from chinwag.bench.talker import SimulatedUser, TurnLog, connect_user
from chinwag.config import SttSettings
from chinwag.engines import registry
from chinwag.engines.protocols import EngineOptions, Transcriber
from chinwag.language import language_name, primary_subtag
from chinwag.weights import Progress, Store

ENGINES = {"CHINWAG_STT__ENGINE": "whisper", "CHINWAG_STT__LANGUAGE": "auto", "CHINWAG_TTS__ENGINE": "kokoro"}
"""Of the server that is started for it; the language is not told, but heard."""


@asynccontextmanager
async def load_transcriber(store: Store, tell: Callable[[str], None]) -> AsyncGenerator[Transcriber, None]:
    """Who hears the answers back: Whisper, not told which language they are in."""
    settings = SttSettings(engine="whisper", language="auto")
    engine = registry.find("stt", settings.engine)
    if missing := store.missing(engine.needs(settings)):
        tell(f"fetching {', '.join(missing)} ({store.size(missing) // 10**6} MB)")
        await store.pull(missing, Progress(tell))
    options = EngineOptions.gathered(engine, settings, store.folder)
    loaded = cast("Transcriber", await asyncio.to_thread(engine.load, options))
    try:
        yield loaded
    finally:
        await loaded.close()


async def run(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    ear: Transcriber,
    *,
    api_key: str | None = None,
    send_language: bool = False,
    on_turn: Callable[[dict[str, Any]], None] = lambda turn: None,
) -> dict[str, Any]:
    """So many turns in each of the recordings' languages, each language in a call of its own.

    send_language: the server gets the language in its configuration; otherwise it detects the language.
    Returns by language: `wer` of what the server heard, `reply_wer` of its answers heard back (characters in place of
    words in Chinese and Japanese), `reply_language`: the share of answers that were heard as the same language,
    `voice_to_voice_ms` and `per_turn`. Raises ClientError where no conversation comes about.
    """
    by_language: dict[str, Any] = {}
    for language, some in itertools.groupby(recordings, lambda recording: recording.truth.language):
        measured: list[dict[str, Any]] = []
        asked = {"type": "realtime", "audio": {"input": {"transcription": {"language": language}}}}
        setup = [{"type": "session.update", "session": asked}] if send_language else []
        async with connect_user(url, api_key=api_key, setup=setup) as talker:
            for recording in itertools.islice(some, turns):
                log = await talker.hold_turn(recording)
                measured.append({**measure(log), **await _transcribe_back(talker, log, ear)})
                on_turn(measured[-1])
        by_language[language] = _summary(language, measured)
    return {"languages": by_language}


async def _transcribe_back(talker: SimulatedUser, log: TurnLog, ear: Transcriber) -> dict[str, Any]:
    began = min(log.onsets.values(), default=None)
    if began is None:
        return {"reply_heard": "", "reply_language": None}
    sound = talker.playback.audio_heard(began, round((talker.now() - began) * WIRE_RATE))
    utterance = ear.open(None)
    utterance.push(Audio(sound, WIRE_RATE).resampled(LISTEN_RATE))
    transcript = await utterance.finish()
    return {"reply_heard": transcript.text, "reply_language": transcript.language}


def _summary(language: str, turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    replies = [word_errors(turn["reply"], turn["reply_heard"]) for turn in turns]
    same = [primary_subtag(turn["reply_language"]) == language for turn in turns if turn["reply_language"]]
    return {
        "turns": len(turns),
        "failed": sum(turn["error"] is not None for turn in turns),
        "wer": share(sum(turn["word_errors"] for turn in turns), sum(turn["words"] for turn in turns)),
        "reply_wer": share(sum(wrong for wrong, _ in replies), sum(words for _, words in replies)),
        "reply_language": share(sum(same), len(same)),
        "voice_to_voice_ms": spread([turn["voice_to_voice_ms"] for turn in turns]),
        "per_turn": list(turns),
    }


def show(result: dict[str, Any], console: Console) -> None:
    """A row for each language."""
    table = Table(show_edge=False)
    for column in ("", "turns", "words wrong, heard", "answers in it", "words wrong, heard back", "voice to voice p50"):
        table.add_column(column, justify="left" if not column else "right")
    for language, figures in result["languages"].items():
        p50 = figures["voice_to_voice_ms"]["p50"]
        table.add_row(
            language_name(language),
            str(figures["turns"]),
            *(_percent(figures[key]) for key in ("wer", "reply_language", "reply_wer")),
            "–" if p50 is None else f"{p50:.0f} ms",
        )
    console.print(table)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
