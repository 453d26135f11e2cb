"""`python -m benchmarks engines` with real engines, each in its process."""

from __future__ import annotations

import pytest

from benchmarks import engines

pytestmark = pytest.mark.engines


def test_a_model_and_an_engine_without_its_server_are_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    thinks, gone = engines.measure_engines([("llm", "embedded", ""), ("llm", "ollama", "")], 1, lambda entry: None)
    assert "error" not in thinks, thinks
    assert thinks["model"] == "qwen2.5-coder-0.5b"
    assert 0 < thinks["first_ms"] <= thinks["first_p95_ms"]
    assert thinks["prefilled_ms"] < thinks["first_ms"]
    assert thinks["tokens_per_s"] > 1
    assert thinks["memory_mb"] > 200
    assert {"chinwag", "xllamacpp"} <= set(engines.versions([("llm", "embedded", "")]))
    assert "does not answer at" in gone["error"]
    assert gone["fix"]
