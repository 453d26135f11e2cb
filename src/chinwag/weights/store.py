"""The folder of model weights: only complete, verified models count as present.

FOLDER/NAME/            a model's files, and .chinwag.json with their hashes and times at the last check
FOLDER/.partial/NAME/   an incomplete download; the next pull resumes it
FOLDER/.partial/NAME.lock
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from chinwag.config import WeightsSettings
from chinwag.errors import WeightsError
from chinwag.weights.catalog import Catalog, CatalogModel, File
from chinwag.weights.progress import Progress
from chinwag.weights.pull import Pull, require_room
from chinwag.weights.sources import CHUNK, NoSpaceError, Stopped

State = Literal["ready", "missing", "damaged"]
_MANIFEST = ".chinwag.json"
_LOCK_POLL_S = 0.2
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class ListedModel:
    """A line of `chinwag models list`. on_disk: bytes, incomplete downloads included."""

    model: CatalogModel
    state: State
    on_disk: int


@dataclass(frozen=True)
class VerifiedFile:
    """The result of checking one file. detail: the fault, or "" if there is none."""

    model: str
    file: str
    state: State
    detail: str = ""


class Store:
    """The catalog's models in one folder. Several processes may use the folder at once."""

    def __init__(self, settings: WeightsSettings, catalog: Catalog | None = None) -> None:
        self.catalog = catalog or Catalog()
        self.settings = settings
        self.root = settings.folder.expanduser().absolute()

    def folder(self, name: str) -> Path:
        """Return the folder of a complete model. Raises WeightsError with the command that downloads it."""
        model = self.catalog.model(name)
        wrong = self._find_faults(model)
        if not wrong:
            return self.root / name
        fix = f"Run: chinwag models pull {name}" + (" (with a network)." if self.settings.offline else ".")
        if all(state == "missing" for _, state, _ in wrong):
            raise WeightsError(f"The weights of {name} are not on this machine.", fix)
        file, _, detail = next(item for item in wrong if item[1] == "damaged")
        raise WeightsError(f"The weights of {name} are damaged: {file.name} {detail}.", fix)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the models that need a pull because files are missing or damaged, each once."""
        return [name for name in dict.fromkeys(names) if self._find_faults(self.catalog.model(name))]

    def size(self, names: Iterable[str]) -> int:
        """Return the size of the models on disk, in bytes."""
        return sum(self.catalog.model(name).size for name in dict.fromkeys(names))

    def listing(self) -> list[ListedModel]:
        """Return every model of the catalog with its state."""
        models: list[ListedModel] = []
        for model in self.catalog.models.values():
            wrong = [state for _, state, _ in self._find_faults(model)]
            state: State = "ready" if not wrong else "damaged" if "damaged" in wrong else "missing"
            on_disk = _folder_size(self.root / model.name) + _folder_size(self._partial(model))
            models.append(ListedModel(model, state, on_disk))
        return models

    def verify(self, names: Iterable[str] = ()) -> list[VerifiedFile]:
        """Hash every file of the models; without names, of all models on this disk."""
        chosen = [self.catalog.model(name) for name in dict.fromkeys(names)]
        if not chosen:
            chosen = [model for model in self.catalog.models.values() if (self.root / model.name).is_dir()]
        checked: list[VerifiedFile] = []
        for model in chosen:
            wrong = {file.name: (state, detail) for file, state, detail in self._find_faults(model, hash_all=True)}
            for file in model.files:
                state, detail = wrong.get(file.name, ("ready", ""))
                checked.append(VerifiedFile(model.name, file.name, state, detail))
        return checked

    def remove(self, name: str) -> int:
        """Delete a model and its incomplete download; return the bytes freed."""
        model = self.catalog.model(name)
        freed = 0
        with self._locked(model, threading.Event(), None):
            for path in (self.root / name, self._partial(model)):
                size = _folder_size(path)
                try:
                    shutil.rmtree(path)
                    freed += size
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise WeightsError(
                        f"{path} could not be removed: {error.strerror}.",
                        "Stop what is using it and try again.",
                    ) from error
        return freed

    async def pull(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """Download and verify the models' missing files on a thread; at most three downloads run at once.

        Raises WeightsError: unknown name, offline, disk full, or all sources failed. Cancelling stops the downloads
        at once; the next pull resumes them.
        """
        models = [self.catalog.model(name) for name in dict.fromkeys(names)]
        stop = threading.Event()
        work = asyncio.ensure_future(asyncio.to_thread(self._pull, models, progress or Progress(), stop))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # retrieve it, or asyncio logs it
            raise

    def _pull(self, models: list[CatalogModel], progress: Progress, stop: threading.Event) -> None:
        lacking = [model for model in models if self._find_faults(model)]
        if not lacking:
            return
        if self.settings.offline:
            names = " ".join(model.name for model in lacking)
            raise WeightsError(
                f"Not on this machine: {names}; and Chinwag runs offline.",
                f"With a network, and without --offline, run: chinwag models pull {names}",
            )
        pull = Pull(self.settings.sources, progress, stop)
        for model in lacking:
            pull.plan(model)
        try:
            self._check_disk_space(lacking, pull)
            for model in lacking:
                with self._locked(model, stop, progress):
                    self._pull_one(model, pull)
        except Stopped:
            return
        except OSError as error:
            raise WeightsError(
                f"{self.root} cannot be written to: {error.strerror or error}.",
                "Make it writable, or set weights.folder to another folder.",
            ) from error

    def _check_disk_space(self, models: list[CatalogModel], pull: Pull) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        wrong = {model.name: [file for file, _, _ in self._find_faults(model)] for model in models}
        here = sum(_folder_size(self._partial(model)) for model in models)
        need = sum(file.size for files in wrong.values() for file in files) - here
        temporary_bytes = max(pull.temporary_bytes(model) for model in models)
        require_room(self.root, max(need, 0) + temporary_bytes, ", ".join(wrong))

    def _pull_one(self, model: CatalogModel, pull: Pull) -> None:
        whole = self.root / model.name
        partial = self._partial(model)
        wrong = [file for file, _, _ in self._find_faults(model)]  # another process may have fetched it meanwhile
        for file in model.files:
            if file not in wrong:
                pull.mark_present(model, file)
        if not wrong:
            return
        try:
            partial.mkdir(parents=True, exist_ok=True)
            whole.mkdir(exist_ok=True)
            pull.run(model, wrong, partial, whole)
        except (NoSpaceError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _FULL:
                raise
            shutil.rmtree(partial, ignore_errors=True)
            raise WeightsError(
                f"The disk became full while {model.name} came to {self.root}; what had come of it was removed.",
                f"Free some space ({model.name} takes {model.size / 1e6:.0f} MB) or set weights.folder"
                " to a folder on another disk.",
            ) from error
        finally:
            if not any(whole.iterdir() if whole.is_dir() else ()):
                with contextlib.suppress(OSError):
                    whole.rmdir()
        self._write_manifest(model)
        shutil.rmtree(partial, ignore_errors=True)

    def _partial(self, model: CatalogModel) -> Path:
        return self.root / ".partial" / model.name

    @contextlib.contextmanager
    def _locked(self, model: CatalogModel, stop: threading.Event, progress: Progress | None) -> Iterator[None]:
        """Hold the model's lock; other processes wait for it."""
        where = self.root / ".partial" / f"{model.name}.lock"
        where.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(where)
        announced = False
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL_S)
                break
            except filelock.Timeout:
                if stop.is_set():
                    raise Stopped from None
                if progress is not None and not announced:
                    progress.say(f"{model.name}: another Chinwag process is fetching it; waiting for it to finish.")
                    announced = True
        try:
            yield
        finally:
            lock.release()

    def _find_faults(self, model: CatalogModel, hash_all: bool = False) -> list[tuple[File, State, str]]:
        """Return the missing and damaged files, each with its state and the fault.

        A file is hashed only if its size or time differs from the last successful check.
        """
        folder = self.root / model.name
        manifest = self._manifest(model)
        wrong: list[tuple[File, State, str]] = []
        verified = False
        for file in model.files:
            path = folder / file.name
            try:
                stat = path.stat()
            except OSError:
                wrong.append((file, "missing", "is not there"))
                continue
            if stat.st_size != file.size:
                wrong.append((file, "damaged", f"has {stat.st_size} bytes instead of {file.size}"))
            elif hash_all or manifest.get(file.name) != [file.sha256, stat.st_mtime_ns]:
                if sha256_of(path) == file.sha256:
                    verified = True
                else:
                    wrong.append((file, "damaged", "is not the file that the catalog names (its sha256 differs)"))
        if verified and not wrong:
            self._write_manifest(model)
        return wrong

    def _manifest(self, model: CatalogModel) -> dict[str, Any]:
        try:
            manifest = json.loads((self.root / model.name / _MANIFEST).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def _write_manifest(self, model: CatalogModel) -> None:
        """Record the hashes and times of verified files. It only saves time, so failures are ignored."""
        folder = self.root / model.name
        with contextlib.suppress(OSError):
            facts = {file.name: [file.sha256, (folder / file.name).stat().st_mtime_ns] for file in model.files}
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=_MANIFEST)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(facts, out, indent=1)
            os.replace(temporary, folder / _MANIFEST)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _folder_size(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
