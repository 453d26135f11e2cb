"""An engine's library in a child process: `python -m chinwag.engines.apart`.

A library that holds Python's interpreter lock, starts threads and processes, prints, or crashes does so in the child,
where it disturbs no conversation. The child creates one object; its methods are generators that run one at a time.
`EngineProcess.stream` yields their items. Frames are length-prefixed pickles over stdin and stdout; both ends are ours.
The child ends with all its descendants when its stdin closes, so it never outlives its parent.
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
"""Time limit for the start: a library may first download a model of gigabytes."""

ENDS_WITHIN_S = 2.0

Frame = tuple[int, str, Any]
"""(request number, kind, value). To the child, kind is a method or "drop"; from it "item", "end" or "error".

Request 0 creates the object."""


class EngineProcess:
    """An object in a child process.

    factory: "module:callable" that creates it; its attribute `info` is copied to `EngineProcess.info`.
    arguments: of the callable; these and all arguments and items are pickled.
    If the process dies, its open requests fail, and the next request starts it again.
    """

    def __init__(self, task: Task, name: str, factory: str, **arguments: Any) -> None:
        """Start the process and create the object; blocks. Raises EngineError if that fails."""
        self._task, self._name, self._factory, self._arguments = task, name, factory, arguments
        self._numbers = itertools.count(1)
        self._starting = threading.Lock()
        self._closed = False
        self._child = _Child(task, name, factory, arguments)
        self.info = self._child.info

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.process.pid

    async def stream(
        self, method: str, *arguments: Any, priority: Priority = Priority.SOON
    ) -> AsyncGenerator[Any, None]:
        """Yield the method's items; closing the generator stops the method at its next yield. Raises EngineError."""
        if self._closed:
            raise EngineError(f"The engine {self._name} is closed.", "Start the server again.", self._name)
        if not self._child.running:
            await asyncio.to_thread(self._restart)
        child, number = self._child, next(self._numbers)
        events = child.send_request(number, method, (int(priority), arguments))
        try:
            while True:
                kind, value = await events.get()
                if kind == "end":
                    return
                if kind == "error":
                    message, fix = value
                    raise EngineError(message, fix, self._name)
                yield value
        finally:
            child.drop(number)

    async def call(self, method: str, *arguments: Any, priority: Priority = Priority.SOON) -> Any:
        """Return the first item of the method. Raises EngineError if there is none."""
        async with contextlib.aclosing(self.stream(method, *arguments, priority=priority)) as items:
            async for item in items:
                return item
        raise EngineError(f"The engine {self._name} returned nothing.", "Try again.", self._name)

    def close(self) -> None:
        """End the process and wait for it. May be called twice."""
        self._closed = True
        self._child.close()

    def _restart(self) -> None:
        with self._starting:
            if not self._child.running and not self._closed:
                log.warning("the process of engine %s has ended and is started again", self._name)
                self._child.close()
                self._child = _Child(self._task, self._name, self._factory, self._arguments)


class _Child:
    """The child process, with threads that read its frames, write frames to it, and collect its printed lines."""

    def __init__(self, task: Task, name: str, factory: str, arguments: dict[str, Any]) -> None:
        self._name = name
        self._requests: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[tuple[str, Any]]]] = {}
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
            for run in (self._write_frames, self._collect_printed)
        ]
        for thread in self._threads:
            thread.start()
        self._frames.put((0, "make", (task, name, factory, arguments)))
        deadline = threading.Timer(STARTS_WITHIN_S, self.process.kill)
        deadline.start()
        try:
            _, kind, value = _read_frame(self._stdout) or (0, "error", None)
        finally:
            deadline.cancel()
        if kind == "error":
            self.close()
            message, fix = value or self._exit_error()
            raise EngineError(message, fix, name)
        self.info = value
        self._threads.append(threading.Thread(target=self._read_frames, name=f"chinwag-{name}", daemon=True))
        self._threads[-1].start()

    @property
    def running(self) -> bool:
        return not self._ended and self.process.poll() is None

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def send_request(self, number: int, method: str, value: Any) -> asyncio.Queue[tuple[str, Any]]:
        events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        with self._lock:
            if self._ended:
                events.put_nowait(("error", self._exit_error()))
                return events
            self._requests[number] = (asyncio.get_running_loop(), events)
        self._frames.put((number, method, value))
        return events

    def drop(self, number: int) -> None:
        """Cancel a request unless it has ended."""
        with self._lock:
            open_request = self._requests.pop(number, None)
        if open_request:
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

    def _write_frames(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # the child has ended: `_read_frames` fails its requests
            while (frame := self._frames.get()) is not None:
                _write_frame(stdin, frame)
        with contextlib.suppress(OSError):
            stdin.close()

    def _collect_printed(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                log.debug("%s: %s", self._name, line)
                self._printed.append(line)

    def _read_frames(self) -> None:
        while frame := _read_frame(self._stdout):
            number, kind, value = frame
            with self._lock:
                request = self._requests.pop(number, None) if kind != "item" else self._requests.get(number)
            if request:
                _put_event(*request, (kind, value))
        with self._lock:
            self._ended = True
            remaining, self._requests = list(self._requests.values()), {}
        error = self._exit_error()
        for loop, events in remaining:
            _put_event(loop, events, ("error", error))

    def _exit_error(self) -> tuple[str, str]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS_WITHIN_S)
        code = self.process.returncode
        status = f"signal {-code}" if code and code < 0 else f"code {code}"
        reason = f": {self._printed[-1][: faults.LONGEST].rstrip('.')}" if self._printed else ""
        fix = "Try again: it is started anew. If it happens again, choose another engine or a smaller model."
        return f"The process of the engine {self._name} ended with {status}{reason}.", fix


def _put_event(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Any], event: tuple[str, Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed, so no caller waits any more
        loop.call_soon_threadsafe(events.put_nowait, event)


# --- in the child ----------------------------------------------------------------------------------------------------


class _Inbox:
    """Requests that have not run, in order of priority, then of arrival. A thread of its own reads them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ready = threading.Condition()
        self._queue: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self._open: set[int] = set()
        threading.Thread(target=self._read_requests, daemon=True).start()

    def next(self) -> tuple[int, str, tuple[Any, ...]]:
        with self._ready:
            self._ready.wait_for(lambda: self._queue)
            _, number, method, arguments = heapq.heappop(self._queue)
            return number, method, arguments

    def is_open(self, number: int) -> bool:
        return number in self._open

    def _read_requests(self) -> None:
        while frame := _read_frame(self._stream):
            number, method, value = frame
            with self._ready:
                if method == "drop":
                    self._open.discard(number)
                    continue
                priority, arguments = value
                self._open.add(number)
                heapq.heappush(self._queue, (priority, number, method, arguments))
                self._ready.notify()
        _kill_all(os.getpid())  # the parent has closed stdin or has ended


def main() -> None:
    """Run the child: create the object and serve requests until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # output that libraries print must not mix with the frames
    frame = _read_frame(requests)
    if frame is None:
        return
    task, name, factory, arguments = frame[2]
    try:
        module, _, attribute = factory.partition(":")
        target = getattr(importlib.import_module(module), attribute)(**arguments)
    except Exception as error:  # libraries raise exceptions of any class
        _write_frame(replies, (0, "error", _error_texts(error, task, name)))
        os._exit(1)
    inbox = _Inbox(requests)
    _write_frame(replies, (0, "info", target.info))
    _serve(target, inbox, lambda frame: _write_frame(replies, frame), lambda error: _error_texts(error, task, name))


def _serve(
    target: Any, inbox: _Inbox, send: Callable[[Frame], None], error_texts: Callable[[Exception], tuple[str, str]]
) -> None:
    while True:
        number, method, arguments = inbox.next()
        if not inbox.is_open(number):
            continue
        try:
            with contextlib.closing(getattr(target, method)(*arguments)) as items:
                for item in items:  # a generator yields None to let us check whether it was dropped
                    if not inbox.is_open(number):
                        break
                    if item is not None:
                        send((number, "item", item))
            send((number, "end", None))
        except Exception as error:
            send((number, "error", error_texts(error)))


def _error_texts(error: Exception, task: Task, name: str) -> tuple[str, str]:
    explained: ChinwagError = faults.as_engine_error(error, task, name)
    return explained.message, explained.fix


# --- both ------------------------------------------------------------------------------------------------------------


def _write_frame(stream: IO[bytes], frame: Frame) -> None:
    data = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(4, "big"))
    stream.write(data)
    stream.flush()


def _read_frame(stream: IO[bytes]) -> Frame | None:
    """Return the next frame; None at the end of the stream."""
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
    """Kill a process's descendants, then the process itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


if __name__ == "__main__":
    main()
