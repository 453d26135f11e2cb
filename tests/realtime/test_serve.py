"""`chinwag serve` in the hands of people: what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from serving import Server, serving, start
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from chinwag.config import WeightsSettings

pytestmark = pytest.mark.realtime


def ends(*flags: str, cwd: Path | None = None) -> str:
    """What it prints, where it is to end by itself with 1."""
    process = start(*flags, cwd=cwd)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    return printed


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        printed = ends("--port", str(port))
        assert f"Port {port} is in use" in printed
        assert "chinwag serve --port" in printed


def test_a_typo_in_the_settings_names_the_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "chinwag.toml").write_text("[server]\nprot = 9000\n")
    assert "Did you mean server.port?" in ends(cwd=tmp_path)


def test_a_login_code_is_made_and_told_in_a_link_that_logs_in(tmp_path: Path) -> None:
    environment = {"CHINWAG_SERVER__AUTH": "code", "XDG_DATA_HOME": str(tmp_path)}
    with serving("--llm", "embedded", env=environment) as server:
        server.wait("ready")
        models, until = server.url.replace("localhost", "127.0.0.1") + "/v1/models", time.monotonic() + 10
        while not (told := [line for line in server.lines if "#key=" in line]):
            assert time.monotonic() < until, server.lines
            time.sleep(0.05)
        code = told[0].partition("#key=")[2].partition(",")[0]
        assert (tmp_path / "chinwag" / "lan" / "code").read_text() == code
        assert httpx.get(models).status_code == 401
        assert httpx.get(models, headers={"Authorization": f"Bearer {code}"}).status_code == 200


@pytest.mark.parametrize("flag", ["--stt", "--llm", "--tts"])
def test_an_engine_that_is_not_there(flag: str, tmp_path: Path) -> None:
    with serving(flag, "mooonshine") as server:
        status = server.wait("failed")
        assert "mooonshine" in status["error"]["message"]
        assert status["error"]["fix"]


def test_no_weights_and_no_network(tmp_path: Path) -> None:
    with serving("--offline", "--llm", "embedded", env={"CHINWAG_WEIGHTS__FOLDER": str(tmp_path)}) as server:
        status = server.wait("failed")
        assert "chinwag models pull" in status["error"]["fix"], "the command that mends it"
        assert httpx.get(server.url.replace("localhost", "127.0.0.1")).status_code == 200, "the page is up all the same"
        assert first_event(server)["error"]["code"] == "not_ready"
        assert any("Not ready" in line for line in server.lines)


def test_damaged_weights(tmp_path: Path) -> None:
    whole = WeightsSettings().folder
    for name in ("silero-vad", "smart-turn", "moonshine-tiny-en", "qwen2.5-coder-0.5b"):
        shutil.copytree(whole / name, tmp_path / name, copy_function=_link)
    (damaged,) = (tmp_path / "silero-vad").glob("*.onnx")
    damaged.unlink()
    damaged.write_bytes(b"not a model")
    with serving("--offline", "--llm", "embedded", env={"CHINWAG_WEIGHTS__FOLDER": str(tmp_path)}) as server:
        status = server.wait("failed")
        assert "silero-vad" in status["error"]["message"]
        assert "chinwag models" in status["error"]["fix"]


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
        shutil.copystat(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def first_event(server: Server) -> dict[str, dict[str, str]]:
    with connect(server.realtime) as socket_:
        event: dict[str, dict[str, str]] = json.loads(socket_.recv())
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1013
    return event


def test_a_full_server_says_so() -> None:
    with serving("--llm", "embedded", env={"CHINWAG_SERVER__MAX_SESSIONS": "1"}) as server:
        server.wait("ready")
        with connect(server.realtime) as first:
            assert json.loads(first.recv())["type"] == "session.created"
            assert first_event(server)["error"]["code"] == "server_full"
        while server.status()["sessions"]:  # the place is free once the server has seen them go
            time.sleep(0.05)
        with connect(server.realtime) as again:
            assert json.loads(again.recv())["type"] == "session.created"


def test_a_page_of_another_origin_is_turned_away(server: Server) -> None:
    with pytest.raises(InvalidStatus, match="403"), connect(server.realtime, origin=Origin("https://evil.example")):
        pass


def test_sound_before_any_settings_is_taken(server: Server) -> None:
    with connect(server.realtime) as client:
        assert json.loads(client.recv())["type"] == "session.created"
        client.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 1000}))
        client.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert json.loads(client.recv())["type"] == "input_audio_buffer.cleared"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_control_c_ends_it_cleanly_in_the_middle_of_a_conversation() -> None:
    with serving("--llm", "embedded") as server:
        server.wait("ready")
        with connect(server.realtime) as client:
            client.recv()
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=20)
        try:
            server.process.wait(15)
        except subprocess.TimeoutExpired:
            pytest.fail("it did not end")
        assert "Traceback" not in "\n".join(server.lines)


def test_the_page_is_self_contained_and_never_stale(server: Server) -> None:
    page = httpx.get(server.url.replace("localhost", "127.0.0.1"))
    assert page.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
