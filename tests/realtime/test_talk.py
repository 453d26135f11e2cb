"""`chinwag talk` and the caller behind it, against a scripted server and the real one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scripted import Scripted, scripted
from serving import Server
from websockets.asyncio.server import ServerConnection

from chinwag import config
from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.bench import corpus, make_corpus
from chinwag.bench.metrics import word_errors
from chinwag.cli import talk
from chinwag.cli.talk import TalkError, TalkScreen, speak_and_listen
from chinwag.client_sdk import client as calling
from chinwag.client_sdk import wav
from chinwag.client_sdk.client import CHUNK, ClientError, RealtimeClient, ServerUnreachable
from chinwag.client_sdk.connect import connect
from chinwag.client_sdk.playback import ListenerPlayback
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.tts.kokoro import KokoroVoice
from chinwag.weights import Store

pytestmark = pytest.mark.realtime

TONE = Audio(np.full(WIRE_RATE // 2, 0.3, np.float32), WIRE_RATE)


def shown() -> Console:
    return Console(record=True, width=200, file=open(os.devnull, "w", encoding="utf-8"))


@asynccontextmanager
async def screen() -> AsyncGenerator[tuple[TalkScreen, Console], None]:
    console = shown()
    with TalkScreen(console) as one:
        yield one, console
    console.file.close()


async def test_two_turns_are_answered_written_down_and_reported_to_the_millisecond() -> None:
    ear = ListenerPlayback()
    async with (
        scripted() as (url, calls),
        screen() as (one, console),
        connect(url, playback=ear, noise_dbfs=-60) as line,
    ):
        spoken = Audio(np.concatenate([TONE.pcm, silence(1.6, WIRE_RATE).pcm, TONE.pcm]), WIRE_RATE)
        await speak_and_listen(line, spoken, one)
    (server,) = calls
    assert server.turns == 2
    lines = console.export_text().splitlines()
    assert [text for text in lines if not text.startswith(" ")] == ["You: tone", "AI: Beep."] * 2
    heard = ear.recording()
    assert heard.seconds == pytest.approx(2 * 0.8 + 0.5, abs=0.01)
    reports = [event for event in server.received if event["type"] == "chinwag.playback"]
    assert [event["item_id"] for event in reports] == sorted(event["item_id"] for event in reports)
    assert {"type": "chinwag.playback", "item_id": "a1", "played_ms": 800} in reports
    assert any(0 < event["played_ms"] < 800 for event in reports)


async def test_the_microphone_keeps_the_clock_and_the_room_is_not_digital_silence() -> None:
    async with scripted() as (url, calls), connect(url, noise_dbfs=-60) as line:
        place = line.speak(TONE)
        await asyncio.sleep(1.2)
        spoken_at = line.time_of(place + len(TONE.pcm))
    (server,) = calls
    assert {len(pcm) for pcm in server.heard} == {CHUNK}
    # no chunk leaves before its last sample was captured, however late the ones before were
    assert all(at >= line.time_of((n + 1) * CHUNK) - 1e-4 for n, at in enumerate(server.arrivals))
    pcm = np.concatenate(server.heard)
    loud = np.flatnonzero(np.abs(pcm) > 0.1)
    assert (loud[0], loud[-1] + 1) == (place, place + len(TONE.pcm))
    assert spoken_at == pytest.approx(line.time_of(loud[-1] + 1))
    room = pcm[:place] if place else pcm[loud[-1] + 1 :]
    assert 20 * np.log10(np.sqrt(np.mean(room**2))) == pytest.approx(-60, abs=1)


async def test_speaking_into_an_answer_silences_it() -> None:
    ear = ListenerPlayback()

    async def long_answer(server: Scripted) -> None:
        await server.answer(quiet=0, loud=9.0 if server.turns == 1 else 0.2)

    async with scripted(long_answer) as (url, _), screen() as (one, _), connect(url, playback=ear) as line:
        spoken = Audio(np.concatenate([TONE.pcm, silence(1.0, WIRE_RATE).pcm, TONE.pcm]), WIRE_RATE)
        await speak_and_listen(line, spoken, one)
    by_item = {piece.item_id: len(piece.pcm) / WIRE_RATE for piece in ear.pieces}
    assert by_item["a1"] < 5.0
    assert by_item["a2"] == pytest.approx(0.2)


async def failing(server: Scripted) -> None:
    await server.answer(quiet=0, loud=0, status="failed")


async def wordless(server: Scripted) -> None:
    await server.send("input_audio_buffer.committed", item_id=f"u{server.turns}")
    kind = "conversation.item.input_audio_transcription.completed"
    await server.send(kind, item_id=f"u{server.turns}", transcript="")


async def mute(server: Scripted) -> None:
    await server.send("input_audio_buffer.committed", item_id=f"u{server.turns}")


async def leaving(server: Scripted) -> None:
    await server.socket.close(1011, "out of memory")


@pytest.mark.parametrize(
    ("turn", "spoken", "message"),
    [
        (failing, TONE, "the model is gone"),
        (wordless, TONE, "understood no words"),
        (mute, TONE, "owes an answer"),
        (leaving, TONE, "1011: out of memory"),
        (None, silence(0.2, WIRE_RATE), "heard no speech"),
    ],
)
async def test_a_talk_that_comes_to_nothing_says_why(
    turn: object, spoken: Audio, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "NO_SPEECH_AFTER", 0.4)
    monkeypatch.setattr(talk, "NO_ANSWER_AFTER", 0.6)
    async with scripted(turn) as (url, _), screen() as (one, _), connect(url) as line:  # type: ignore[arg-type]
        with pytest.raises((TalkError, ClientError)) as caught:
            await speak_and_listen(line, spoken, one)
    assert message in caught.value.message
    assert caught.value.fix


async def refused(url: str, api_key: str | None = None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        async with connect(url, api_key=api_key):
            pass
    assert caught.value.fix
    return caught.value


async def test_a_wrong_key_or_path_or_an_empty_port_is_told(free_port: int) -> None:
    async with scripted(key="secret") as (url, _):
        assert "--api-key" in (await refused(url)).fix
        assert "HTTP 401" in (await refused(url, "wrong")).message
        async with connect(url, api_key="secret") as line:
            assert isinstance(line, RealtimeClient)
        assert "no realtime endpoint" in (await refused(f"{url}/elsewhere")).message
    nobody = await refused(f"ws://127.0.0.1:{free_port}")
    assert isinstance(nobody, ServerUnreachable)
    assert "chinwag serve" in nobody.fix


async def test_a_server_that_is_not_ready_or_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "SESSION_TIMEOUT_S", 0.3)

    async def busy(socket: ServerConnection) -> None:
        await socket.send('{"type": "error", "error": {"code": "not_ready", "message": "Weights are loading."}}')
        await socket.close(1013)

    async def silent(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with scripted(handler=busy) as (url, _):
        error = await refused(url)
        assert "Weights are loading." in error.message
        assert "Wait" in error.fix
    async with scripted(handler=silent) as (url, _):
        assert "sent nothing" in (await refused(url)).message


async def test_what_is_no_websocket_server_is_told() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "is no Chinwag server" in (await refused(f"ws://127.0.0.1:{port}")).message


# --- the program and the real server -------------------------------------------------------------------------


def chinwag(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chinwag", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=110,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})},
    )


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spoken question, at 16 kHz."""
    store, settings = Store(config.load().weights), config.load().tts
    options = EngineOptions.gathered(KokoroVoice, settings, store.folder)

    async def record() -> corpus.Recording:
        voice = await asyncio.to_thread(KokoroVoice.load, options)
        try:
            return await make_corpus.synthesise_recording(voice, "x", "What is the capital of France?", "af_heart")
        finally:
            await voice.close()

    path = tmp_path_factory.mktemp("talk") / "question.wav"
    wav.write(path, asyncio.run(record()).audio.resampled(16_000))
    return path


async def test_the_program_talks_in_files_with_the_real_server(server: Server, asked: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.wav"
    flags = ("--url", server.realtime, "--input", str(asked), "--output", str(answer))
    ran = await asyncio.to_thread(chinwag, "talk", *flags)
    assert ran.returncode == 0, ran.stderr
    said = [text.partition(": ") for text in ran.stdout.splitlines()]
    (you,) = [text for who, _, text in said if who == "You"]
    assert word_errors("What is the capital of France?", you)[0] <= 1
    assert [text for who, _, text in said if who == "AI" and text]
    assert "answered after" in ran.stdout
    heard = wav.read(answer)
    assert heard.rate == WIRE_RATE
    assert np.abs(heard.pcm).max() > 0.05
    assert heard.seconds > 0.5


async def test_without_a_server_one_is_started_and_stopped(free_port: int, asked: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.wav"
    env = {"CHINWAG_SERVER__PORT": str(free_port), "CHINWAG_LLM__ENGINE": "embedded"}
    ran = await asyncio.to_thread(chinwag, "talk", "--input", str(asked), "--output", str(answer), env=env)
    assert ran.returncode == 0, ran.stderr
    assert "starting one for this talk" in ran.stderr
    assert "AI: " in ran.stdout
    assert np.abs(wav.read(answer).pcm).max() > 0.05


def test_a_fault_is_told_in_two_lines(tmp_path: Path) -> None:
    for flags, message in (
        (["--input", str(tmp_path / "missing.wav")], "There is no file"),
        (["--output", str(tmp_path / "x.wav")], "--output needs --input"),
        (["--input", __file__], "is not a PCM WAV file"),
    ):
        ran = chinwag("talk", *flags)
        assert ran.returncode == 1
        assert message in ran.stderr
        assert len(ran.stderr.splitlines()) == 2
        assert ran.stdout == ""
