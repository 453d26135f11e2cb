"""`chinwag engines`: each engine's state, and the very next step where it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chinwag.bench.engine_figures import save_figures
from chinwag.cli import _app
from chinwag.cli.engines import engine_rows
from chinwag.config import Config, SttSettings, WeightsSettings
from chinwag.engines import registry
from chinwag.engines.listing import EngineRow, list_engines
from chinwag.engines.stt.whisper import Whisper
from chinwag.errors import EngineError
from chinwag.weights import Store

pytestmark = pytest.mark.unit


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], EngineRow]:
    """On a machine without weights, without Ollama and without faster-whisper."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(registry, "missing_modules", lambda engine: engine.about.modules)
    config = Config(weights=WeightsSettings(folder=tmp_path), stt=SttSettings(engine="moonshine"))
    return {(row.task, row.name): row for row in list_engines(config, Store(config.weights))}


def test_all_engines_are_listed_with_what_they_are(rows: dict[tuple[str, str], EngineRow]) -> None:
    assert set(rows) == {(task, name) for task in registry.TASKS for name in registry.names(task)}
    assert all(row.summary and row.licence and row.languages for row in rows.values())
    assert [name for (task, name), row in rows.items() if task == "stt" and row.chosen] == ["moonshine"]


def test_what_lacks_something_says_the_command(rows: dict[tuple[str, str], EngineRow]) -> None:
    whisper, moonshine, hibari = rows["stt", "whisper"], rows["stt", "moonshine"], rows["tts", "hibari"]
    assert (whisper.state, whisper.fix) == ("not installed", "pip install 'chinwag[whisper]'")
    assert (moonshine.state, moonshine.fix) == ("no weights", "chinwag models pull moonshine-tiny-en")
    assert moonshine.size > 10**7
    assert (hibari.state, hibari.fix) == ("ready", "")


def test_a_server_that_does_not_answer_says_how_to_start_it(rows: dict[tuple[str, str], EngineRow]) -> None:
    ollama, openai = rows["llm", "ollama"], rows["stt", "openai"]
    assert ollama.state == openai.state == "not reached"
    assert "ollama serve" in ollama.fix
    assert "stt.base_url" in openai.fix


def test_what_was_measured_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chinwag.bench.engine_figures.user_cache_path", lambda name: tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    measured = {"task": "tts", "engine": "hibari", "model": "", "first_ms": 24.0, "real_time_factor": 0.01}
    save_figures([measured])
    rows = {(row.task, row.name): row for row in engine_rows(Config(weights=WeightsSettings(folder=tmp_path)))}
    assert (rows["tts", "hibari"].first_ms, rows["tts", "hibari"].real_time_factor) == (24.0, 0.01)
    assert rows["tts", "kokoro"].first_ms is None
    assert "first result after 24 ms, 0.01 × real time" in CliRunner().invoke(_app, ["engines"]).output


def test_as_json_and_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_WEIGHTS__FOLDER", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    told = json.loads(CliRunner().invoke(_app, ["engines", "--json"]).output)
    assert {row["name"] for row in told} >= {"moonshine", "whisper", "embedded", "hibari", "kokoro"}
    text = CliRunner().invoke(_app, ["engines"]).output
    assert "→ chinwag models pull moonshine-tiny-en" in text
    assert "* hibari" in text


def test_an_engine_that_is_not_installed_says_the_command_when_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing_modules", lambda engine: engine.about.modules)
    with pytest.raises(EngineError, match=r"no faster_whisper\. Install it: pip install 'chinwag\[whisper\]'"):
        registry.find("stt", "whisper")


def test_whisper_needs_weights_of_the_catalog_for_its_usual_model_alone() -> None:
    assert Whisper.needs(SttSettings()) == ("whisper-base",)
    assert Whisper.needs(SttSettings(model="small")) == ("whisper-small",)
    assert Whisper.needs(SttSettings(model="medium")) == ()
    assert Whisper.needs(SttSettings(language="hi-IN")) == ("whisper-small",)  # base cannot write it
    assert Whisper.needs(SttSettings(language="hi", model="base")) == ("whisper-base",)
    assert Whisper.needs(SttSettings(language="auto")) == ("whisper-base",)
