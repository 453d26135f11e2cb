"""Presets: what they choose on which machine, and that they stand under everything that is set by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chinwag import config, presets
from chinwag.engines import registry
from chinwag.errors import ConfigError
from chinwag.presets import MachineResources
from chinwag.weights import Catalog

pytestmark = pytest.mark.unit

SMALL, ROOMY = MachineResources(2, 4 * 2**30, 0), MachineResources(8, 16 * 2**30, 0)
GPU = MachineResources(16, 64 * 2**30, 1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder on a small machine."""
    for name in [name for name in os.environ if name.upper().startswith("CHINWAG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    on(monkeypatch, SMALL)


def on(monkeypatch: pytest.MonkeyPatch, machine: MachineResources) -> None:
    monkeypatch.setattr(MachineResources, "detect", classmethod(lambda cls: machine))


def chosen(settings: config.Config) -> tuple[str, ...]:
    return tuple(f"{one.engine}:{one.model}" for one in (settings.stt, settings.llm, settings.tts))


CHOICES = {
    ("fast", SMALL): ("moonshine:moonshine-tiny-en", "embedded:qwen2.5-coder-0.5b", "hibari:"),
    ("fast", ROOMY): ("moonshine:moonshine-tiny-en", "embedded:qwen2.5-coder-0.5b", "hibari:"),
    ("balanced", SMALL): ("moonshine:moonshine-tiny-en", "auto:", "hibari:"),
    ("balanced", ROOMY): ("moonshine:moonshine-tiny-en", "auto:", "kokoro:"),
    ("quality", SMALL): ("moonshine:moonshine-base-en", "auto:", "kokoro:"),
    ("quality", ROOMY): ("moonshine:moonshine-base-en", "embedded:qwen2.5-coder-1.5b", "kokoro:"),
    ("gpu", GPU): ("whisper:large-v3-turbo", "ollama:", "kokoro:"),
}


@pytest.mark.parametrize(("name", "machine"), CHOICES)
def test_what_a_preset_chooses(name: presets.Name, machine: MachineResources, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, machine)
    settings = config.load(preset=name)
    assert chosen(settings) == CHOICES[name, machine]
    assert settings.preset == name
    known = Catalog().models
    for task in ("stt", "llm", "tts"):
        section = getattr(settings, task)
        if section.engine != "auto":
            assert all(weights in known for weights in registry.lookup(task, section.engine).needs(section))


def test_without_a_preset_nothing_is_chosen() -> None:
    assert chosen(config.load()) == ("moonshine:", "auto:", "hibari:")


def test_where_another_language_is_spoken_engines_that_can_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(config.load(flags={"stt": {"language": "en-GB"}}, preset="fast"))[0].startswith("moonshine")
    Path("chinwag.toml").write_text('preset = "fast"\n[stt]\nlanguage = "es"\n')
    assert chosen(config.load()) == ("whisper:", "embedded:qwen2.5-coder-0.5b", "kokoro:")
    monkeypatch.setenv("CHINWAG_STT__LANGUAGE", "en")
    assert chosen(config.load())[0].startswith("moonshine")
    assert chosen(config.load(flags={"stt": {"language": "auto"}}))[0] == "whisper:"


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("chinwag.toml").write_text('preset = "balanced"\n')
    assert config.load().preset == "balanced"
    monkeypatch.setenv("CHINWAG_PRESET", "quality")
    assert config.load().preset == "quality"
    assert config.load(preset="fast").preset == "fast"


@pytest.mark.parametrize("where", ["file", "environment", "flag"])
def test_an_engine_set_by_hand_takes_nothing_of_the_presets(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {}
    if where == "file":
        Path("chinwag.toml").write_text('[stt]\nengine = "whisper"\n')
    elif where == "environment":
        monkeypatch.setenv("chinwag_stt__engine", "whisper")
    else:
        flags = {"stt": {"engine": "whisper"}}
    assert chosen(config.load(flags=flags, preset="fast")) == ("whisper:", "embedded:qwen2.5-coder-0.5b", "hibari:")


def test_a_key_set_by_hand_stays_beside_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("chinwag.toml").write_text('[llm]\ntemperature = 0.1\nmodel = "smollm2-135m"\n[tts]\nspeed = 1.2\n')
    settings = config.load(preset="fast")
    assert (settings.llm.engine, settings.llm.model, settings.llm.temperature) == ("embedded", "smollm2-135m", 0.1)
    assert settings.tts.speed == 1.2


def test_a_machine_without_a_device_is_told() -> None:
    with pytest.raises(
        ConfigError, match=r"preset gpu needs a CUDA device. This machine has 2 cores, 4 GiB .* no CUDA"
    ):
        config.load(preset="gpu")


def test_a_preset_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"There is no preset quick\. There are: fast, balanced, quality, gpu\."):
        config.load(preset="quick")
    monkeypatch.setenv("CHINWAG_PRESET", "quick")
    with pytest.raises(ConfigError, match="preset = 'quick' cannot be used"):
        config.load()


@pytest.mark.parametrize(
    ("told", "devices"),
    [("echo 'GPU 0: NVIDIA H100 (UUID: x)'; echo 'GPU 1: NVIDIA H100 (UUID: y)'", 2), ("echo No devices; exit 9", 0)],
)
def test_devices_are_those_the_driver_lists(
    told: str, devices: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{told}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert presets._cuda_devices() == devices
    monkeypatch.setenv("PATH", "")
    assert presets._cuda_devices() == 0
