"""The parts of `chinwag talk`: addresses, WAV files, and knowing when there is nothing more to wait for."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from chinwag.audio import Audio
from chinwag.cli.talk import PendingWork
from chinwag.client_sdk import wav
from chinwag.client_sdk.client import ClientError, ReceivedEvent, realtime_url
from chinwag.client_sdk.devices import PortAudioPlayback
from chinwag.client_sdk.local_server import status_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("ws://host:8000/v1/realtime", "ws://host:8000/v1/realtime?chinwag=events"),
        ("ws://host:8000", "ws://host:8000/v1/realtime?chinwag=events"),
        ("host:8000/", "ws://host:8000/v1/realtime?chinwag=events"),
        ("https://host/voice", "wss://host/voice?chinwag=events"),
        ("http://[::1]:9/?model=x&chinwag=no", "ws://[::1]:9/v1/realtime?model=x&chinwag=events"),
    ],
)
def test_the_wires_address(given: str, address: str) -> None:
    assert realtime_url(given) == address


@pytest.mark.parametrize("wrong", ["", "ftp://host", "ws://", "ws:///v1/realtime"])
def test_what_is_no_address_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ClientError) as caught:
        realtime_url(wrong)
    assert "ws://127.0.0.1:8000/v1/realtime" in caught.value.fix


def test_the_status_is_beside_the_wire() -> None:
    assert status_url("wss://host:1/v1/realtime") == "https://host:1/api/status"


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_of_any_width_is_read(tmp_path: Path, width: int, channels: int) -> None:
    values = [0.0, 0.5, -0.5, -1.0]
    scale = 2 ** (8 * width - 1)
    frames = b"".join(
        (round(v * scale) + (128 if width == 1 else 0)).to_bytes(width, "little", signed=width > 1) * channels
        for v in values
    )
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((channels, width, 11_025, 0, "NONE", ""))
        file.writeframes(frames)
    audio = wav.read(tmp_path / "x.wav")
    assert audio.rate == 11_025
    assert audio.pcm.dtype == np.float32
    assert audio.pcm == pytest.approx(values)


def test_a_wav_that_was_written_is_read_again(tmp_path: Path) -> None:
    audio = Audio(np.linspace(-1, 1, 100, dtype=np.float32), 24_000)
    wav.write(tmp_path / "x.wav", audio)
    again = wav.read(tmp_path / "x.wav")
    assert again.rate == 24_000
    assert again.pcm == pytest.approx(audio.pcm, abs=1e-4)


def test_a_file_that_is_no_wav_says_how_to_convert_it(tmp_path: Path) -> None:
    for name, data, message in (
        ("a.wav", b"ID3 some mp3", "not a PCM WAV"),
        ("b.wav", b"", "not a PCM WAV"),
        ("c.wav", b"RIFF" + struct.pack("<I", 4) + b"WAVE", "not a PCM WAV"),
        ("d.wav", _header(encoding=3), "not a PCM WAV"),
        ("e.wav", _header(encoding=1), "holds no sound"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(wav.WavError, match=message) as caught:
            wav.read(tmp_path / name)
        assert caught.value.fix
    assert "ffmpeg" in _fix_of(tmp_path / "a.wav")
    assert "Check the path" in _fix_of(tmp_path / "missing.wav")
    with pytest.raises(wav.WavError, match="cannot be read"):
        wav.read(tmp_path)
    with pytest.raises(wav.WavError, match="cannot be written"):
        wav.write(tmp_path / "no" / "x.wav", Audio(np.zeros(1, np.float32), 8000))


def _header(encoding: int) -> bytes:
    fmt = struct.pack("<HHIIHH", encoding, 1, 8000, 32_000, 4, 32)
    return b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", 0)


def _fix_of(path: Path) -> str:
    with pytest.raises(wav.WavError) as caught:
        wav.read(path)
    return caught.value.fix


def told(owed: PendingWork, kind: str, **fields: object) -> bool:
    owed.on_event(ReceivedEvent(0.0, {"type": kind, **fields}))
    return owed.pending


COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_an_answer_is_owed_from_the_first_sound_until_it_is_done() -> None:
    owed = PendingWork()
    assert told(owed, "input_audio_buffer.speech_started", item_id="u")
    assert told(owed, "input_audio_buffer.speech_stopped", item_id="u")
    assert told(owed, "input_audio_buffer.committed", item_id="u")
    assert told(owed, COMPLETED, item_id="u", transcript="Hello.")
    assert told(owed, "response.created", response={"id": "r"})
    assert not told(owed, "response.done", response={"id": "r", "status": "completed"})
    assert (owed.turns, owed.responses) == (1, 1)


def test_an_interrupted_answer_leaves_the_next_one_owed() -> None:
    owed = PendingWork()
    told(owed, "input_audio_buffer.speech_started", item_id="u1")
    told(owed, "input_audio_buffer.committed", item_id="u1")
    told(owed, "response.created", response={"id": "r1"})
    told(owed, "input_audio_buffer.speech_started", item_id="u2")
    assert told(owed, "response.done", response={"id": "r1", "status": "cancelled"})
    assert told(owed, "input_audio_buffer.committed", item_id="u2")
    told(owed, "response.created", response={"id": "r2"})
    assert not told(owed, "response.done", response={"id": "r2", "status": "completed"})


def test_an_answer_is_owed_while_the_server_runs_a_tool_whatever_it_says_meanwhile() -> None:
    owed = PendingWork()
    told(owed, "response.created", response={"id": "call"})
    told(owed, "response.mcp_call.in_progress", item_id="c")
    assert told(owed, "response.done", response={"id": "call", "status": "completed"})
    told(owed, "response.created", response={"id": "filler"})
    assert told(owed, "response.done", response={"id": "filler", "status": "completed"})
    assert told(owed, "response.mcp_call.completed", item_id="c")
    told(owed, "response.created", response={"id": "answer"})
    assert not told(owed, "response.done", response={"id": "answer", "status": "completed"})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (COMPLETED, {"transcript": " "}),
        ("conversation.item.input_audio_transcription.failed", {"error": {"message": "gone"}}),
        ("conversation.item.deleted", {}),
    ],
)
def test_a_turn_without_words_owes_nothing(kind: str, fields: dict[str, object]) -> None:
    owed = PendingWork()
    told(owed, "input_audio_buffer.speech_started", item_id="u")
    told(owed, "input_audio_buffer.committed", item_id="u")
    assert not told(owed, kind, item_id="u", **fields)
    assert owed.responses == 0


def test_a_failed_answer_is_kept_with_its_reason() -> None:
    owed = PendingWork()
    told(owed, "response.created", response={"id": "r"})
    details = {"error": {"message": "the model is gone"}}
    told(owed, "response.done", response={"id": "r", "status": "failed", "status_details": details})
    assert owed.failures == ["the model is gone"]
    assert owed.responses == 0


def test_the_loudspeaker_counts_what_was_heard_of_each_item() -> None:
    speaker = PortAudioPlayback(rate=24_000, latency=0.01)
    block = np.ones(480, np.float32)
    speaker.fill(block)
    assert not block.any()
    assert speaker.last_played(0) is None
    speaker.receive("a", Audio(np.full(600, 0.5, np.float32), 24_000), 0)
    speaker.receive("b", Audio(np.full(600, 0.25, np.float32), 24_000), 0)
    speaker.fill(block)
    assert (block == 0.5).all()
    assert speaker.last_played(0) == ("a", 10)  # 20 ms, of which the sound card still holds 10
    speaker.fill(block)
    assert speaker.last_played(0) == ("b", 5)
    assert not speaker.idle(0)
    speaker.flush(0)
    assert speaker.idle(0)
    speaker.fill(block)
    assert not block.any()


def test_the_loudspeaker_is_lowered_without_a_click_and_comes_back() -> None:
    speaker = PortAudioPlayback(rate=24_000, latency=0.01)
    speaker.receive("a", Audio(np.full(2400, 0.5, np.float32), 24_000), 0)
    block = np.ones(480, np.float32)
    speaker.duck(0)
    speaker.fill(block)
    assert np.abs(np.diff(block)).max() < 0.001
    assert (block[0], block[-1]) == pytest.approx((0.5, 0.1))
    speaker.fill(block)
    assert block == pytest.approx(0.1)
    speaker.resume(0)
    speaker.fill(block)
    speaker.fill(block)
    assert block == pytest.approx(0.5)
    speaker.duck(0)
    speaker.flush(0)  # what comes next is another reply
    speaker.receive("b", Audio(np.full(480, 0.5, np.float32), 24_000), 0)
    speaker.fill(block)
    assert block[-1] == pytest.approx(0.5)


def test_a_stock_client_asks_for_no_events_of_ours() -> None:
    asked = realtime_url("ws://host:8000/v1/realtime?model=x&chinwag=events", extended=False)
    assert asked == "ws://host:8000/v1/realtime?model=x"
