"""What the server and the engines that run as its children take of the machine."""

from __future__ import annotations

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
