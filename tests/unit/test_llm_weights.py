"""What the embedded model expects next, and the file that is made fast for it."""

from __future__ import annotations

import logging
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from chinwag.engines.llm import requantize
from chinwag.engines.llm.endings import sentence_end, turn_end
from chinwag.engines.llm.requantize import SUFFIX, fast_file

pytestmark = pytest.mark.unit


def likeliest(*pairs: tuple[str, float]) -> list[dict[str, object]]:
    return [{"token": token, "logprob": math.log(chance)} for token, chance in pairs]


@pytest.mark.parametrize(
    ("pairs", "chance", "mark"),
    [
        ([(".", 0.5), ("?", 0.25), ("!", 0.125), (" and", 0.125)], 0.875, "."),
        ([("", 0.9), (" to", 0.1)], 0.9, ""),  # the end of the turn has no text
        ([("", 0.6), ("?", 0.2)], 0.8, "?"),
        ([(" .", 0.25), ("?\n", 0.5), ("...", 0.125)], 0.875, "?"),
        ([(" to", 0.6), (",", 0.3), (" .5", 0.0001)], 0.0001, "."),
        ([("a.", 0.9), ("'?", 0.1)], 0.0, ""),
        ([(".", 0.7), ("", 0.7)], 1.0, "."),  # rounding never makes it more than certain
        ([], 0.0, ""),
    ],
)
def test_the_sense_is_what_is_given_to_the_end_of_the_sentence(
    pairs: list[tuple[str, float]], chance: float, mark: str
) -> None:
    found, end = sentence_end(likeliest(*pairs))
    assert found == pytest.approx(chance)
    assert end == mark


def test_the_turn_ends_where_no_text_follows_the_sentence() -> None:
    assert turn_end(likeliest(("", 0.25), (" What", 0.5), ("\n", 0.125), ("", 0.125))) == pytest.approx(0.5)
    assert turn_end(likeliest((" What", 1.0))) == 0.0


# --- a faster file ------------------------------------------------------------------------------------------------


def make(path: Path, kind: Kind = Kind.Q5_0) -> dict[str, np.ndarray]:
    """A model's file of three layers; what is in them."""
    random = np.random.default_rng(0)
    layers = {
        "blk.0.attn_q.weight": random.normal(size=(8, 64)).astype(np.float32),
        "blk.0.ffn_down.weight": random.normal(size=(4, 256)).astype(np.float32),
        "blk.0.attn_norm.weight": random.normal(size=(64,)).astype(np.float32),
        "token_embd.weight": random.normal(size=(16, 64)).astype(np.float32),
    }
    kinds = {
        "blk.0.attn_q.weight": kind,
        "blk.0.ffn_down.weight": Kind.Q8_0,
        "blk.0.attn_norm.weight": Kind.F32,
        "token_embd.weight": kind,
    }
    writer = GGUFWriter(path, "qwen2")
    writer.add_uint32("qwen2.block_count", 1)
    writer.add_string("general.name", "tiny")
    writer.add_array("tokenizer.ggml.tokens", ["<unk>", "héllo", "wörld"])
    writer.add_array("tokenizer.ggml.token_type", [2, 1, 1])
    writer.add_float32("qwen2.rope.freq_base", 1e6)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    for name, values in layers.items():
        data = quantize(values, kinds[name]) if kinds[name] is not Kind.F32 else values
        writer.add_tensor(name, data, raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return layers


def values(path: Path) -> dict[str, object]:
    return {name: field.contents() for name, field in GGUFReader(path).fields.items() if not name.startswith("GGUF.")}


def test_the_layers_become_fast_ones_and_all_else_stays(tmp_path: Path) -> None:
    source = tmp_path / "tiny.gguf"
    layers = make(source)
    before = source.read_bytes()
    made = fast_file(source)
    assert made == tmp_path / f"tiny{SUFFIX}"
    assert source.read_bytes() == before
    assert values(made) == values(source)
    old = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    new = {tensor.name: tensor for tensor in GGUFReader(made).tensors}
    assert list(new) == list(old)
    kinds = {name: tensor.tensor_type for name, tensor in new.items()}
    assert kinds == {
        "blk.0.attn_q.weight": Kind.Q4_0,
        "blk.0.ffn_down.weight": Kind.Q4_0,
        "blk.0.attn_norm.weight": Kind.F32,
        "token_embd.weight": Kind.Q5_0,
    }
    for name, tensor in new.items():
        assert tensor.shape.tolist() == old[name].shape.tolist()
        if tensor.tensor_type is old[name].tensor_type:
            np.testing.assert_array_equal(tensor.data, old[name].data)
        else:
            found = dequantize(tensor.data, Kind.Q4_0).reshape(layers[name].shape)
            error = np.sqrt(np.mean((found - layers[name]) ** 2)) / layers[name].std()
            assert error < 0.15, "four bits of it are left"


def test_it_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "tiny.gguf"
    make(source)
    made = fast_file(source)
    stamp = os.stat(made).st_mtime_ns
    source.unlink()
    assert fast_file(source) == made
    assert os.stat(made).st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [made], "nothing half made is left"


@pytest.mark.parametrize("how", ["nothing to gain", "damaged", "missing", "no room", "too slow", "no program"])
def test_where_it_cannot_be_made_the_model_stays_as_it_was(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "tiny.gguf"
    expected = {
        "nothing to gain": "has no Q5_0 layers",
        "damaged": "",
        "missing": "No such file",
        "no room": "directory",
        "too slow": "timed out",
        "no program": "No such file",
    }[how]
    make(source, Kind.Q8_0 if how == "nothing to gain" else Kind.Q5_0)
    match how:
        case "damaged":
            source.write_bytes(source.read_bytes()[:300])
        case "missing":
            source.unlink()
        case "no room":
            (tmp_path / f"tiny{SUFFIX}").mkdir()
        case "too slow":
            monkeypatch.setattr(requantize, "WITHIN_S", 0.001)
        case "no program":
            monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with caplog.at_level(logging.WARNING):
        assert fast_file(source) == source
    assert "stays as it was fetched" in caplog.text
    assert expected in caplog.text
    assert not [path for path in tmp_path.iterdir() if path.is_file() and path != source], "nothing half made is left"


def test_a_file_that_breaks_off_while_it_is_made_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "tiny.gguf", tmp_path / f"tiny{SUFFIX}"
    make(source)

    def breaks(self: GGUFWriter, *args: object, **options: object) -> None:
        assert list(tmp_path.glob("*.part")), "it is written beside its place"
        assert not target.exists()
        raise OSError("disk full")

    monkeypatch.setattr(GGUFWriter, "write_tensors_to_file", breaks)
    with pytest.raises(OSError, match="disk full"):
        requantize.requantize(source, target)
    assert list(tmp_path.iterdir()) == [source]
