"""`openai` and `@openai/agents`, as they come from npm, hold spoken conversations with the real engines.

The first run installs them into tests/javascript/node_modules.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node import node_command
from serving import Server
from speech import speech

from chinwag.bench.metrics import words

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]

HERE = Path(__file__).parent.parent / "javascript"
INSTALL_S, SCENARIO_S = 240.0, 90.0

CLIENTS = pytest.mark.parametrize("client", ["openai", pytest.param("agents", marks=pytest.mark.long)])

Play = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def play(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Runs a scenario of a client; its result."""
    if not (HERE / "node_modules" / ".package-lock.json").is_file():
        install = [*node_command("npm"), "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    sounds = tmp_path_factory.mktemp("sounds")
    for name, text in (
        ("story", "Tell me a long story about an old ship."),
        ("france", "But what is the capital of France?"),
    ):
        (sounds / f"{name}.pcm").write_bytes(speech(text).to_pcm16())

    def run(client: str, scenario: str) -> dict[str, Any]:
        node = [*node_command("node"), f"{client}.mjs", scenario, server.realtime, str(sounds)]
        done = subprocess.run(node, cwd=HERE, capture_output=True, text=True, timeout=SCENARIO_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        print(client, scenario, json.dumps(result))
        return result

    return run


def test_openai_text_and_a_response_beside_it(play: Play) -> None:
    told = play("openai", "text")
    assert "paris" in words(told["said"])
    assert "rome" in words(told["aside"])
    assert told["metadata"] == {"aside": "yes"}
    assert not told["errors"]


@pytest.mark.long
def test_agents_text(play: Play) -> None:
    told = play("agents", "text")
    assert "paris" in words(told["said"])
    assert told["history"][0] == ["user", "What is the capital of France?"]
    assert not told["errors"]


@CLIENTS
def test_a_spoken_turn_is_interrupted_and_what_was_heard_is_kept(play: Play, client: str) -> None:
    told = play(client, "interruption")
    assert {"story", "ship"} <= set(words(told["heard"][0]))
    assert (told["status"], told["reason"]) == ("cancelled", "turn_detected")
    assert told["told"].startswith(told["kept"])
    end_s = 1.0
    if client == "agents":  # it truncates by itself
        same, end_ms = told["truncated"]
        assert same
        assert told["interrupted"] >= 1
        end_s = end_ms / 1000
    assert len(told["kept"]) <= len(told["told"]) * 1.6 * end_s / told["seconds"] + 15, (
        "what was not heard is forgotten"
    )
    assert "france" in words(told["heard"][-1])
    assert told["said"]
    assert not told["errors"]


@CLIENTS
def test_a_function_is_called_and_its_result_is_told(play: Play, client: str) -> None:
    told = play(client, "tool")
    assert told["asked"] == {"city": "Paris"}
    assert {"21", "sunny"} & set(words(told["said"])), told["said"]
    assert not told["errors"]


@CLIENTS
def test_push_to_talk(play: Play, client: str) -> None:
    told = play(client, "push")
    assert "paris" in words(told["said"])
    assert "input_audio_buffer.committed" in told["kinds"]
    assert "input_audio_buffer.speech_started" not in told["kinds"]
    assert not told["errors"]


def test_openai_transcription_session(play: Play) -> None:
    told = play("openai", "transcription")
    assert told["type"] == "transcription"
    assert {"capital", "france"} <= set(words(told["heard"]))
    assert "no responses" in told["refused"]
    assert not [kind for kind in told["kinds"] if kind.startswith("response")]
