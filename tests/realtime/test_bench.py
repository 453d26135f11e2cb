"""`chinwag bench latency`: what it measures against a scripted server, and that it runs against the real one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import Scripted, scripted
from serving import Server

from chinwag import config
from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.bench import corpus, latency, make_corpus, talker
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.tts.kokoro import KokoroVoice
from chinwag.weights import Store

pytestmark = pytest.mark.realtime


def recording(pause: float = 0.0) -> corpus.Recording:
    """Half a second of tone, with a pause inside where one is asked for, between two fifths of silence."""
    half = np.full(WIRE_RATE // 4, 0.3, np.float32)
    edge = silence(0.4, WIRE_RATE).pcm
    pcm = np.concatenate([edge, half, silence(pause, WIRE_RATE).pcm, half, edge])
    truth = corpus.Truth(text="tone", speech_end_ms=900 + pause * 1000)
    return corpus.Recording(name="tone", audio=Audio(pcm, WIRE_RATE), truth=truth)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talker, "REST", 0.2)
    monkeypatch.setattr(talker, "ANSWER_TIMEOUT", 1.5)


async def test_voice_to_voice_is_from_the_last_spoken_to_the_first_heard_sample() -> None:
    async with scripted() as (url, calls):
        result = await latency.run(url, [recording()], 2)
    (server,) = calls
    assert result["failed"] == 0
    for turn, sent in zip(result["per_turn"], server.sent_sound_at, strict=True):
        # 200 ms until the script decides, 300 ms of silence in front of its tone
        assert turn["voice_to_voice_ms"] >= 500
        assert turn["stages_ms"] == {"turn_decided": 200.0, "first_audio": 260.0}
        assert (turn["transcript"], turn["reply"], turn["wer"]) == ("tone", "Beep.", 0.0)
        assert turn["first_partial_ms"] >= 0
        assert sent in server.sent_sound_at
    # the sound of the second turn began when the answer to the first had been heard
    assert server.sent_sound_at[1] - server.sent_sound_at[0] >= 0.8
    assert result["server"] == {"rss_mb": None, "cpu_seconds": None, "startup_s": None}


async def test_an_answer_in_a_pause_is_a_cut_in() -> None:
    async def eager(server: Scripted) -> None:
        await server.answer(quiet=0, loud=0.2)

    async with scripted(eager) as (url, _):
        result = await latency.run(url, [recording(pause=0.7)], 1)
    (turn,) = result["per_turn"]
    assert result["cut_in_rate"] == 1.0
    assert turn["transcript"] == "tone tone"
    assert turn["voice_to_voice_ms"] >= 200  # of the answer that came after the end


async def test_a_turn_without_an_answer_or_with_the_call_gone_has_failed_and_the_run_goes_on() -> None:
    async def answer(server: Scripted) -> None:
        if server.turns == 1 and len(calls) == 1:
            return
        if server.turns == 2:
            await server.socket.close(1011, "gone")
            return
        await server.answer(quiet=0, loud=0.2)

    async with scripted(answer) as (url, calls):
        result = await latency.run(url, [recording()], 3)
    errors = [turn["error"] for turn in result["per_turn"]]
    assert "no complete answer" in errors[0]
    assert "1011: gone" in errors[1]
    assert errors[2] is None
    assert (result["turns"], result["failed"]) == (3, 2)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus of two questions."""
    folder = tmp_path_factory.mktemp("corpus")

    async def make() -> None:
        store, settings = Store(config.load().weights), config.load().tts
        options = EngineOptions.gathered(KokoroVoice, settings, store.folder)
        voice = await asyncio.to_thread(KokoroVoice.load, options)
        for name, text in (("a", "What is the capital of France?"), ("b", "Can you tell me, | a short joke?")):
            corpus.save_recording(await make_corpus.synthesise_recording(voice, name, text, "af_heart"), folder)
        await voice.close()

    asyncio.run(make())
    return folder


def measured(kind: str, server: Server, folder: Path, out: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """What the program measures of a server, and what it prints."""
    where = ["--url", server.realtime, "--corpus", str(folder), "--json", str(out)]
    ran = subprocess.run(
        [sys.executable, "-m", "chinwag", "bench", kind, *where, *flags],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=110,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(out.read_text("utf-8")), ran.stdout


def test_the_program_measures_the_real_server_with_two_who_talk(server: Server, spoken: Path, tmp_path: Path) -> None:
    result, printed = measured("load", server, spoken, tmp_path / "out.json", "--sessions", "1,2", "--seconds", "12")
    one, two = result["steps"]
    assert (one["sessions"], one["admitted"]) == (1, 1)
    assert (two["sessions"], two["admitted"], two["refused"]) == (2, 2, 0)
    for step in (one, two):
        assert step["turns"] > step["unanswered"] >= 0
        assert 0 < step["voice_to_voice_ms"]["p50"] <= step["voice_to_voice_ms"]["p95"]
        assert 0 <= step["cut_in_rate"] <= 1
        assert step["dropped_audio_ms"] >= 0
        assert step["cpu_seconds"] > 0
        assert step["rss_mb"] > 100
        assert step["lost"] == 0
        assert step["load"]
    assert "each speaks 40% of the time" in printed


def test_the_program_measures_the_real_server(server: Server, spoken: Path, tmp_path: Path) -> None:
    result, printed = measured("latency", server, spoken, tmp_path / "out.json", "--turns", "2")
    assert [turn["error"] for turn in result["per_turn"]] == [None, None]
    assert (result["turns"], result["failed"]) == (2, 0)
    assert result["voice_to_voice_ms"]["p50"] is not None
    assert result["voice_to_voice_ms"]["p95"] >= result["voice_to_voice_ms"]["p50"]
    assert result["first_partial_ms"]["p50"] > 0
    assert result["partial_period_ms"]["p50"] > 0
    assert result["wer"] <= 0.25
    assert all(result["stages_ms"][stage] is not None for stage in latency.STAGES)
    assert result["server"]["rss_mb"] > 100
    assert result["server"]["cpu_seconds"] > 0
    assert result["server"]["startup_s"] > 0
    assert set(result["machine"]) == {"cpu", "cores", "memory", "os", "python"}
    assert result["engines"] == {
        "vad": "silero",
        "turn": "smart-turn",
        "stt": "moonshine",
        "llm": "embedded",
        "tts": "hibari",
    }
    assert "voice to voice" in printed
