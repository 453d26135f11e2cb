"""Build and start the images without Docker: `sudo python scripts/check_docker.py [--keep] [TARGET …]`.

For each target of the Dockerfile (all, where none is named): every step as it is written, in a chroot of Debian. Then a
container of it as compose.yaml says (user, variables, a root that cannot be written, volumes of its own): the health
check passes, a client without the key gets nothing, `chinwag talk` talks to it over its port, and it ends clean on
SIGTERM. Prints the size of each image. Takes minutes, wants root on Linux, fetches from package registries.
Weights are copied from this user's cache. What it cannot know is what a GPU does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from layered_root import Builder, Image, compressed, entering, isolated, mounting
from platformdirs import user_cache_path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "docker"
BIN = Path(sys.executable).parent
WEIGHTS = ("silero-vad", "smart-turn", "moonshine-tiny-en", "qwen2.5-coder-0.5b")
QUESTION = "What is the capital of France?"
HEALTHY_S, READY_S = 300.0, 900.0

TRIALS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "cpu": ((), {}),
    "full": (("kokoro", "kokoro-voices"), {"CHINWAG_TTS__ENGINE": "kokoro"}),
    "cuda": ((), {"CHINWAG_PRESET": "fast"}),
}
"""By target: weights beside the usual ones, and variables to talk with."""


class Wrong(Exception):
    """Something is not as it must be."""


def main() -> int:
    """Check the targets; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build and start the Docker images without Docker.")
    parser.add_argument("--keep", action="store_true", help="leave the steps in build/docker, to be taken next time")
    parser.add_argument("targets", nargs="*", help="cpu, full, cuda; none: all")
    asked = parser.parse_args()
    if sys.platform != "linux" or os.geteuid() != 0:
        print("This makes mounts and chroots: run it as root on Linux.", file=sys.stderr)
        return 2
    place = PLACE / "steps"
    place.mkdir(parents=True, exist_ok=True)
    try:
        builder = Builder(ROOT / "Dockerfile", place)
        told = []
        for target in asked.targets or list(TRIALS):
            image = builder.build(target)
            trial = place / f"try-{target}"
            shutil.rmtree(trial, ignore_errors=True)
            _try(target, image, trial)
            packed = sum(map(compressed, image.layers))
            told.append(f"{target}: {image.size / 1e6:.0f} MB unpacked, {packed / 1e6:.0f} MB to pull")
        print("\n" + "\n".join(told))
    except Wrong as wrong:
        print(f"\nWrong: {wrong}", file=sys.stderr)
        return 1
    finally:
        if not asked.keep:
            shutil.rmtree(place, ignore_errors=True)
    return 0


# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Container:
    """A started image. pid: of its first process, seen from here."""

    image: Image
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    variables: list[str]

    @property
    def pid(self) -> int:
        for _ in range(100):
            if started := psutil.Process(self.process.pid).children():
                return int(started[0].pid)
            time.sleep(0.05)
        raise Wrong(f"it did not start:\n{self.said()}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` does: in its root and among its processes, as its user."""
        uid, _, gid = self.image.user.partition(":")
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", f"--setuid={uid}", f"--setgid={gid}"]
        environment = ["/usr/bin/env", "-i", f"--chdir={self.image.workdir}", *self.variables]
        return subprocess.run([*inside, *environment, *command], capture_output=True, text=True, check=False)

    def stage(self) -> str:
        return str(httpx.get(f"http://127.0.0.1:{self.port}/api/status").json()["stage"])

    def said(self) -> str:
        return self.log.read_text("utf-8")


def _try(target: str, image: Image, place: Path) -> None:
    print(f"\n== {target} as a container: user {image.user}, {' '.join(image.entrypoint + image.cmd)}", flush=True)
    _expect(image.user.split(":")[0] not in ("", "0", "root"), "the image runs as root")
    more, variables = TRIALS[target]
    if target == "cuda":
        _try_cuda(image, place / "cuda")
    with _started(image, place, (*WEIGHTS, *more), variables) as container:
        began = time.monotonic()
        while (health := container.run(*image.healthcheck)).returncode:
            _expect(container.process.poll() is None, f"it ended at once:\n{container.said()}")
            _expect(time.monotonic() - began < HEALTHY_S, f"the health check fails: {health.stderr}")
            time.sleep(0.5)
        print(f"   healthy after {time.monotonic() - began:.1f} s", flush=True)
        while (stage := container.stage()) != "ready":
            late = stage == "failed" or time.monotonic() - began > READY_S
            _expect(not late, f"it is {stage}:\n{container.said()}")
            time.sleep(0.5)
        link = re.search(r"#key=([\w-]+)", _waited(container.said, "#key="))
        assert link
        print(f"   ready; the log gives a link with a login code of {len(link[1])} characters", flush=True)
        status = httpx.get(f"http://127.0.0.1:{container.port}/v1/models").status_code
        _expect(status == 401, f"without the key it answers {status}")
        written = container.run("/bin/sh", "-c", "touch /opt/chinwag/x /etc/x")
        _expect(written.returncode != 0, "its root can be written")
        _talk(container, link[1])
        _end(container)


def _try_cuda(image: Image, place: Path) -> None:
    """What can be seen without a GPU: the libraries are found, and the refusal is clear."""
    program = "import ctypes, ctranslate2; ctypes.CDLL('libcublas.so.12'); print(ctranslate2.get_cuda_device_count())"
    for command, wanted in (
        (["python", "-c", program], "0"),
        (image.entrypoint + image.cmd, "The preset gpu needs a CUDA device"),
    ):
        script = entering(image.user, image.workdir, image.variables(), command)
        ran = subprocess.run(
            isolated(mounting([one.folder for one in image.layers], place), script),
            capture_output=True,
            text=True,
            check=False,
        )
        said = " ".join((ran.stdout + ran.stderr).split())
        _expect(wanted in said, f"{command[0]} said: {said}")
        print(f"   {command[0]}: {said[:160]}", flush=True)


@contextmanager
def _started(image: Image, place: Path, weights: tuple[str, ...], variables: dict[str, str]) -> Iterator[Container]:
    """A container as compose.yaml has it, but for its port."""
    service = _service()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {**service["environment"], **variables, "CHINWAG_SERVER__PORT": str(port)}
    given = image.variables(environment)
    uid, gid = map(int, image.user.split(":"))
    mounts = []
    for target in image.volumes:
        volume = place / "volumes" / target.strip("/")
        volume.mkdir(parents=True, mode=0o700)
        if target == "/cache":
            for name in weights:
                shutil.copytree(user_cache_path("chinwag") / "weights" / name, volume / "chinwag" / "weights" / name)
        for path in (volume, *volume.rglob("*")):
            os.chown(path, uid, gid)
        mounts.append(f'mount --bind {volume} "$ROOT"{target}')
    for target in service.get("tmpfs", ()):
        folder, _, options = target.partition(":")
        mounts.append(f'mount -t tmpfs -o nosuid,nodev,{options or "noexec"} tmpfs "$ROOT"{folder}')
    if service["read_only"]:
        mounts.insert(0, 'mount -o remount,ro "$ROOT"')
    script = entering(image.user, image.workdir, given, image.entrypoint + image.cmd)
    log = place / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            isolated(mounting([one.folder for one in image.layers], place), *mounts, script), stdout=out, stderr=out
        )
    try:
        yield Container(image, process, log, port, given)
    finally:
        if process.poll() is None:
            # its first process takes all others along; unshare's own --kill-child is lost where the user changes
            for one in psutil.Process(process.pid).children():
                one.kill()
            process.kill()
            process.wait()


def _service() -> dict[str, Any]:
    named = [str(BIN / "docker-compose"), "-f", str(ROOT / "compose.yaml"), "--env-file", os.devnull]
    made = subprocess.run([*named, "config", "--format", "json"], capture_output=True, text=True, check=True, cwd=ROOT)
    service: dict[str, Any] = json.loads(made.stdout)["services"]["chinwag"]
    return service


def _talk(container: Container, key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "question.wav"), Path(folder, "answer.wav")
        _speak(question)
        url = f"http://127.0.0.1:{container.port}"
        files = ["--input", str(question), "--output", str(answer)]
        command = [str(BIN / "chinwag"), "talk", "--url", url, "--api-key", key, *files]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        _expect(ran.returncode == 0, f"chinwag talk ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
        _expect(answer.is_file() and answer.stat().st_size > 24000, "no answer was heard")
        _expect("France" in ran.stdout, f"it heard something else: {ran.stdout}")
        print("\n".join(f"   talk: {line}" for line in ran.stdout.splitlines() if line.strip()), flush=True)


def _speak(file: Path) -> None:
    """The question, said by the voice of the default installation, with a quiet room around it."""
    import numpy as np
    from hibari import Hibari

    from chinwag.audio import WIRE_RATE, Audio
    from chinwag.client_sdk import wav

    said = np.asarray(Hibari()(QUESTION, seed=0), np.float32)
    quiet = np.zeros(WIRE_RATE, np.float32)
    pcm = np.concatenate([quiet, said, quiet])
    pcm += np.random.default_rng(0).normal(0, 0.0007, len(pcm)).astype(np.float32)
    wav.write(file, Audio(pcm.astype(np.float32), WIRE_RATE))


def _end(container: Container) -> None:
    grace = int(re.sub(r"\D", "", _service()["stop_grace_period"]))
    began = time.monotonic()
    os.kill(container.pid, signal.SIGTERM)
    try:
        status = container.process.wait(grace)
    except subprocess.TimeoutExpired:
        raise Wrong(f"SIGTERM did not end it within {grace} s") from None
    said = container.said()
    _expect(status == 0 and "Traceback" not in said, f"it ended with {status}:\n{said}")
    print(f"   SIGTERM ended it with {status} within {time.monotonic() - began:.1f} s", flush=True)


def _waited(read: Any, word: str) -> str:
    for _ in range(50):
        if word in (text := str(read())):
            return text
        time.sleep(0.1)
    raise Wrong(f"the log has no {word}:\n{read()}")


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Wrong(otherwise)


if __name__ == "__main__":
    sys.exit(main())
