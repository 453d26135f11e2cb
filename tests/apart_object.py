"""What tests keep in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from chinwag.errors import EngineError


class Object:
    """It prints, begins programs, fails and dies when it is told to."""

    def __init__(self, fails: str = "") -> None:
        if fails == "explained":
            raise EngineError("It has no such model.", "Name another.")
        if fails == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if fails == "dies":
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        self.info = {"pid": os.getpid()}
        self.done: list[str] = []

    def count(self, upto: int, name: str = "", pause_s: float = 0.0) -> Iterator[int | None]:
        print("a library's own words", flush=True)
        for number in range(upto):
            time.sleep(pause_s)
            yield number
            yield None
        self.done.append(name)

    def finished(self) -> Iterator[list[str]]:
        yield self.done

    def fail(self) -> Iterator[int]:
        yield 1
        raise ValueError("the third plate is cracked")

    def die(self) -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    def program(self) -> Iterator[int]:
        yield subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid

    def input(self) -> Iterator[str]:
        yield sys.stdin.read()
