"""What the server and the engines that run as its children take of the machine."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import psutil


def usage() -> dict[str, float]:
    """Memory and processor time of the server and of the engines that run as its children."""
    memory, seconds = 0, 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                seconds += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return {"rss_mb": round(memory / 1e6, 1), "cpu_seconds": round(seconds, 2)}


def give_back() -> None:
    """Return to the system what glibc holds of freed memory between pieces in use; elsewhere nothing. Takes some ms."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
