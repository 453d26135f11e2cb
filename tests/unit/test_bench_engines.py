"""What is measured, kept and drawn of the engines; `python -m benchmarks engines` measures them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import engines, plots
from chinwag.bench import engine_figures
from chinwag.bench.plots import PlotError
from chinwag.engines.protocols import TASKS
from chinwag.errors import EngineError

pytestmark = pytest.mark.unit

HEARS: dict[str, Any] = {
    "task": "stt", "engine": "moonshine", "model": "tiny", "load_ms": 200.0, "memory_mb": 130.0, "first_ms": 48.2,
    "first_p95_ms": 60.0, "real_time_factor": 0.03, "wer": 0.021,
}  # fmt: skip
SPEAKS: dict[str, Any] = {**HEARS, "task": "tts", "engine": "hibari", "model": "", "heard_by": "whisper"}
GONE: dict[str, Any] = {"task": "llm", "engine": "ollama", "model": "", "error": "It is down.", "fix": "Start it."}


def test_all_are_measured_or_those_named() -> None:
    assert {task for task, _, _ in engines.parse_engines([])} == set(TASKS)
    assert engines.parse_engines(["tts:kokoro", "stt:moonshine=moonshine-base-en"]) == [
        ("tts", "kokoro", ""),
        ("stt", "moonshine", "moonshine-base-en"),
    ]
    for wrong in ("kokoro", "voice:kokoro", "tts:", "tts:kokro"):
        with pytest.raises(EngineError) as failure:
            engines.parse_engines([wrong])
        assert failure.value.fix


def test_the_newest_is_kept_and_what_failed_changes_nothing(tmp_path: Path) -> None:
    assert engine_figures.load_figures(tmp_path) == []
    engine_figures.save_figures([HEARS, SPEAKS, GONE], tmp_path)
    engine_figures.save_figures([{**HEARS, "first_ms": 40.0}, {**SPEAKS, "error": "x", "fix": "y"}], tmp_path)
    assert engine_figures.load_figures(tmp_path) == [SPEAKS, {**HEARS, "first_ms": 40.0}]
    (tmp_path / engine_figures.FILE).write_text("[1, {", "utf-8")
    assert engine_figures.load_figures(tmp_path) == []


def test_what_could_not_be_measured_is_told_with_its_reason() -> None:
    out = io.StringIO()
    engines.show([HEARS, SPEAKS, GONE], Console(file=out, width=160))
    told = out.getvalue()
    assert "moonshine tiny" in told
    assert "2.1%" in told
    assert "llm:ollama was not measured: It is down. Start it." in told
    assert "whisper heard" in told


def test_an_engine_that_kills_its_process_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    seen: list[dict[str, Any]] = []
    (entry,) = engines.measure_engines([("vad", "silero", "")], 1, seen.append)
    assert seen == [entry]
    assert entry["error"] == "Its process ended with code 1."
    assert entry["fix"]


def test_it_is_drawn(tmp_path: Path) -> None:
    thinks = {**HEARS, "task": "llm", "engine": "embedded", "wer": None, "tokens_per_s": 40.0}
    plots.engines({"engines": [HEARS, SPEAKS, thinks, GONE]}, tmp_path / "engines.svg")
    drawn = (tmp_path / "engines.svg").read_text("utf-8")
    assert all(name in drawn for name in ("moonshine tiny", "hibari", "40 tokens/s", "WER 2.1%"))
    with pytest.raises(PlotError, match="nothing to draw"):
        plots.engines({"engines": [GONE]}, tmp_path / "none.svg")
