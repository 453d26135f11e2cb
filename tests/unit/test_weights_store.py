"""What is on the disk: found, checked, removed; and the commands that show it."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner
from weights_fakes import REVISION, catalog_text, content, loopback, pull, sha256, store_at

from chinwag.cli import models
from chinwag.errors import WeightsError
from chinwag.weights import Catalog, Progress, Store
from chinwag.weights import store as store_module

pytestmark = pytest.mark.unit

FILES = {"a.bin": content(2_000, 1), "b.bin": content(3_000, 2)}


def catalog() -> str:
    return catalog_text(
        *(
            {
                "name": name,
                "files": [
                    {
                        "name": file,
                        "size": len(data),
                        "sha256": sha256(data),
                        "hub": {"repo": "maker/m", "revision": REVISION, "path": file},
                    }
                    for file, data in FILES.items()
                ],
            }
            for name in ("ears", "mouth")
        )
    )


def put(store: Store, name: str, **changed: bytes) -> Path:
    """Copy a model's files into place by hand, as somebody with a USB stick would."""
    folder = store.root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in FILES.items():
        (folder / file).write_bytes(changed.get(file[0], data))
    return folder


def test_what_is_not_here_is_told_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="ears are not on this machine") as told:
        store_at(tmp_path, catalog()).folder("ears")
    assert told.value.fix == "Run: chinwag models pull ears."
    with pytest.raises(WeightsError) as told:
        store_at(tmp_path, catalog(), offline=True).folder("ears")
    assert told.value.fix == "Run: chinwag models pull ears (with a network)."


def test_offline_never_asks_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        store = store_at(tmp_path / "w", catalog(), offline=True)
        put(store, "mouth")
        pull(store, "mouth")
        with pytest.raises(WeightsError, match="Not on this machine: ears; and Chinwag runs offline") as told:
            pull(store, "ears", "mouth")
        assert server.requests == []
    assert told.value.fix.endswith("run: chinwag models pull ears")


def test_an_unknown_name_is_told_before_anything_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        with pytest.raises(WeightsError) as told:
            pull(store_at(tmp_path / "w", catalog()), "ears", "moth")
        assert server.requests == []
    assert told.value.fix == "Did you mean mouth?"


def test_files_put_there_by_hand_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    really = store_module.sha256_of

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return really(path)

    monkeypatch.setattr(store_module, "sha256_of", counted)
    store = store_at(tmp_path, catalog())
    folder = put(store, "ears")
    assert store.folder("ears") == folder
    assert hashed == ["a.bin", "b.bin"]
    assert store_at(tmp_path, catalog()).missing(["ears", "mouth"]) == ["mouth"]
    assert hashed == ["a.bin", "b.bin"]
    os.utime(folder / "b.bin")  # as a copy of the folder would have it
    assert store.missing(["ears"]) == []
    assert hashed == ["a.bin", "b.bin", "b.bin"]


def test_a_cut_off_file_is_found_at_load_and_mended_by_a_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(tmp_path / "w", catalog())
    folder = put(store, "ears")
    store.folder("ears")
    (folder / "b.bin").write_bytes(FILES["b.bin"][:-1])
    with pytest.raises(WeightsError, match=r"damaged: b\.bin has 2999 bytes instead of 3000") as told:
        store.folder("ears")
    assert told.value.fix == "Run: chinwag models pull ears."
    assert [(line.model.name, line.state) for line in store.listing()] == [
        ("ears", "damaged"),
        ("mouth", "missing"),
    ]
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub |= {f"maker/m/{file}": data for file, data in FILES.items()}
        progress = pull(store, "ears")
        assert [path.rpartition("/")[2] for path, _ in server.requests] == ["b.bin"]
    assert progress.done == progress.total == 5_000
    assert (store.folder("ears") / "b.bin").read_bytes() == FILES["b.bin"]


def test_bytes_changed_behind_our_back_are_found_by_verify(tmp_path: Path) -> None:
    """Same size, same time, other bytes: a bad disk. Only a full hash sees it, and then load sees it too."""
    store = store_at(tmp_path, catalog())
    folder = put(store, "ears")
    store.folder("ears")
    before = (folder / "a.bin").stat()
    (folder / "a.bin").write_bytes(bytes(2_000))
    os.utime(folder / "a.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    states = {(checked.file, checked.state) for checked in store.verify()}
    assert states == {("a.bin", "damaged"), ("b.bin", "ready")}
    os.utime(folder / "a.bin")
    with pytest.raises(WeightsError, match=r"damaged: a\.bin is not the file that the catalog names"):
        store.folder("ears")


def test_verify_of_a_named_model_that_is_not_here(tmp_path: Path) -> None:
    store = store_at(tmp_path, catalog())
    assert store.verify() == []
    assert {checked.state for checked in store.verify(["ears"])} == {"missing"}


def test_a_model_is_removed_with_what_was_left_of_a_pull(tmp_path: Path) -> None:
    store = store_at(tmp_path, catalog())
    put(store, "ears")
    put(store, "mouth")
    partial = tmp_path / ".partial" / "ears"
    partial.mkdir(parents=True)
    (partial / "a.bin.hub").write_bytes(b"12345")
    assert store.remove("ears") == 5_005
    assert store.missing(["ears", "mouth"]) == ["ears"]
    assert not partial.exists()
    assert store.remove("ears") == 0


def test_a_damaged_note_of_hashes_is_no_matter(tmp_path: Path) -> None:
    store = store_at(tmp_path, catalog())
    folder = put(store, "ears")
    for text in ("not json", "[1]", '{"a.bin": "x"}'):
        (folder / ".chinwag.json").write_text(text, "utf-8")
        assert store.folder("ears") == folder


def shown(store: Store, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100)
    asyncio.run(models.pull_with_bars(store, ["ears", "mouth"], Progress(), console))
    return screen.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_pull_says_what_and_how_large_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub |= {f"maker/m/{file}": data for file, data in FILES.items()}
        store = store_at(tmp_path / "w", catalog())
        screen = shown(store, terminal)
    lines = [line.strip() for line in screen.splitlines()]
    assert lines[0].startswith("Fetching 2 models, 10.0 kB, into")
    assert "ears" in lines[1]
    assert "5.0 kB" in lines[1]
    assert "Fetched and checked: ears, mouth" in screen
    assert ("total" in screen) == terminal
    assert ("ears/b.bin: 3.0 kB came" in screen) != terminal
    assert shown(store, terminal) == ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of the small catalog at the place that the commands use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHINWAG_WEIGHTS__FOLDER", str(tmp_path / "w"))
    small = Catalog(catalog())
    monkeypatch.setattr(store_module, "Catalog", lambda: small)
    return store_at(tmp_path / "w", catalog())


def test_the_commands(home: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(models.app, words)
        if isinstance(result.exception, WeightsError):
            raise result.exception
        return result.exit_code, result.output

    code, output = run("verify")
    assert (code, "No models are on this machine" in output) == (0, True)
    with loopback(tmp_path / "archives", monkeypatch) as server:
        server.hub |= {f"maker/m/{file}": data for file, data in FILES.items()}
        assert run("pull", "ears")[0] == 0
    assert home.missing(["ears"]) == []
    assert run("pull", "ears") == (0, "Already here: ears\n")

    code, output = run("list")
    ears, mouth = output.splitlines()[1:3]
    assert (code, "here" in ears, "not here" in mouth, "5.0 kB" in ears) == (0, True, True, True)

    (home.root / "ears" / "a.bin").write_bytes(b"short")
    code, output = run("verify", "ears")
    assert code == 1
    assert "damaged ears/a.bin has 5 bytes instead of 2000" in output
    assert "chinwag models pull ears" in output
    assert "damaged" in run("list")[1]

    with pytest.raises(WeightsError, match="runs offline"):
        run("pull", "ears", "--offline")
    with pytest.raises(WeightsError, match="no model called eers"):
        run("rm", "ears", "eers")
    assert (home.root / "ears").is_dir()
    code, output = run("rm", "ears", "mouth")
    assert code == 0
    assert output.startswith("ears: 3.")
    assert output.endswith(" kB freed\nmouth: was not here\n")
    assert not (home.root / "ears").exists()
