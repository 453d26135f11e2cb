"""How the extras' tests are found, and what is said of them; `make test-extras` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_extras as script

pytestmark = pytest.mark.unit


def written(folder: Path, name: str, text: str) -> None:
    (folder / f"test_{name}.py").write_text(text, "utf-8")


def test_constants_are_read_and_nothing_is_imported(tmp_path: Path) -> None:
    written(tmp_path, "whisper", 'import is_not_there\nWEIGHTS = ("whisper-base",)\n')
    written(tmp_path, "coqui", "raise SystemExit\nTORCH = True\n")
    (tmp_path / "helper.py").write_text("", "utf-8")
    found = script.discover(tmp_path)
    assert list(found) == ["coqui", "whisper"]
    assert found["whisper"] == script.Extra("whisper", tmp_path / "test_whisper.py", ("whisper-base",))
    assert found["coqui"].torch
    written(tmp_path, "piper", 'CONTRACT = ("tts:piper",)\n')
    assert script.discover(tmp_path)["piper"].contract == ("tts:piper",)
    written(tmp_path, "sherpa", 'NEEDS = ("onnx",)\n')
    assert script.discover(tmp_path)["sherpa"].needs == ("onnx",)


def test_an_extra_may_leave_pins_out(tmp_path: Path) -> None:
    written(tmp_path, "realtimestt", 'FREE = ("websockets",)\n')
    assert script.discover(tmp_path)["realtimestt"].free == ("websockets",)
    numpy = "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00==\n"
    pins = f"# Made\n{numpy}websockets==17.4 \\\n    --hash=x\n"
    assert script.without(pins, ("websockets",)) == "numpy==2.4.6 ; python_full_version < '3.12'\n"
    assert "websockets==17.4\n" in script.without(pins, ())


def test_torch_is_asked_for_or_named(tmp_path: Path) -> None:
    written(tmp_path, "coqui", "TORCH = True\n")
    written(tmp_path, "piper", "")
    found = script.discover(tmp_path)
    assert [extra.name for extra in script.chosen(found, [], torch=False)] == ["piper"]
    assert [extra.name for extra in script.chosen(found, [], torch=True)] == ["coqui", "piper"]
    assert [extra.name for extra in script.chosen(found, ["coqui"], torch=False)] == ["coqui"]
    line = script.closing(found, {"piper": "FAILED (pip check) in 3 s"})
    assert line == "Extras: coqui not run, needs torch (TORCH=1); piper FAILED (pip check) in 3 s."


def test_there_are_three_environments_and_the_files_of_each_extra_exist() -> None:
    found = script.discover(script.TESTS)
    assert {extra.environment for extra in found.values()} == {"engines", "torch", "cluster"}
    for extra in found.values():
        for pattern in extra.files:
            assert list(script.ROOT.glob(pattern)), f"{extra.tests.name}: no file is {pattern}"
    for pattern in script.SHARED:
        assert list(script.ROOT.glob(pattern)), pattern


def test_the_extras_whose_files_changed_are_chosen_and_all_where_it_is_unknown() -> None:
    found = [extra for extra in script.discover(script.TESTS).values() if extra.environment == "engines"]

    def names(paths: list[str] | None) -> list[str]:
        return [extra.name for extra in script.affected(found, paths)]

    every = [extra.name for extra in found]
    assert names(None) == names(["pyproject.toml"]) == names(["src/chinwag/engines/protocols.py"]) == every
    assert names(["src/chinwag/engines/tts/piper.py", "docs/tools.md"]) == ["piper"]
    assert names(["tests/extras/test_sherpa.py"]) == ["sherpa"]
    assert names(["src/chinwag/engines/llm/ollama.py"]) == []


def test_every_file_is_for_an_extra_and_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["nothing"]) == 2
    assert "There is no tests/extras/test_nothing.py" in capsys.readouterr().err


def test_a_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written(tmp_path, "bench", "")
    monkeypatch.setattr(script, "TESTS", tmp_path)

    def fails(*_: object) -> Path:
        raise script.Failed("pip check")

    monkeypatch.setattr(script, "make_environment", fails)
    assert script.main([]) == 1
    monkeypatch.setattr(script, "make_environment", lambda place, extras: place)
    monkeypatch.setattr(script, "test", lambda extra, python: None)
    assert script.main([]) == 0
    monkeypatch.setattr(script, "test", fails)
    assert script.main([]) == 1
