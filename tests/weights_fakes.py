"""Small packages, a package index and a hub on loopback, which the real pip and the real client talk to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chinwag.config import WeightsSettings
from chinwag.weights import Catalog, Progress, Store

REVISION = "0123456789abcdef0123456789abcdef01234567"
PULL = """
import asyncio, sys
from pathlib import Path
from chinwag.config import WeightsSettings
from chinwag.weights import Catalog, Store
store = Store(WeightsSettings(folder=Path(sys.argv[1])), Catalog(Path(sys.argv[2]).read_text("utf-8")))
asyncio.run(store.pull(sys.argv[3:]))
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same at every run."""
    blocks = (hashlib.sha256(f"{seed}/{block}".encode()).digest() for block in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def build_wheel(folder: Path, name: str, files: dict[str, bytes], tag: str = "py3-none-any") -> Path:
    """A wheel of version 1.0 that pip takes, holding the files."""
    info = f"{name}-1.0.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = ""
    for path, data in everything.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    wheel = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**everything, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return wheel


def build_sdist(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """An sdist of version 1.0 with a build backend of its own, so that pip needs nothing else for it."""
    backend = f'''
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    os.makedirs(os.path.join(folder, "{name}-1.0.dist-info"))
    with open(os.path.join(folder, "{name}-1.0.dist-info", "METADATA"), "w") as out:
        out.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
    return "{name}-1.0.dist-info"
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing is to be built")
'''
    project = f"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "{name}"
version = "1.0"
"""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    sdist = folder / f"{name}-1.0.tar.gz"
    everything = {
        "backend.py": backend.encode(),
        "pyproject.toml": project.encode(),
        "PKG-INFO": metadata.encode(),
        **files,
    }
    with tarfile.open(sdist, "w:gz") as archive:
        for path, data in everything.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sdist


def archive_entry(path: Path, **more: Any) -> dict[str, Any]:
    """The catalog's lines for an archive."""
    name = path.name.split("-")[0]
    return {"requirement": f"{name}==1.0", "bytes": path.stat().st_size, **more}


def catalog_text(*models: dict[str, Any]) -> str:
    """catalog.toml with these models; what they leave out is filled in."""
    lines: list[str] = []
    for model in models:
        head = {"task": "vad", "languages": ["en"], "licence": "MIT", "description": "a model", **model}
        archives, files = head.pop("archives", []), head.pop("files")
        lines += ["[[models]]", *_lines(head)]
        for archive in archives:
            lines += ["[[models.archives]]", *_lines(archive)]
        for file in files:
            lines += ["[[models.files]]", *_lines(file)]
    return "\n".join(lines)


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


class Loopback(ThreadingHTTPServer):
    """A package index over a folder of archives, and a hub over a dict of files, at one address.

    hub: bytes by "repo/name/path". requests: (path, Range) of each GET. hang: a request whose path holds one of
    these waits until `release`. cut: a file whose path holds the key breaks off after so many bytes, once;
    with hang_after_cut it stalls there instead, until `release`. ranges: whether Range is heeded.
    """

    daemon_threads = True

    def __init__(self, archives: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archives = archives
        self.hub: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.hang: set[str] = set()
        self.cut: dict[str, int] = {}
        self.asked = threading.Condition()
        self.release = threading.Event()
        self.ranges = True
        self.hang_after_cut = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(self, part: str, seconds: float = 60) -> None:
        """Until a request's path holds `part`."""
        with self.asked:
            assert self.asked.wait_for(lambda: any(part in path for path, _ in self.requests), seconds), part

    def fetched(self) -> list[str]:
        """Names of the archives that were sent, in order."""
        return [path.rpartition("/")[2] for path, _ in self.requests if path.startswith("/files/")]


class _Handler(BaseHTTPRequestHandler):
    server: Loopback
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        with server.asked:
            server.requests.append((self.path, self.headers.get("Range", "")))
            server.asked.notify_all()
        if any(part in self.path for part in server.hang):
            server.release.wait()
        try:
            self._answer()
        except OSError:  # the other side was killed, which tests do
            self.close_connection = True

    def _answer(self) -> None:
        server, parts = self.server, self.path.strip("/").split("/")
        if parts[0] == "simple":
            links = [
                f'<a href="/files/{path.name}">{path.name}</a>'
                for path in sorted(server.archives.iterdir())
                if path.name.split("-")[0].replace("_", "-") == parts[1]
            ]
            self._send("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>", "text/html")
        elif parts[0] == "files":
            self._send((server.archives / parts[1]).read_bytes(), "application/octet-stream")
        elif len(parts) > 4 and parts[2] == "resolve" and parts[3] == REVISION:
            found = server.hub.get("/".join([*parts[:2], *parts[4:]]))
            if found is None:
                self.send_error(404)
            else:
                self._send(found, "application/octet-stream")
        else:
            self.send_error(404)

    def _send(self, data: bytes | str, kind: str) -> None:
        data = data.encode() if isinstance(data, str) else data
        size, start = len(data), 0
        asked = self.headers.get("Range", "")
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        cut = next((part for part in self.server.cut if part in self.path), None)
        if cut is not None:
            self.wfile.write(data[start : self.server.cut.pop(cut)])
            if self.server.hang_after_cut:
                self.server.release.wait()
            self.close_connection = True
            return
        self.wfile.write(data[start:])


@contextmanager
def loopback(archives: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A running server that pip and the hub's client are pointed at."""
    archives.mkdir(exist_ok=True)
    server = Loopback(archives)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def store_at(folder: Path, text: str, **settings: Any) -> Store:
    return Store(WeightsSettings(folder=folder, **settings), Catalog(text))


def pull(store: Store, *names: str) -> Progress:
    """On a real loop: pip is a process, which knows no virtual time."""
    progress = Progress()
    asyncio.run(store.pull(names, progress))
    return progress
