"""Engines of somebody else's package: installed by pip into an environment of its own, listed, and talked with."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from serving import serving
from websockets.sync.client import ClientConnection, connect

import chinwag

pytestmark = pytest.mark.realtime

EXAMPLE = Path(__file__).parents[2] / "examples" / "parrot"
RATE = 24_000


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that has this one's packages and the parrot, and pip brought it."""
    folder = tmp_path_factory.mktemp("parrot")
    venv.create(folder / "venv", symlinks=True)
    there = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([there, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    ours = [str(Path(chinwag.__file__).parents[1]), *(path for path in sys.path if path.endswith("site-packages"))]
    Path(packages, "ours.pth").write_text("\n".join(ours))
    source = folder / "source"
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "--python", str(there), "install", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--quiet", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(there)


def test_it_is_listed_among_the_others(python: str, tmp_path: Path) -> None:
    command = [python, "-m", "chinwag", "engines", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=_without_servers())
    parrots = [row for row in json.loads(told.stdout) if row["name"] == "parrot"]
    assert {row["task"]: row["state"] for row in parrots} == {"stt": "ready", "llm": "ready", "tts": "ready"}
    assert {row["licence"] for row in parrots} == {"MIT"}


def test_three_whistles_are_heard_and_said_again(python: str, tmp_path: Path) -> None:
    with (
        serving("--stt", "parrot", "--llm", "parrot", "--tts", "parrot", python=python, cwd=tmp_path) as server,
        connect(_ready(server)) as socket,
    ):
        detection: dict[str, Any] = {"audio": {"input": {"turn_detection": None}}}
        send(socket, "session.update", session={"type": "realtime", **detection})
        until(socket, "session.updated")
        whistle = 0.3 * np.sin(2 * np.pi * 800 * np.arange(RATE // 4) / RATE)
        for piece in [whistle, np.zeros(RATE // 4)] * 3:
            data = base64.b64encode((piece * 32767).astype("<i2").tobytes()).decode()
            send(socket, "input_audio_buffer.append", audio=data)
        send(socket, "input_audio_buffer.commit")
        heard, _ = until(socket, "conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "one two three"
        send(socket, "response.create")
        done, sound = until(socket, "response.done")
        response = done["response"]
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["transcript"] == "You said: one two three"
        assert np.abs(sound).max() > 0.1
        assert len(sound) > RATE // 2


def test_what_it_cannot_do_is_told_as_with_our_own(python: str, tmp_path: Path) -> None:
    env = {"CHINWAG_TTS__OPTIONS": '{"loudness": 7}'}
    with serving("--tts", "parrot", "--llm", "parrot", python=python, cwd=tmp_path, env=env) as server:
        error = server.wait("failed")["error"]
        assert error == {"message": "A loudness of 7 cannot be.", "fix": "Set tts.options.loudness above 0, to 1."}


def _without_servers() -> dict[str, str]:
    return {**os.environ, "OLLAMA_HOST": "http://127.0.0.1:9"}


def _ready(server: Any) -> str:
    server.wait("ready")
    return str(server.realtime)


def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def until(socket: ClientConnection, kind: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The next event of that kind, and the sound that came before it."""
    sound = b""
    while True:
        event: dict[str, Any] = json.loads(socket.recv(60))
        assert event["type"] != "error", event
        if event["type"] == "response.output_audio.delta":
            sound += base64.b64decode(event["delta"])
        if event["type"] == kind:
            return event, (np.frombuffer(sound, np.int16) / 32768).astype(np.float32)
