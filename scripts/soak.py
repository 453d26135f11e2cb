"""Has people talk with a real server for a long time, in all the ways that leave things behind, and looks what grows.

python scripts/soak.py --minutes 30 [--talkers 2] [--json FILE] [--csv FILE]      (make soak MINUTES=30)

Real engines, real sockets: turns and interruptions over WebSocket and WebRTC, clients that vanish in the middle of an
answer, come back to it or never read, bad messages, speech, words and transcripts over HTTP. Every ten seconds it notes
memory, tasks, threads and file handles of the server and its child. Every few minutes all hang up: what is left at rest
is compared, as that is where a leak shows.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chinwag.bench.corpus import Recording
from chinwag.bench.make_corpus import default_corpus
from chinwag.bench.talker import connect_user, hold_conversation
from chinwag.client_sdk import wav
from chinwag.client_sdk.client import ClientError
from chinwag.client_sdk.local_server import free_port
from chinwag.config import WeightsSettings
from chinwag.weights import Store

SAMPLE_S = 10.0
REST_S = 240.0
"""So often all hang up, and what is left is noted."""
SETTLE_S = 30.0
"""After the last has hung up: conversations that might be come back to are over by then, and the server has tidied."""
RESUME_S = 5
SHORTEST_S = 4
"""Seconds of a recording that is used at most: more turns in the same time."""

STEADY = {"rss_mb": 25.0, "child_rss_mb": 25.0, "tasks": 2.0, "threads": 2.0, "handles": 4.0}
"""Between the first and the last rest, so much is no growth: allocators and pools of threads fill up at first."""

Act = Callable[["Soak", Sequence[Recording]], Awaitable[None]]


@dataclass
class Sample:
    """at: seconds since the start. rest: nobody was talking. rss_mb: of the server; child_rss_mb: of llama.cpp's."""

    at: float
    rest: bool
    sessions: int
    rss_mb: float
    child_rss_mb: float
    tasks: int
    threads: int
    handles: int
    cpu_seconds: float


class Soak:
    """One run. done, troubles: how often each thing was done, and what of it went wrong."""

    def __init__(self, port: int, pid: int) -> None:
        self.http, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/v1/realtime"
        self.done, self.troubles = Counter[str](), Counter[str]()
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self._process = psutil.Process(pid)
        self.client = httpx.AsyncClient(
            base_url=self.http, trust_env=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def look(self, *, rest: bool = False) -> Sample:
        """Note how the server is now."""
        status = (await self.client.get("/api/status")).json()
        children = self._process.children(recursive=True)
        times = [one.cpu_times() for one in (self._process, *children)]
        now = Sample(
            round(time.monotonic() - self.began, 1),
            rest,
            status["sessions"],
            round(self._process.memory_info().rss / 1e6, 1),
            round(sum(child.memory_info().rss for child in children) / 1e6, 1),
            status["process"]["tasks"],
            self._process.num_threads(),
            self._process.num_fds(),
            round(sum(one.user + one.system for one in times), 1),
        )
        self.samples.append(now)
        print(f"{now.at / 60:5.1f} min {'rest' if rest else '    '} {shown(now)}", flush=True)
        return now


def shown(one: Sample) -> str:
    """On a line."""
    left = {name: value for name, value in asdict(one).items() if name not in ("at", "rest")}
    return "  ".join(f"{name} {value:g}" for name, value in left.items())


# --- what people do ----------------------------------------------------------------------------------------------


async def talk(soak: Soak, said: Sequence[Recording]) -> None:
    """Turns, each waited for."""
    held = await hold_conversation(soak.ws, said[:3], 3)
    for log in held.logs:
        if log.error:
            soak.troubles[log.error] += 1


async def talk_by_webrtc(soak: Soak, said: Sequence[Recording]) -> None:
    """The same by the other transport."""
    held = await hold_conversation(soak.ws, said[:2], 2, transport="webrtc")
    for log in held.logs:
        if log.error:
            soak.troubles[f"webrtc: {log.error}"] += 1


async def interrupt(soak: Soak, said: Sequence[Recording]) -> None:
    """Speak into the answer."""
    async with connect_user(soak.ws) as talker:
        talker.speak(said[0])
        if await talker.listen_until(lambda: bool(talker.playback.onsets()), 25):
            await talker.listen(0.7)
            await talker.hold_turn(said[1])


async def vanish(soak: Soak, said: Sequence[Recording]) -> None:
    """Gone in the middle of an answer, without a word."""
    with suppress(ClientError):
        async with connect_user(soak.ws) as talker:
            talker.speak(said[0])
            await talker.listen_until(lambda: bool(talker.active_responses), 25)
            assert talker.client._socket is not None
            talker.client._socket.transport.abort()


async def come_back(soak: Soak, _: Sequence[Recording]) -> None:
    """Cut off and back again, twice; the last time for good."""
    async with connect(f"{soak.ws}?chinwag=events", proxy=None) as socket:
        token = await told(socket, "chinwag.session.resumable", "resume")
        await ask(socket, "Say a few words about rain.")
        await told(socket, "response.created", "response")
        socket.transport.abort()
    for after in ("&after=0", ""):
        async with connect(f"{soak.ws}?chinwag=events&resume={token}{after}", proxy=None) as socket:
            await told(socket, "chinwag.session.resumed", "received")
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    async for _message in socket:
                        continue
            socket.transport.abort()


async def never_read(soak: Soak, _: Sequence[Recording]) -> None:
    """Ask, and take nothing of the answer."""
    async with connect(soak.ws, proxy=None, max_queue=1) as socket:
        for _place in range(3):
            await ask(socket, "Tell me about the sea.")
            await asyncio.sleep(2)
        socket.transport.abort()


async def say_nonsense(soak: Soak, _: Sequence[Recording]) -> None:
    """Messages that are none, each of which is answered by an error; then a good one."""
    async with connect(soak.ws, proxy=None) as socket:
        bad = (
            "{",
            "[]",
            '{"type": 5}',
            '{"type": "no.such"}',
            b"\x00\x01\x02",
            "x" * 100_000,
            '{"type":"session.update"}',
        )
        for message in bad:
            await socket.send(message)
        audio = '{"type": "input_audio_buffer.append", "audio": "@@@"}'
        for _place in range(100):
            await socket.send(audio)
        await socket.send('{"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}')
        await told(socket, "session.updated", "session")


async def ask_by_http(soak: Soak, said: Sequence[Recording]) -> None:
    """Speech, a transcript, a chat that is broken off, and things that are not there."""
    spoken = await soak.client.post("/v1/audio/speech", json={"input": "Good morning.", "response_format": "wav"})
    check(spoken.status_code == 200, f"speech answered {spoken.status_code}")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        wav.write(Path(file.name), said[0].audio)
        sound = await asyncio.to_thread(Path(file.name).read_bytes)
    heard = await soak.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound)})
    check(heard.status_code == 200, f"transcriptions answered {heard.status_code}")
    body = {"messages": [{"role": "user", "content": "Count to fifty."}], "stream": True}
    async with soak.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for _line in answer.aiter_lines():
            break
    for path in ("/v1/nothing", "/../../etc/passwd", "/api/conversations/conv_0"):
        check((await soak.client.get(path)).status_code == 404, f"{path} was found")
    check((await soak.client.get("/api/conversations")).status_code == 200, "conversations were not listed")


ACTS: tuple[tuple[Act, int], ...] = (
    (talk, 5), (interrupt, 4), (vanish, 3), (talk_by_webrtc, 2), (come_back, 2), (never_read, 1), (say_nonsense, 2),
    (ask_by_http, 2),
)  # fmt: skip
"""With how often each is done."""


def check(good: bool, otherwise: str) -> None:
    """Raises AssertionError."""
    if not good:
        raise AssertionError(otherwise)


async def ask(socket: Any, words: str) -> None:
    """By a typed message."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}
    await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
    await socket.send('{"type": "response.create"}')


async def told(socket: Any, kind: str, key: str) -> Any:
    """What the next event of that kind says."""
    async with asyncio.timeout(30):
        async for message in socket:
            event = json.loads(message)
            if event["type"] == kind:
                return event[key]
    raise AssertionError(f"no {kind}")


# --- the run -----------------------------------------------------------------------------------------------------


async def people(soak: Soak, said: Sequence[Recording], seed: int, until: float) -> None:
    """One after the other, until then."""
    drawn = random.Random(seed)
    acts, often = zip(*ACTS, strict=True)
    while time.monotonic() < until:
        act: Act = drawn.choices(acts, often)[0]
        try:
            await act(soak, drawn.sample(list(said), 4))
            soak.done[act.__name__] += 1
        except (ClientError, OSError, AssertionError, TimeoutError, httpx.HTTPError, WebSocketException) as error:
            soak.troubles[f"{act.__name__}: {type(error).__name__}: {str(error)[:120]}"] += 1
            await asyncio.sleep(1)


async def run(minutes: float, talkers: int, said: Sequence[Recording], soak: Soak) -> None:
    """Talk and rest, by turns."""
    over = time.monotonic() + minutes * 60
    seeds = itertools.count(1)
    while time.monotonic() < over:
        until = min(over, time.monotonic() + REST_S)
        talking_now = [asyncio.create_task(people(soak, said, next(seeds), until)) for _ in range(talkers)]
        while any(not one.done() for one in talking_now):
            await asyncio.wait(talking_now, timeout=SAMPLE_S)
            await soak.look()
        await asyncio.gather(*talking_now)
        await asyncio.sleep(SETTLE_S)
        await soak.look(rest=True)


def summed_up(soak: Soak) -> dict[str, Any]:
    """What grew: at rest, from the first rest to the last, and the slope through all rests, an hour."""
    rests = [one for one in soak.samples if one.rest] or soak.samples[-1:]
    begin, end = rests[0], rests[-1]
    hours = np.array([one.at for one in rests]) / 3600
    grew: dict[str, Any] = {}
    for name, steady in STEADY.items():
        values = np.array([float(getattr(one, name)) for one in rests])
        slope = float(np.polyfit(hours, values, 1)[0]) if len(rests) > 1 else 0.0
        change = float(getattr(end, name)) - float(getattr(begin, name))
        grew[name] = {
            "first": getattr(begin, name), "last": getattr(end, name), "an_hour": round(slope, 1),
            "flat": len(rests) > 1 and change <= steady,
        }  # fmt: skip
    return {
        "minutes": round(soak.samples[-1].at / 60, 1),
        "done": dict(soak.done),
        "troubles": dict(soak.troubles),
        "cpu_seconds": end.cpu_seconds,
        "at_rest": grew,
        "flat": all(one["flat"] for one in grew.values()),
    }


async def soaked(options: argparse.Namespace) -> int:
    """The whole of it; the exit status."""
    corpus = await default_corpus(Store(WeightsSettings()), print)
    said = [one for one in corpus if one.audio.seconds <= SHORTEST_S]
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        env = {
            **os.environ, "CHINWAG_STORE__KEEP": "all", "CHINWAG_STORE__FOLDER": folder, "CHINWAG_STORE__AUDIO": "true",
            "CHINWAG_SERVER__RESUME_S": str(RESUME_S), "CHINWAG_SERVER__AUTH": "off",
            "CHINWAG_SERVER__MAX_SESSIONS": "16",
        }  # fmt: skip
        command = [sys.executable, "-m", "chinwag", "serve", "--llm", "embedded", "--port", str(port)]
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=env)
        soak = Soak(port, process.pid)
        try:
            await ready(soak, process)
            await run(options.minutes, options.talkers, said, soak)
        except httpx.HTTPError as error:
            soak.troubles[f"the server does not answer any more: {error!r}, exit code {process.returncode}"] += 1
        finally:
            await soak.client.aclose()
            if process.returncode is None:
                process.terminate()
                await process.wait()
            log.seek(0)
            logged = log.read()
    told = {**summed_up(soak), "errors_logged": errors(logged)}
    print(json.dumps(told, indent=2))
    if options.json:
        options.json.write_text(json.dumps({**told, "samples": [asdict(one) for one in soak.samples]}, indent=1))
    if options.csv:
        write(options.csv, soak.samples)
    return 0 if told["flat"] else 1


def errors(logged: str) -> list[str]:
    """What was logged as one, each with the lines that belong to it; the last few, where there are many."""
    records = re.split(r"\n(?=\S)", logged)
    return [record for record in records if record.startswith(("ERROR", "CRITICAL", "Traceback", "Fatal"))][-20:]


def write(path: Path, samples: Sequence[Sample]) -> None:
    """As a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Sample)])
        rows.writeheader()
        rows.writerows(asdict(one) for one in samples)


async def ready(soak: Soak, process: asyncio.subprocess.Process) -> None:
    """Wait for the engines."""
    async with asyncio.timeout(300):
        while process.returncode is None:
            with suppress(httpx.HTTPError):
                if (await soak.client.get("/api/status")).json()["stage"] == "ready":
                    return
            await asyncio.sleep(0.5)
    raise SystemExit("the server ended while it started")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--talkers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    sys.exit(asyncio.run(soaked(parser.parse_args())))


if __name__ == "__main__":
    main()
