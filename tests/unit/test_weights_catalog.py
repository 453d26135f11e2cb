from __future__ import annotations

import pytest
from weights_fakes import catalog_text, content, sha256

from chinwag.errors import WeightsError
from chinwag.weights import Catalog, Progress

pytestmark = pytest.mark.unit

DEFAULTS = ("silero-vad", "smart-turn", "moonshine-tiny-en", "qwen2.5-coder-0.5b")


def test_the_catalog_that_is_shipped_is_well_formed() -> None:
    catalog = Catalog()
    others = {"qwen2.5-coder-1.5b", "smollm2-135m", "kokoro", "kokoro-voices", "piper-joe", "moonshine-base-en"}
    whispers = {"whisper-base", "whisper-small", "whisper-large-v3-turbo"}
    assert {*DEFAULTS, *others, *whispers} == set(catalog.models)
    for model in catalog.models.values():
        assert model.size == sum(file.size for file in model.files)
        assert model.licence in {"MIT", "BSD-2-Clause", "Apache-2.0", "CC0-1.0"}
        for file in model.files:
            assert file.has("index") or file.has("hub")
            if file.pieces:
                assert file.pieces[0].offset == 0
                assert file.pieces[-1].offset + file.pieces[-1].size == file.size


def test_the_models_that_were_compared_with_their_makers_files_have_those_hashes() -> None:
    """From shared measurements; a slip of the generator that wrote the catalog would show here."""
    hashes = {
        "qwen2.5-coder-0.5b": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "qwen2.5-coder-1.5b": "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "kokoro": "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        "smart-turn": "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
    }
    catalog = Catalog()
    assert {name: catalog.model(name).files[0].sha256 for name in hashes} == hashes
    voices = {file.name: file.sha256 for file in catalog.model("kokoro-voices").files}
    assert voices["af_heart.bin"] == "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b"
    assert len(voices) == 54


@pytest.mark.parametrize(("typo", "meant"), [("silero", "silero-vad"), ("qwen-0.5b", "qwen2.5-coder-0.5b")])
def test_a_typo_is_told_with_the_nearest_name(typo: str, meant: str) -> None:
    with pytest.raises(WeightsError, match="no model called") as told:
        Catalog().model(typo)
    assert told.value.fix == f"Did you mean {meant}?"


def test_a_name_like_none_is_told_with_all() -> None:
    with pytest.raises(WeightsError) as told:
        Catalog().model("xyzzy")
    assert "silero-vad" in told.value.fix


DATA = content(100)
FILE = {"name": "a.bin", "size": 100, "sha256": sha256(DATA)}
ARCHIVE = {"requirement": "a==1.0", "bytes": 10}
PART = {"requirement": "a==1.0", "member": "a/a.bin"}
HALF = {**PART, "size": 50, "sha256": sha256(DATA)}


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"files": [FILE]}, "has no source"),
        ({"files": [{**FILE, "index": [PART]}]}, "archives are not those"),
        ({"archives": [ARCHIVE], "files": [{**FILE, "index": [PART, PART]}]}, "needs its size and sha256"),
        (
            {"archives": [ARCHIVE], "files": [{**FILE, "index": [HALF, {**HALF, "size": 49}]}]},
            "do not add up to 100",
        ),
        ({"archives": [{**ARCHIVE, "sdist": True}], "files": [{**FILE, "index": [PART]}]}, "sha256"),
        ({"archives": [ARCHIVE], "files": [{**FILE, "index": [PART], "color": "red"}]}, "color"),
        ({"archives": [ARCHIVE], "files": [{**FILE, "name": "../a", "index": [PART]}]}, "name"),
        ({"archives": [ARCHIVE], "files": [{**FILE, "index": [PART]}], "task": "cook"}, "task"),
    ],
)
def test_a_catalog_with_a_fault_is_refused(model: dict[str, object], complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint):
        Catalog(catalog_text({"name": "m", **model}))


def test_progress_counts_what_comes_and_how_fast() -> None:
    now = 0.0
    progress = Progress(clock=lambda: now)
    progress.set_file("m/a", 40, 100)
    progress.set_file("m/b", 0, 300)
    assert progress.as_dict() == {
        "done": 40,
        "total": 400,
        "bytes_per_s": 0.0,
        "seconds_left": None,
        "files": [{"name": "m/a", "done": 40, "total": 100}, {"name": "m/b", "done": 0, "total": 300}],
    }
    progress.receive("m/a", 0)
    progress.receive("m/a", 10)
    now = 2.0
    progress.receive("m/b", 50)
    assert progress.bytes_per_s == 30.0
    assert progress.seconds_left == 300 / 30
    progress.receive("m/b", -50)  # its source began again: that takes nothing off the rate
    assert (progress.done, progress.bytes_per_s) == (50, 30.0)
    now = 20.0
    assert progress.bytes_per_s == 0.0
    assert progress.seconds_left is None
    progress.finish("m/a")
    progress.finish("m/b")
    assert progress.seconds_left == 0.0
