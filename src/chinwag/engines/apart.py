"""A library in a process of its own, for an engine: `python -m chinwag.engines.apart`.

A library that holds Python's interpreter lock, begins threads and processes, prints, or ends its process does so there,
and touches no conversation. In the child, one object is made once; its methods are generators, run one after the other.
What they yield comes out of `ask` as it is made. Frames are pickles behind their length, over stdin and stdout; both
ends are ours. The child ends when its stdin does, with all that it began, so it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import heapq
import importlib
import itertools
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from typing import IO, Any

import psutil

from chinwag.engines import faults
from chinwag.engines.protocols import Task
from chinwag.engines.worker import Priority
from chinwag.errors import ChinwagError, EngineError

log = logging.getLogger(__name__)

STARTS_WITHIN_S = 1800.0
"""Its library may have to fetch a model of gigabytes first."""

ENDS_WITHIN_S = 2.0

Frame = tuple[int, str, Any]
"""(request, what, value). To the child what is a method or "drop"; from it "item", "end" or "error"; 0 is the child."""


class EngineProcess:
    """An object in another process.

    made: "module:callable" that makes it; its attribute `info` is what `Apart.info` is here. arguments: handed to it;
    they and all that crosses are pickled. Where the process dies, the questions it was asked fail, and it is begun
    again for the next one.
    """

    def __init__(self, task: Task, name: str, made: str, **arguments: Any) -> None:
        """Blocks until the object is made. Raises EngineError where it is not."""
        self._task, self._name, self._made, self._arguments = task, name, made, arguments
        self._numbers = itertools.count(1)
        self._starting = threading.Lock()
        self._closed = False
        self._child = _Child(task, name, made, arguments)
        self.info = self._child.info

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.process.pid

    async def stream(
        self, method: str, *arguments: Any, priority: Priority = Priority.SOON
    ) -> AsyncGenerator[Any, None]:
        """What the method yields; closing the generator stops it at its next yield. Raises EngineError."""
        if self._closed:
            raise EngineError(f"The engine {self._name} is closed.", "Start the server again.", self._name)
        if not self._child.running:
            await asyncio.to_thread(self._begin_again)
        child, number = self._child, next(self._numbers)
        answers = child.begin(number, method, (int(priority), arguments))
        try:
            while True:
                what, value = await answers.get()
                if what == "end":
                    return
                if what == "error":
                    message, fix = value
                    raise EngineError(message, fix, self._name)
                yield value
        finally:
            child.drop(number)

    async def call(self, method: str, *arguments: Any, priority: Priority = Priority.SOON) -> Any:
        """The only thing that the method yields."""
        async with contextlib.aclosing(self.stream(method, *arguments, priority=priority)) as answers:
            async for answer in answers:
                return answer
        raise EngineError(f"The engine {self._name} gave no answer.", "Try again.", self._name)

    def close(self) -> None:
        """End the process and wait for it. May be called twice."""
        self._closed = True
        self._child.close()

    def _begin_again(self) -> None:
        with self._starting:
            if not self._child.running and not self._closed:
                log.warning("the process of the engine %s has ended, and is begun again", self._name)
                self._child.close()
                self._child = _Child(self._task, self._name, self._made, self._arguments)


class _Child:
    """The process, with a thread that reads from it, one that writes to it, and one that keeps what it prints."""

    def __init__(self, task: Task, name: str, made: str, arguments: dict[str, Any]) -> None:
        self._name = name
        self._asked: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[tuple[str, Any]]]] = {}
        self._lock = threading.Lock()
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._printed: collections.deque[str] = collections.deque(maxlen=40)
        self._ended = False
        self.info: Any = None
        command = [sys.executable, "-m", "chinwag.engines.apart"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._threads = [
            threading.Thread(target=run, name=f"chinwag-{name}", daemon=True)
            for run in (self._write, self._keep_printed)
        ]
        for thread in self._threads:
            thread.start()
        self._frames.put((0, "make", (task, name, made, arguments)))
        too_late = threading.Timer(STARTS_WITHIN_S, self.process.kill)
        too_late.start()
        try:
            _, what, value = _read(self._out) or (0, "error", None)
        finally:
            too_late.cancel()
        if what == "error":
            self.close()
            message, fix = value or self._why()
            raise EngineError(message, fix, name)
        self.info = value
        self._threads.append(threading.Thread(target=self._hear, name=f"chinwag-{name}", daemon=True))
        self._threads[-1].start()

    @property
    def running(self) -> bool:
        return not self._ended and self.process.poll() is None

    @property
    def _out(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def begin(self, number: int, method: str, value: Any) -> asyncio.Queue[tuple[str, Any]]:
        answers: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        with self._lock:
            if self._ended:
                answers.put_nowait(("error", self._why()))
                return answers
            self._asked[number] = (asyncio.get_running_loop(), answers)
        self._frames.put((number, method, value))
        return answers

    def drop(self, number: int) -> None:
        """Nobody listens to that request any more."""
        with self._lock:
            waited = self._asked.pop(number, None)
        if waited:
            self._frames.put((number, "drop", None))

    def close(self) -> None:
        self._frames.put(None)
        try:
            self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            _kill_all(self.process.pid)
            self.process.wait()
        for thread in self._threads:
            thread.join(ENDS_WITHIN_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    # --- the threads -------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # the child has ended: `_hear` tells everybody
            while (frame := self._frames.get()) is not None:
                _send(stdin, frame)
        with contextlib.suppress(OSError):
            stdin.close()

    def _keep_printed(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                log.debug("%s: %s", self._name, line)
                self._printed.append(line)

    def _hear(self) -> None:
        while frame := _read(self._out):
            number, what, value = frame
            with self._lock:
                waits = self._asked.pop(number, None) if what != "item" else self._asked.get(number)
            if waits:
                _tell(*waits, (what, value))
        with self._lock:
            self._ended = True
            left, self._asked = list(self._asked.values()), {}
        why = self._why()
        for loop, answers in left:
            _tell(loop, answers, ("error", why))

    def _why(self) -> tuple[str, str]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS_WITHIN_S)
        code = self.process.returncode
        how = f"signal {-code}" if code and code < 0 else f"code {code}"
        said = f": {self._printed[-1][: faults.LONGEST].rstrip('.')}" if self._printed else ""
        fix = "Try again: it is begun anew. If it stays so, choose another engine or a smaller model."
        return f"The process of the engine {self._name} ended with {how}{said}.", fix


def _tell(loop: asyncio.AbstractEventLoop, answers: asyncio.Queue[Any], answer: tuple[str, Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
        loop.call_soon_threadsafe(answers.put_nowait, answer)


# --- in the child ----------------------------------------------------------------------------------------------------


class _Inbox:
    """What is still to be done, in order of priority, then of arrival; read by a thread of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ready = threading.Condition()
        self._waiting: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self._known: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> tuple[int, str, tuple[Any, ...]]:
        with self._ready:
            self._ready.wait_for(lambda: self._waiting)
            _, number, method, arguments = heapq.heappop(self._waiting)
            return number, method, arguments

    def wanted(self, number: int) -> bool:
        return number in self._known

    def _read(self) -> None:
        while frame := _read(self._stream):
            number, method, value = frame
            with self._ready:
                if method == "drop":
                    self._known.discard(number)
                    continue
                priority, arguments = value
                self._known.add(number)
                heapq.heappush(self._waiting, (priority, number, method, arguments))
                self._ready.notify()
        _kill_all(os.getpid())  # the parent is done, or gone


def main() -> None:
    """The child: make the object, answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what libraries print must not come between the frames
    frame = _read(requests)
    if frame is None:
        return
    task, name, made, arguments = frame[2]
    try:
        module, _, factory = made.partition(":")
        target = getattr(importlib.import_module(module), factory)(**arguments)
    except Exception as error:  # libraries raise whatever they meet
        _send(answers, (0, "error", _explained(error, task, name)))
        os._exit(1)
    inbox = _Inbox(requests)
    _send(answers, (0, "info", target.info))
    _serve(target, inbox, lambda frame: _send(answers, frame), lambda error: _explained(error, task, name))


def _serve(
    target: Any, inbox: _Inbox, send: Callable[[Frame], None], explained: Callable[[Exception], tuple[str, str]]
) -> None:
    while True:
        number, method, arguments = inbox.next()
        if not inbox.wanted(number):
            continue
        try:
            with contextlib.closing(getattr(target, method)(*arguments)) as items:
                for item in items:  # None: only a look at whether anyone still listens
                    if not inbox.wanted(number):
                        break
                    if item is not None:
                        send((number, "item", item))
            send((number, "end", None))
        except Exception as error:
            send((number, "error", explained(error)))


def _explained(error: Exception, task: Task, name: str) -> tuple[str, str]:
    told: ChinwagError = faults.as_engine_error(error, task, name)
    return told.message, told.fix


# --- both ------------------------------------------------------------------------------------------------------------


def _send(stream: IO[bytes], frame: Frame) -> None:
    data = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(4, "big"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> Frame | None:
    """None where the stream has ended."""
    try:
        head = stream.read(4)
        data = stream.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
    except (OSError, ValueError):
        return None
    if len(head) < 4 or len(data) < int.from_bytes(head, "big"):
        return None
    frame: Frame = pickle.loads(data)
    return frame


def _kill_all(pid: int) -> None:
    """The process and all that it began, last itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


if __name__ == "__main__":
    main()
