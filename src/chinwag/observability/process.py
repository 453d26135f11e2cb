"""Memory and CPU usage of the server process, and its garbage collection."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

import psutil


def resource_usage() -> dict[str, float]:
    """Return the memory and CPU time of the server and its child processes (engines)."""
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


def freeze_startup_objects() -> None:
    """Exclude all present objects (engines and libraries) from garbage collection. Takes 0.1 s.

    An ended session is a reference cycle around megabytes of audio, which only a full collection frees. A collection
    blocks the event loop for 130 ms with these 180 000 objects, and for 2 ms without them.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # Python schedules the next full collection by the object count of the last one


def release_freed_memory() -> None:
    """Return freed memory that glibc retains to the system; without glibc do nothing. Takes 1.4 ms."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
