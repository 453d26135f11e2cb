"""Presets: engines chosen together, by what the machine has. They stand under everything that is set by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import psutil

from chinwag.errors import ConfigError

Name = Literal["fast", "balanced", "quality", "gpu"]
NAMES: tuple[Name, ...] = get_args(Name)
Tables = dict[str, dict[str, Any]]

SMALL_LLM, LARGER_LLM = "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"

ROOMY_CORES, ROOMY_MEMORY = 4, 6 * 2**30
"""From here on there is room for Kokoro (0.44 to 0.82 of real time on two cores, docs/engines/speaking.md) and for the
larger embedded model (half the speed of the small one, and 2 GB) beside the other engines."""

PROBE_S = 5.0


@dataclass(frozen=True)
class Machine:
    """What engines can have. memory: bytes in all. cuda: NVIDIA devices that the driver lists."""

    cores: int
    memory: int
    cuda: int

    def __str__(self) -> str:
        devices = f"{self.cuda} CUDA device{'s' * (self.cuda > 1)}" if self.cuda else "no CUDA device"
        return f"{self.cores} cores, {self.memory / 2**30:.0f} GiB of memory, {devices}"

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(os.cpu_count() or 1, psutil.virtual_memory().total, _cuda_devices())


def tables(name: Name, machine: Machine, *, english: bool = True) -> Tables:
    """The settings that a preset stands for. english: nothing else is spoken.

    Raises ConfigError where the machine cannot do it.
    """
    made = _MADE[name](machine)
    if english or name == "gpu":
        return made
    return {**made, "stt": {"engine": "whisper"}, "tts": {"engine": "kokoro"}}


def under(preset: Tables, *set_by_hand: Mapping[str, Any]) -> Tables:
    """What of a preset is left: where somebody sets a section's engine, nothing of the preset's belongs to it."""

    def engine(section: str) -> Any:
        found = [tables[section].get("engine") for tables in set_by_hand if isinstance(tables.get(section), Mapping)]
        return next((one for one in found if one is not None), None)

    return {section: values for section, values in preset.items() if engine(section) in (None, values["engine"])}


def _fast(machine: Machine) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-tiny-en"},
        "llm": {"engine": "embedded", "model": SMALL_LLM},
        "tts": {"engine": "hibari"},
    }


def _balanced(machine: Machine) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-tiny-en"},
        "llm": {"engine": "auto"},
        "tts": {"engine": "kokoro" if _roomy(machine) else "hibari"},
    }


def _quality(machine: Machine) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-base-en"},
        "llm": {"engine": "embedded", "model": LARGER_LLM} if _roomy(machine) else {"engine": "auto"},
        "tts": {"engine": "kokoro"},
    }


def _gpu(machine: Machine) -> Tables:
    if not machine.cuda:
        raise ConfigError(
            f"The preset gpu needs a CUDA device, and this machine has {machine}.",
            "Use --preset quality, or install NVIDIA's driver: `nvidia-smi -L` must list the device.",
        )
    return {
        "stt": {"engine": "whisper", "model": "large-v3-turbo", "device": "cuda"},
        "llm": {"engine": "ollama"},
        "tts": {"engine": "kokoro"},
    }


_MADE: Mapping[Name, Callable[[Machine], Tables]] = {
    "fast": _fast, "balanced": _balanced, "quality": _quality, "gpu": _gpu,
}  # fmt: skip


def _roomy(machine: Machine) -> bool:
    return machine.cores >= ROOMY_CORES and machine.memory >= ROOMY_MEMORY


def _cuda_devices() -> int:
    """As the driver's own tool lists them; no library has to be loaded for it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        told = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in told.stdout.splitlines()) if told.returncode == 0 else 0
