"""chinwag[bench]: plots, drawn of the figures of a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.plots import timeline
from chinwag.bench import plots

pytestmark = pytest.mark.engines

FILES = ("src/chinwag/bench/*.py",)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", plots.FORMATS)
def test_a_recorded_conversation_is_drawn(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"timeline{kind}"
    plots.check(path)
    timeline(json.loads((ROOT / "docs" / "conversation.json").read_text("utf-8")), path)
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert path.read_bytes().startswith(begins[kind])
    assert path.stat().st_size > 10_000
