"""Progress of a download: bytes received, per file and in total."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RATE_WINDOW_S = 5.0


@dataclass
class FileProgress:
    """Bytes received of one file, and the bytes that its source sends for it. Compressed bytes count as sent."""

    name: str
    done: float
    total: int


class Progress:
    """Progress of one pull; its threads update it, and any thread may read it.

    say: called with each message for a person, such as that a source is skipped; `lines` contains all messages.
    """

    def __init__(self, say: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.lines: list[str] = []
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, FileProgress] = {}
        self._received = 0.0
        self._samples: deque[tuple[float, float]] = deque()

    def set_file(self, name: str, done: float, total: int) -> None:
        """Set a file's numbers without counting them as received: a plan, or bytes of an earlier pull."""
        with self._lock:
            self._files[name] = FileProgress(name, done, total)

    def receive(self, name: str, bytes_: float) -> None:
        """Count received bytes of a file; negative if a source started again."""
        with self._lock:
            file = self._files[name]
            file.done = min(max(file.done + bytes_, 0), file.total)
            if bytes_ <= 0:
                return
            self._received += bytes_
            now = self._clock()
            if not self._samples:
                self._samples.append((now, self._received - bytes_))
            self._samples.append((now, self._received))
            while now - self._samples[0][0] > RATE_WINDOW_S and len(self._samples) > 2:
                self._samples.popleft()

    def finish(self, name: str) -> None:
        """Mark a file as complete and verified."""
        with self._lock:
            self._files[name].done = self._files[name].total

    def say(self, line: str) -> None:
        """Record a message for a person and pass it on."""
        self.lines.append(line)
        if self._say is not None:
            self._say(line)

    @property
    def files(self) -> list[FileProgress]:
        """Copies of the files' numbers, in the planned order."""
        with self._lock:
            return [FileProgress(file.name, file.done, file.total) for file in self._files.values()]

    @property
    def done(self) -> int:
        """Bytes received of all files."""
        return int(sum(file.done for file in self.files))

    @property
    def total(self) -> int:
        """Bytes to receive for all files."""
        return sum(file.total for file in self.files)

    @property
    def bytes_per_s(self) -> float:
        """Rate over the last RATE_WINDOW_S seconds; 0.0 if nothing arrives."""
        with self._lock:
            if not self._samples:
                return 0.0
            then, before = self._samples[0]
            seconds = self._clock() - then
            if self._clock() - self._samples[-1][0] > RATE_WINDOW_S:
                return 0.0
            return (self._received - before) / max(seconds, 0.1)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at the current rate; None if the rate is unknown."""
        left, rate = self.total - self.done, self.bytes_per_s
        if left <= 0:
            return 0.0
        return left / rate if rate > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """Return the `weights` object of `GET /api/status`."""
        left = self.seconds_left
        return {
            "done": self.done,
            "total": self.total,
            "bytes_per_s": round(self.bytes_per_s, 1),
            "seconds_left": None if left is None else round(left, 1),
            "files": [{"name": file.name, "done": int(file.done), "total": file.total} for file in self.files],
        }
