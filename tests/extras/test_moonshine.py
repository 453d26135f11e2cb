"""Moonshine base, quantised once: the words that it wrote before, in a fraction of the time, which is printed."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import pytest
from engines.contract import loaded, options, speech, words

from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt import moonshine
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

FILES = ("src/chinwag/engines/stt/moonshine.py",)

WEIGHTS = ("moonshine-base-en",)

BASE = SttSettings(model="moonshine-base-en")
SENTENCES = (
    "What is the capital of France?",
    "I would like a cup of tea and two slices of bread.",
    "My name is Tom and I live in Berlin, where I work as a teacher.",
)
SHIPPED = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")


async def copied(to: Path) -> EngineOptions:
    """The shipped files alone."""
    known = (await options(Moonshine, BASE)).weights["moonshine-base-en"]
    for name in SHIPPED:
        shutil.copy(known / name, to)
    return EngineOptions(BASE, {"moonshine-base-en": to})


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def heard(engine: Moonshine, text: str) -> tuple[list[str], float]:
    """Its words, and how many ms they took. The marks between them hang on the processor's last bits."""
    began = time.perf_counter()
    *_, found = engine.decode(speech(text).pcm)
    return words(engine.text_of(found)), (time.perf_counter() - began) * 1e3


async def test_it_writes_what_it_wrote_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = await copied(tmp_path)
    quick = Moonshine.load(wanted)
    made = [tmp_path / f"{part}.int8.onnx" for part in ("encoder_model", "decoder_model_merged")]
    dates = [path.stat().st_mtime_ns for path in made]
    assert files(tmp_path) == {*SHIPPED, *(path.name for path in made)}, "nothing else is left behind"
    await Moonshine.load(wanted).close()
    assert [path.stat().st_mtime_ns for path in made] == dates, "once"
    monkeypatch.setattr(moonshine, "SHIPPED_SLOW", ())
    shipped = Moonshine.load(wanted)
    for text in SENTENCES:
        (now, ms), (before, before_ms) = heard(quick, text), heard(shipped, text)
        print(f"{speech(text).seconds:.1f} s of speech: {ms:.0f} ms, as shipped {before_ms:.0f} ms")
        assert now == before
    await quick.close()
    await shipped.close()
    async with loaded(Moonshine, BASE) as stt:
        utterance = stt.open("en")
        utterance.push(speech(SENTENCES[2]))
        assert words((await utterance.finish()).text) == words(SENTENCES[2])


async def test_without_onnx_it_is_slow_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "onnx.py").write_text('raise ImportError("No module named onnx")', "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wanted = await copied(tmp_path / "there")
    with caplog.at_level(logging.WARNING):
        await Moonshine.load(wanted).close()
    assert "pip install 'chinwag[moonshine]'" in caplog.text


async def test_what_cannot_be_quantised_is_told(tmp_path: Path) -> None:
    wanted = await copied(tmp_path)
    (tmp_path / "encoder_model.ort").write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=r"could not be quantised.*no model in onnxruntime's format.*models verify"):
        Moonshine.load(wanted)
    assert files(tmp_path) == set(SHIPPED)
