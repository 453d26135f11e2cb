"""Downloads from the package index, with pip, and from the Hugging Face hub. All functions block; run them on threads.

pip's own configuration decides the address of the package index.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
from huggingface_hub import hf_hub_url

from chinwag.weights.catalog import HubFile, PackageArchive

ANSWER_WITHIN_S = 5.0
POLL_S = 0.2
CHUNK = 1 << 20
_HUB_ATTEMPTS = 4
_NO_SPACE = re.compile(r"no space left|not enough space|disk quota exceeded|errno 28\b", re.IGNORECASE)
_UNREACHABLE = re.compile(r"connection broken by '.*?(?:: )?([^:]+?)[\"')]*': /")

OnBytes = Callable[[int], None]
"""Receives the number of new bytes; negative if a source started again."""


class SourceError(Exception):
    """A source failed; the text is the reason. gone: it does not respond at all and must not be tried again."""

    def __init__(self, why: str, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone


class NoSpaceError(Exception):
    """The disk is full."""


class Stopped(Exception):
    """The pull was cancelled."""


def fetch_archive(archive: PackageArchive, work: Path, on_bytes: OnBytes, stop: threading.Event) -> Path:
    """Have pip download an archive into `work`, a folder of its own, and return its path.

    Raises SourceError, NoSpaceError or Stopped; pip is never left running.
    """
    into, scratch = work / "archive", work / "tmp"
    into.mkdir()
    scratch.mkdir()
    command = [*_pip("download"), "--no-deps", "--no-cache-dir", "--ignore-requires-python"]
    command += ["--progress-bar", "off", "--retries", "2", "--dest", str(into)]
    if archive.sdist:
        pinned = work / "requirements.txt"
        pinned.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", "utf-8")
        command += ["--no-binary", archive.package, "--require-hashes", "--requirement", str(pinned)]
    else:
        command += ["--only-binary", ":all:", archive.requirement]
        command += ["--platform", archive.platform] if archive.platform else []
    # pip downloads to its temporary folder first; here its size is measured and its disk has been checked.
    env = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}

    seen = 0
    started = time.monotonic()
    asked = False
    with tempfile.TemporaryFile() as log:
        with _child(command, env, log) as child:
            for _ in _while_running(child, stop):
                size = min(_bytes_under(work), archive.bytes) if seen < archive.bytes else seen
                if size > seen:
                    on_bytes(size - seen)
                    seen = size
                elif not seen and not asked and time.monotonic() - started > ANSWER_WITHIN_S:
                    asked = True
                    if not _index_answers(archive, stop):
                        raise SourceError(f"it did not answer within {ANSWER_WITHIN_S:g} s", gone=True)
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
    found = [path for path in into.iterdir() if path.is_file()]
    if child.returncode == 0 and len(found) == 1:
        on_bytes(archive.bytes - seen)
        return found[0]
    raise _pip_error(said, child.returncode)


def members(archive: Path, names: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Open each of the named members of a wheel or an sdist, in the archive's order."""
    missing = set(names)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                for name in wheel.namelist():
                    if name in missing:
                        missing.discard(name)
                        with wheel.open(name) as stream:
                            yield name, stream
        else:
            with tarfile.open(archive) as sdist:
                for entry in sdist:
                    content = sdist.extractfile(entry) if entry.name in missing else None
                    if content is not None:
                        missing.discard(entry.name)
                        with content:
                            yield entry.name, content
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise SourceError(f"{archive.name} is damaged ({error})") from error
    if missing:
        raise SourceError(f"{archive.name} holds no {', '.join(sorted(missing))}")


def _pip(command: str) -> list[str]:
    # -P: a module in the current folder must not stand in for one of pip's.
    return [sys.executable, "-P", "-m", "pip", command, "--no-input", "--disable-pip-version-check"]


def _index_answers(archive: PackageArchive, stop: threading.Event) -> bool:
    """Return whether pip gets a list of versions in time; if so, the archive is only slow."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile() as log,
        _child([*_pip("index"), "versions", archive.package], dict(os.environ), log) as child,
    ):
        for _ in _while_running(child, stop):
            if time.monotonic() - started > ANSWER_WITHIN_S:
                return False
    return True


def _pip_error(said: str, code: int) -> Exception:
    if _NO_SPACE.search(said):
        return NoSpaceError()
    if broken := _UNREACHABLE.search(said):
        return SourceError(f"it cannot be reached ({broken[1]})", gone=True)
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return SourceError(errors[-1] if errors else f"pip ended with code {code}")


@contextmanager
def _child(command: list[str], env: dict[str, str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that is killed when the block ends. It has its own session, so Ctrl-C does not reach it."""
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    child = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        creationflags=flags,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _while_running(child: subprocess.Popen[Any], stop: threading.Event) -> Iterator[None]:
    while True:
        try:
            child.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise Stopped from None
            yield


def _bytes_under(folder: Path) -> int:
    """Return the size of a folder's files in bytes; files may disappear meanwhile."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def fetch_hub_file(source: HubFile, size: int, target: Path, on_bytes: OnBytes, stop: threading.Event) -> None:
    """Download a file of the hub to `target`, after the bytes that are already there.

    huggingface_hub returns the address and respects HF_ENDPOINT. Its own download starts from zero in every process
    (since its pull request 4228), so this function transfers the bytes with HTTP Range.
    Raises SourceError, Stopped, or OSError if the disk cannot be written.
    """
    url = hf_hub_url(source.repo, source.path, revision=source.revision, endpoint=os.environ.get("HF_ENDPOINT") or None)
    headers = {"accept-encoding": "identity", "user-agent": "chinwag"}
    why = ""
    with httpx.Client(
        follow_redirects=True, timeout=httpx.Timeout(2 * ANSWER_WITHIN_S, connect=ANSWER_WITHIN_S)
    ) as client:
        for _ in range(_HUB_ATTEMPTS):
            before = _size(target)
            if before >= size:
                return
            try:
                _continue(client, url, headers, size, target, on_bytes, stop)
            except httpx.HTTPStatusError as error:
                raise SourceError(f"it answered {error.response.status_code}") from error
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
                if _size(target) <= before:  # no byte arrived: do not try again
                    raise SourceError(f"it cannot be reached ({why})", gone=True) from error
    if _size(target) < size:
        raise SourceError(f"the transfer broke off repeatedly ({why})")


def _continue(
    client: httpx.Client,
    url: str,
    headers: dict[str, str],
    size: int,
    target: Path,
    on_bytes: OnBytes,
    stop: threading.Event,
) -> None:
    have = _size(target)
    request_headers = {**headers, "range": f"bytes={have}-"} if have else headers
    with client.stream("GET", url, headers=request_headers) as response:
        response.raise_for_status()
        if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
            on_bytes(-have)
            have = 0
        with target.open("ab" if have else "wb") as out:
            for chunk in response.iter_bytes(CHUNK):
                if stop.is_set():
                    raise Stopped
                have += len(chunk)
                if have > size:
                    raise SourceError(f"it sends more than the {size} bytes of the file")
                out.write(chunk)
                on_bytes(len(chunk))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
