"""Engines are found by name, and each has what its protocol asks for."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from chinwag.config import Config
from chinwag.engines import protocols, registry
from chinwag.engines.protocols import TASKS, Task
from chinwag.errors import EngineError

pytestmark = pytest.mark.unit

PROTOCOLS = {
    "vad": protocols.Vad,
    "turn": protocols.TurnJudge,
    "stt": protocols.Transcriber,
    "llm": protocols.ChatModel,
    "tts": protocols.Voice,
}
ALL: list[tuple[Task, str]] = [(task, name) for task in TASKS for name in registry.names(task)]


def test_the_engines_that_come_with_chinwag_are_there() -> None:
    assert set(ALL) >= {
        ("vad", "silero"),
        ("turn", "smart-turn"),
        ("stt", "moonshine"),
        ("llm", "embedded"),
        ("llm", "ollama"),
        ("llm", "openai"),
        ("tts", "hibari"),
        ("tts", "kokoro"),
        ("tts", "openai"),
    }


@pytest.mark.parametrize(("task", "name"), ALL)
def test_each_has_its_name_and_its_protocols_methods(task: Task, name: str) -> None:
    engine = registry.lookup(task, name)
    assert engine.name == name
    for method, wanted in inspect.getmembers(PROTOCOLS[task], inspect.isfunction):
        if method.startswith("_"):
            continue
        made = getattr(engine, method)
        assert list(inspect.signature(made).parameters) == list(inspect.signature(wanted).parameters), method
        assert inspect.getdoc(made), method


@pytest.mark.parametrize(("task", "name"), ALL)
def test_what_each_needs_is_in_the_catalog(task: Task, name: str) -> None:
    from chinwag.weights.catalog import Catalog

    needed = registry.lookup(task, name).needs(getattr(Config(), task))
    assert set(needed) <= set(Catalog().models)


def test_finding_an_engine_loads_no_model_runtime() -> None:
    """In a process of its own: others may have been imported here."""
    code = (
        "import sys\n"
        "from chinwag.engines import registry\n"
        "for task in registry.TASKS:\n"
        "    for name in registry.names(task): registry.lookup(task, name)\n"
        "heavy = {'onnxruntime', 'xllamacpp', 'hibari', 'ollama', 'openai', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(EngineError, match=r"no tts engine called hibary\. Did you mean hibari\?") as failure:
        registry.find("tts", "hibary")
    assert failure.value.engine == "hibary"
    with pytest.raises(EngineError, match=r"There are: .*moonshine"):
        registry.find("stt", "zzz")


def test_an_engine_that_cannot_be_imported_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("parrot", "no_such_module_anywhere:Parrot", "chinwag.tts")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(EngineError, match=r"parrot cannot be imported: .*pip install"):
        registry.find("tts", "parrot")
