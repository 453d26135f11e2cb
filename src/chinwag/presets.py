"""Presets: engines chosen together by the machine's resources. Every setting made by hand overrides them."""

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

LARGE_CORES, LARGE_MEMORY = 4, 6 * 2**30
"""Least resources for Kokoro (0.44 to 0.82 of real time on two cores, docs/engines/speaking.md) and for the larger
embedded model (half the speed of the small one, 2 GB) beside the other engines."""

PROBE_S = 5.0


@dataclass(frozen=True)
class MachineResources:
    """Resources of a machine. memory: total bytes. cuda: number of NVIDIA devices that the driver lists."""

    cores: int
    memory: int
    cuda: int

    def __str__(self) -> str:
        devices = f"{self.cuda} CUDA device{'s' * (self.cuda > 1)}" if self.cuda else "no CUDA device"
        return f"{self.cores} cores, {self.memory / 2**30:.0f} GiB of memory, {devices}"

    @classmethod
    def detect(cls) -> MachineResources:
        """Measure this machine."""
        return cls(os.cpu_count() or 1, psutil.virtual_memory().total, _cuda_devices())


def preset_tables(name: Name, machine: MachineResources, *, english: bool = True) -> Tables:
    """Return the settings of a preset by section. english: the sessions are in English only.

    Raises ConfigError if the machine lacks what the preset needs.
    """
    tables = _PRESETS[name](machine)
    if english or name == "gpu":
        return tables
    return {**tables, "stt": {"engine": "whisper"}, "tts": {"engine": "kokoro"}}


def without_overridden(preset: Tables, *set_by_hand: Mapping[str, Any]) -> Tables:
    """Drop the preset's sections whose engine is set to another one by hand."""

    def engine(section: str) -> Any:
        engines = [tables[section].get("engine") for tables in set_by_hand if isinstance(tables.get(section), Mapping)]
        return next((name for name in engines if name is not None), None)

    return {section: values for section, values in preset.items() if engine(section) in (None, values["engine"])}


def _fast(machine: MachineResources) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-tiny-en"},
        "llm": {"engine": "embedded", "model": SMALL_LLM},
        "tts": {"engine": "hibari"},
    }


def _balanced(machine: MachineResources) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-tiny-en"},
        "llm": {"engine": "auto"},
        "tts": {"engine": "kokoro" if _is_large(machine) else "hibari"},
    }


def _quality(machine: MachineResources) -> Tables:
    return {
        "stt": {"engine": "moonshine", "model": "moonshine-base-en"},
        "llm": {"engine": "embedded", "model": LARGER_LLM} if _is_large(machine) else {"engine": "auto"},
        "tts": {"engine": "kokoro"},
    }


def _gpu(machine: MachineResources) -> Tables:
    if not machine.cuda:
        raise ConfigError(
            f"The preset gpu needs a CUDA device. This machine has {machine}.",
            "Use --preset quality, or install NVIDIA's driver: `nvidia-smi -L` must list the device.",
        )
    return {
        "stt": {"engine": "whisper", "model": "large-v3-turbo", "device": "cuda"},
        "llm": {"engine": "ollama"},
        "tts": {"engine": "kokoro"},
    }


_PRESETS: Mapping[Name, Callable[[MachineResources], Tables]] = {
    "fast": _fast, "balanced": _balanced, "quality": _quality, "gpu": _gpu,
}  # fmt: skip


def _is_large(machine: MachineResources) -> bool:
    return machine.cores >= LARGE_CORES and machine.memory >= LARGE_MEMORY


def _cuda_devices() -> int:
    """Count the devices that the driver's own tool lists, which needs no CUDA library."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines()) if listing.returncode == 0 else 0
