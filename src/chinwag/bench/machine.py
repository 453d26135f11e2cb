"""What machine this is."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TypedDict

import psutil


class MachineDescription(TypedDict):
    """cores: those this process may use. memory: bytes."""

    cpu: str
    cores: int
    memory: int
    os: str
    python: str


def describe_machine() -> MachineDescription:
    """Describe this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return MachineDescription(
        cpu=_cpu(),
        cores=usable,
        memory=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "Apple"
    return platform.processor() or platform.machine()
