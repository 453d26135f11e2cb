"""`chinwag doctor`: each fault is found and has a fix beside it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Exit

from chinwag.audio import Audio
from chinwag.cli import doctor
from chinwag.config import Config, ServerSettings, WeightsSettings
from chinwag.engines import registry
from chinwag.engines.fake import FakeChat, FakeTranscriber, FakeTurnJudge, FakeVad, FakeVoice, loud
from chinwag.engines.protocols import Delta, EngineOptions, Message
from chinwag.errors import EngineError
from chinwag.weights import Store

pytestmark = pytest.mark.unit


class Audible(FakeVoice):
    """Is heard at 16 kHz as well."""

    async def speak(self, text: str, **manner: Any) -> AsyncGenerator[Audio, None]:
        yield loud(len(text) / 20, self.rate)


ENGINES: dict[str, Any] = {
    "vad": FakeVad,
    "turn": FakeTurnJudge,
    "stt": FakeTranscriber,
    "llm": FakeChat,
    "tts": Audible,
}


def use(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Let the doctor find these engines under every name."""
    found = {**ENGINES, **changed}
    monkeypatch.setattr(registry, "find", lambda task, name: found[task])

    async def embedded(settings: Any) -> str:
        return "embedded"

    monkeypatch.setattr(doctor, "resolve_auto", embedded)


async def checked(config: Config) -> dict[str, doctor.Check]:
    return {check.name.split(":")[0]: check async for check in doctor.check_engines(config, Store(config.weights))}


def settings(folder: Path, **server: Any) -> Config:
    return Config(weights=WeightsSettings(folder=folder), server=ServerSettings(**server))


async def test_every_engine_is_loaded_and_does_its_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch)
    found = await checked(settings(tmp_path))
    assert {name: check.state for name, check in found.items()} == dict.fromkeys(ENGINES, "ok"), found
    assert "s of speech in" in found["tts"].detail
    assert "heard “" in found["stt"].detail
    assert "ms for each 32 ms" in found["vad"].detail
    assert "P(finished) 1.00" in found["turn"].detail
    assert "began after" in found["llm"].detail


class Broken(FakeVad):
    @classmethod
    def load(cls, options: EngineOptions) -> Any:
        raise EngineError("The model file is torn.", "Pull it again.", "broken")


class Crashing(FakeTurnJudge):
    async def judge(self, audio: Audio, transcript: str, history: Sequence[Message]) -> float:
        raise RuntimeError("segfault, almost")


class Dumb(FakeChat):
    async def chat(self, messages: Sequence[Message], **more: Any) -> AsyncGenerator[Delta, None]:
        yield Delta(finish_reason="stop")


class Mute(FakeVoice):
    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        yield Audio(np.zeros(2400, np.float32), 24_000)


class Heavy(FakeTranscriber):
    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        return ("moonshine-tiny-en",)


async def test_a_broken_engine_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, vad=Broken, turn=Crashing, llm=Dumb, tts=Mute, stt=Heavy)
    found = await checked(settings(tmp_path))
    assert (found["vad"].state, found["vad"].fix) == ("fault", "Pull it again.")
    assert found["turn"].state == "fault"
    assert "RuntimeError: segfault, almost" in found["turn"].detail
    assert "answers nothing" in found["llm"].detail
    assert "makes no sound" in found["tts"].detail
    # weights that the first `serve` will fetch are no fault
    assert found["stt"].state == "hint"
    assert "chinwag models pull moonshine-tiny-en" in found["stt"].fix


async def test_missing_weights_are_a_fault_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, stt=Heavy)
    config = Config(weights=WeightsSettings(folder=tmp_path, offline=True))
    assert (await checked(config))["stt"].state == "fault"


async def test_a_port_that_is_free_or_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        taken.close()
        assert (await doctor.check_port(settings(tmp_path, port=number))).state == "ok"
    with socket.socket() as bound:  # listens to nobody: whoever asks is refused at once
        bound.bind(("127.0.0.1", 0))
        check = await doctor.check_port(settings(tmp_path, port=bound.getsockname()[1]))
    assert check.state == "fault"
    assert "--port" in check.fix


async def test_a_chinwag_on_the_port_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(url: str, api_key: str | None = None) -> dict[str, Any]:
        return {"stage": "ready", "version": "9.9"}

    monkeypatch.setattr(doctor, "fetch_status", status)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        check = await doctor.check_port(settings(tmp_path, port=taken.getsockname()[1]))
    assert check.state == "ok"
    assert "Chinwag 9.9 is running there (ready)" in check.detail


@pytest.mark.parametrize(("found", "wanted", "state"), [
    ("ollama", "auto", "ok"), ("embedded", "auto", "ok"), ("embedded", "ollama", "fault"), ("ollama", "ollama", "ok"),
])  # fmt: skip
async def test_ollama_is_a_fault_only_where_it_is_wanted(
    found: str, wanted: str, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def resolve(settings: Any) -> str:
        assert settings.engine == "auto"
        return found

    monkeypatch.setattr(doctor, "resolve_auto", resolve)
    config = settings(tmp_path)
    config.llm.engine = wanted
    check = await doctor.check_ollama(config)
    assert check.state == state
    assert bool(check.fix) == (state == "fault")


def test_a_browser_elsewhere_needs_https(tmp_path: Path) -> None:
    assert doctor.check_browser(settings(tmp_path)).state == "ok"
    check = doctor.check_browser(settings(tmp_path, host="0.0.0.0"))
    assert check.state == "hint"
    assert "HTTPS" in check.fix
    assert "ssh -L" in check.fix


def test_a_full_disk_is_told_before_the_first_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(WeightsSettings(folder=tmp_path / "not" / "yet"))
    assert doctor.check_disk(store).state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**8}))
    check = doctor.check_disk(store)
    assert check.state == "fault"
    assert "0.1 GB free" in check.detail


def test_a_typo_in_the_settings_is_a_fault_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch)
    (tmp_path / "chinwag.toml").write_text("[server]\nprot = 9000\n")
    with pytest.raises(Exit) as ended:
        doctor.doctor(as_json=True, config=tmp_path / "chinwag.toml")
    assert ended.value.exit_code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    (fault,) = [check for check in told["checks"] if check["name"] == "settings"]
    assert fault["state"] == "fault"
    assert "server.port" in fault["fix"]
    assert [check["name"] for check in told["checks"]][:3] == ["python", "machine", "settings"]


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, vad=Broken)
    (tmp_path / "chinwag.toml").write_text("")
    with pytest.raises(Exit):
        doctor.doctor(as_json=False, config=tmp_path / "chinwag.toml")
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("fault vad: silero: The model file is torn.")
    assert lines[place + 1].strip() == "→ Pull it again."
    assert any(line.startswith("ok    python: 3.") for line in lines)


def test_the_table_of_the_terminal_has_every_check_and_fix() -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(doctor._table([doctor.Check("a", "ok", "fine", "unused"), doctor.Check("b", "fault", "bad", "mend")]))
    console.file.close()
    shown = console.export_text()
    assert "fine" in shown
    assert "unused" not in shown
    assert "→ mend" in shown
