"""`chinwag models list | pull | verify | rm`: the weights on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from chinwag import config
from chinwag.engines.llm import ollama
from chinwag.weights import Progress, Store
from chinwag.weights.store import ListedModel

DRAW_EVERY_S = 0.25
PLAIN_EVERY_S = 5.0
BARS_AT_ONCE = 6
OLLAMA = "ollama:"
"""Before a name that is Ollama's and not the catalog's."""

app = typer.Typer(help="The models' weights on this machine.", no_args_is_help=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; ./chinwag.toml otherwise.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="As `chinwag models list` shows them.")]
AnyNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="None: all that are here.")]


@app.command("list")
def list_models(config_file: ConfigFile = None) -> None:
    """Show every model there is, and which are on this machine."""
    store = _store(config_file)
    listing = store.listing()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Name", "Task", "Languages"):
        table.add_column(heading, no_wrap=heading != "Languages")
    table.add_column("Size", justify="right", no_wrap=True)
    for heading in ("Licence", "State"):
        table.add_column(heading, no_wrap=True)
    table.add_column("What it is")
    for line in listing:
        model = line.model
        table.add_row(
            model.name,
            model.task,
            _languages(model.languages),
            decimal(model.size),
            model.licence,
            _state(line),
            model.description,
        )
    console = _console()
    console.print(table)
    on_disk = sum(line.on_disk for line in listing)
    console.print(f"\n{decimal(on_disk)} in {store.root}", soft_wrap=True, highlight=False)


@app.command()
def pull(
    names: Names,
    offline: Annotated[bool, typer.Option("--offline", help="Do not reach for the network.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Fetch models that are not here, and mend damaged ones; ollama:NAME has Ollama fetch one of its own.

    A pull that was broken off goes on.
    """
    store = _store(config_file, offline)
    asked_of_ollama = [name.removeprefix(OLLAMA) for name in names if name.startswith(OLLAMA)]
    names = [name for name in names if not name.startswith(OLLAMA)]
    store.size(names)  # a typo is told before anything is fetched
    try:
        for name in asked_of_ollama:
            _pull_with_ollama(config.load(config_file), name)
    except KeyboardInterrupt:
        _exit_interrupted()
    if not names:
        return
    if not store.missing(names):
        _console().print("Already here: " + ", ".join(names))
        return
    try:
        asyncio.run(pull_with_bars(store, names))
    except KeyboardInterrupt:
        _exit_interrupted()


@app.command()
def verify(names: AnyNames = None, config_file: ConfigFile = None) -> None:
    """Hash every file and compare it with the catalog. Exit code 1 where one is not right."""
    checked = _store(config_file).verify(names or ())
    console = _console()
    for file in checked:
        mark = "[green]ok     [/]" if file.state == "ready" else f"[red]{file.state:7}[/]"
        console.print(f"{mark} {file.model}/{file.file} {file.detail}".rstrip(), highlight=False, soft_wrap=True)
    wrong = list(dict.fromkeys(file.model for file in checked if file.state != "ready"))
    if not checked:
        console.print("No models are on this machine. Fetch some with: chinwag models pull NAME")
    if wrong:
        console.print(f"Mend with: chinwag models pull {' '.join(wrong)}", soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def rm(names: Names, config_file: ConfigFile = None) -> None:
    """Delete models from this machine."""
    store = _store(config_file)
    for name in names:
        store.catalog.model(name)  # a typo is told before anything is deleted
    for name in names:
        freed = store.remove(name)
        _console().print(f"{name}: {decimal(freed)} freed" if freed else f"{name}: was not here")


def _exit_interrupted() -> NoReturn:
    _console(err=True).print("Stopped. What has come is kept: run the same command to go on.")
    raise typer.Exit(130) from None


def _pull_with_ollama(settings: config.Config, model: str) -> None:
    """Ollama at llm.base_url fetches it and keeps it; a line for each of its steps, and a bar on a terminal."""
    chat = settings.llm if settings.llm.engine == "ollama" else config.LlmSettings(engine="ollama")
    console, told = _console(err=True), ""
    with _bars(console) as bars:
        bar = bars.add_task(model, total=None, visible=False)
        for status, done, total in ollama.pull(chat, model):
            if status != told:
                told = status
                console.print(f"ollama {model}: {status}", highlight=False, markup=False, soft_wrap=True)
            bars.update(bar, completed=done, total=total or None, visible=total > 0)


async def pull_with_bars(
    store: Store, names: Sequence[str], progress: Progress | None = None, console: Console | None = None
) -> None:
    """Pull what is missing of the models, and show it on the terminal: what and how large, then how far.

    progress: one that others read too, as the page does. Plain lines where the console is no terminal.
    Raises WeightsError.
    """
    progress = progress or Progress()
    console = console or _console(err=True)
    lacking = await asyncio.to_thread(store.missing, names)
    if not lacking:
        return
    if not store.settings.offline:
        _print_plan(console, store, lacking)
    drawing = asyncio.create_task(_draw_progress(console, progress))
    try:
        await store.pull(lacking, progress)
    finally:
        drawing.cancel()
        await asyncio.wait({drawing})
    console.print(f"Fetched and checked: {', '.join(lacking)}", soft_wrap=True, highlight=False)


def _print_plan(console: Console, store: Store, names: Sequence[str]) -> None:
    console.print(
        f"Fetching {len(names)} model{'s' * (len(names) > 1)}, {decimal(store.size(names))}, into {store.root}",
        soft_wrap=True,
        highlight=False,
    )
    for name in names:
        model = store.catalog.model(name)
        console.print(
            f"  {name:20} {decimal(model.size):>9}  {model.licence:12}  {model.description}",
            soft_wrap=True,
            highlight=False,
        )


async def _draw_progress(console: Console, progress: Progress) -> None:
    """Show the progress until cancelled, and once more then."""
    lines = _draw_bars(console, progress) if console.is_terminal else _draw_lines(console, progress)
    with contextlib.closing(lines):
        try:
            while True:
                next(lines)
                await asyncio.sleep(DRAW_EVERY_S)
        finally:
            next(lines)


def _print_new_lines(console: Console, progress: Progress, told: int) -> int:
    for line in progress.lines[told:]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return len(progress.lines)


def _draw_bars(console: Console, progress: Progress) -> Generator[None, None, None]:
    bars = _bars(console)
    tasks: dict[str, TaskID] = {}
    told = 0
    with bars:
        while True:
            told = _print_new_lines(console, progress, told)
            files = progress.files
            shown = 0
            for file in files:
                if file.name not in tasks:
                    tasks[file.name] = bars.add_task(file.name.rpartition("/")[2], visible=False)
                visible = shown < BARS_AT_ONCE and 0 < file.done < file.total
                shown += visible
                bars.update(tasks[file.name], completed=file.done, total=file.total, visible=visible)
            if files:
                if "" not in tasks:
                    tasks[""] = bars.add_task("[bold]total[/]")
                bars.update(tasks[""], completed=progress.done, total=progress.total)
            yield


def _bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _draw_lines(console: Console, progress: Progress) -> Generator[None, None, None]:
    told, ticks = 0, 0
    finished: set[str] = set()
    while True:
        told = _print_new_lines(console, progress, told)
        for file in progress.files:
            if file.done >= file.total and file.name not in finished:
                finished.add(file.name)
                console.print(f"  {file.name}: {decimal(file.total)} came", soft_wrap=True, highlight=False)
        ticks += 1
        if ticks % round(PLAIN_EVERY_S / DRAW_EVERY_S) == 0:
            left = progress.seconds_left
            console.print(
                f"  {decimal(progress.done)} of {decimal(progress.total)},"
                f" {decimal(int(progress.bytes_per_s))}/s" + ("" if left is None else f", {left:.0f} s left"),
                soft_wrap=True,
                highlight=False,
            )
        yield


def _store(config_file: Path | None, offline: bool = False) -> Store:
    flags = {"weights": {"offline": True}} if offline else None
    return Store(config.load(config_file, flags).weights)


def _console(err: bool = False) -> Console:
    console = Console(stderr=err)
    # A pipe has no width: lines are not to be folded at the 80 columns that rich then takes.
    return console if console.is_terminal else Console(stderr=err, width=200)


def _languages(languages: Sequence[str]) -> str:
    if tuple(languages) == ("*",):
        return "any"
    return ", ".join(languages) if len(languages) <= 3 else f"{languages[0]} and {len(languages) - 1} more"


def _state(line: ListedModel) -> str:
    if line.state == "ready":
        return "[green]here[/]"
    if line.state == "damaged":
        return "[red]damaged[/]"
    return f"[yellow]partly here ({decimal(line.on_disk)})[/]" if line.on_disk else "not here"
