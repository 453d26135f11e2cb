"""What the server and the engines that run as its children take of the machine."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

import psutil


def resource_usage() -> dict[str, float]:
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


def freeze_startup_objects() -> None:
    """Have the garbage collector pass over all that is there by now: the engines, and their libraries. Takes 0.1 s.

    A conversation that has ended is a ring of objects around megabytes of sound, which only a full collection finds.
    With those 180 000 objects one takes 130 ms, in which nobody is heard; without them 2.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # Python puts the next off by how many there were at the last


def release_freed_memory() -> None:
    """Return to the system what glibc keeps of freed memory between pieces in use; elsewhere nothing. Takes 1.4 ms."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
