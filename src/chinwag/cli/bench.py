"""`chinwag bench`: how good it is, measured through the real wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chinwag import config
from chinwag.bench import corpus, goals, interrupt, latency, load, make_corpus, plots, report, turns
from chinwag.bench.corpus import Recording
from chinwag.bench.machine import describe_machine
from chinwag.client_sdk.client import Transport
from chinwag.client_sdk.local_server import local_server
from chinwag.weights import Store

app = typer.Typer(no_args_is_help=True, help="Measure a server as a caller lives it.")

Url = Annotated[
    str | None,
    typer.Option(help="A running server, like ws://127.0.0.1:8000/v1/realtime; without it, one is started."),
]
Json = Annotated[Path | None, typer.Option(help="Write the figures here.")]
Plot = Annotated[Path | None, typer.Option(help="Draw them here, as .png, .svg or .pdf; needs chinwag\\[bench].")]
Corpus = Annotated[
    Path | None,
    typer.Option("--corpus", help="Mono WAVs, each with NAME.json; without it, one is made with the Kokoro voices."),
]
Key = Annotated[str | None, typer.Option(help="The server's key, where it wants one.")]


class TransportChoice(StrEnum):
    """What `latency` calls over."""

    websocket = "websocket"
    webrtc = "webrtc"
    both = "both"


Progress = Callable[[str], None]
MakeCorpus = Callable[[Store, Progress], Awaitable[list[Recording]]]
Measure = Callable[[str, Sequence[Recording]], Awaitable[dict[str, Any]]]


@app.callback()
def bench() -> None:
    """Measure a server as a caller lives it."""


@app.command("latency")
def latency_command(
    url: Url = None,
    turns: Annotated[int, typer.Option(min=1, help="How many turns of one conversation to hold.")] = 60,
    json: Json = None,
    plot: Plot = None,
    folder: Corpus = None,
    api_key: Key = None,
    transport: Annotated[
        TransportChoice, typer.Option(help="How to call; both: by turns, in one run.")
    ] = TransportChoice.websocket,
) -> None:
    """Time from the last sound of a question to the first sound of its answer."""
    out, tell = Console(), progress_printer()
    check_outputs(json, plot)

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        def on_turn(turn: dict[str, Any]) -> None:
            tell(f"{turn['transport']}: {report.turn_line(turn)}" if transport == "both" else report.turn_line(turn))

        if transport == "both":
            return await latency.run_both(at, recordings, turns, api_key=api_key, on_turn=on_turn)
        by: Transport = "webrtc" if transport == "webrtc" else "websocket"
        return await latency.run(at, recordings, turns, api_key=api_key, on_turn=on_turn, transport=by)

    result = asyncio.run(measure_server(url, folder, make_corpus.default_corpus, measure, tell))
    wanted = goals.TRANSPORTS if transport == "both" else goals.LATENCY
    result["goals"] = goals.verdicts(result, wanted)
    if transport == "both":
        report.show_transports(result, out)
    else:
        report.show(result, out)
    report.show_goals(result, wanted, out, "Goals, embedded engines on two cores")
    report.show_machine(result, out)
    write_results(result, json, plot, plots.latency)


@app.command("turns")
def turns_command(
    url: Url = None,
    turns_: Annotated[int, typer.Option("--turns", min=1, help="How many turns to hold with each detector.")] = 60,
    json: Json = None,
    plot: Plot = None,
    folder: Corpus = None,
    api_key: Key = None,
) -> None:
    """How often it answers into a pause, beside fixed silence and Smart Turn alone: three conversations."""
    out, tell = Console(), progress_printer()
    check_outputs(json, plot)

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        def on_turn(detector: str, turn: dict[str, Any]) -> None:
            tell(f"{detector}: {report.turn_line(turn)}")

        return await turns.run(at, recordings, turns_, api_key=api_key, on_turn=on_turn)

    result = asyncio.run(measure_server(url, folder, make_corpus.default_corpus, measure, tell))
    wanted = goals.turns(result)
    result["goals"] = goals.verdicts(result, wanted)
    report.show_turns(result, out)
    report.show_goals(result, wanted, out, "Goals")
    report.show_machine(result, out)
    write_results(result, json, plot, plots.turns)


@app.command("interrupt")
def interrupt_command(
    url: Url = None,
    turns: Annotated[int, typer.Option(min=1, help="How many trials to hold with each kind of client.")] = 60,
    json: Json = None,
    plot: Plot = None,
    folder: Corpus = None,
    api_key: Key = None,
) -> None:
    """Whether it stops when interrupted and goes on when it was none, for the page and for a stock client."""
    out, tell = Console(), progress_printer()
    check_outputs(json, plot)

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        def on_trial(client: str, trial: dict[str, Any]) -> None:
            tell(f"{client}: {report.trial_line(trial)}")

        return await interrupt.run(at, recordings, turns, api_key=api_key, on_trial=on_trial)

    result = asyncio.run(measure_server(url, folder, make_corpus.interruption_corpus, measure, tell))
    both = (*goals.INTERRUPT_PAGE, *goals.INTERRUPT_STOCK)
    result["goals"] = goals.verdicts(result, both)
    report.show_interrupt(result, out)
    report.show_goals(result, goals.INTERRUPT_PAGE, out, "Goals, client with chinwag events")
    report.show_goals(result, goals.INTERRUPT_STOCK, out, "Goals, stock client")
    report.show_machine(result, out)
    write_results(result, json, plot, plots.interrupt)


@app.command("load")
def load_command(
    sessions: Annotated[str, typer.Option(help="How many talkers at once, step after step, parted by commas.")] = (
        "1,2,4,8,16"
    ),
    seconds: Annotated[float, typer.Option(min=5, help="How long each step is measured.")] = 60,
    url: Url = None,
    json: Json = None,
    plot: Plot = None,
    folder: Corpus = None,
    api_key: Key = None,
) -> None:
    """How many people can talk with one server at once, and what each of them has of it."""
    out, tell = Console(), progress_printer()
    check_outputs(json, plot)
    counts = load.parse_sessions(sessions)

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        return await load.run(
            at, recordings, counts, seconds, api_key=api_key, on_step=lambda step: tell(report.step_line(step))
        )

    result = asyncio.run(measure_server(url, folder, make_corpus.default_corpus, measure, tell))
    wanted = goals.load(result)
    result["goals"] = goals.verdicts(result, wanted)
    report.show_load(result, out)
    report.show_goals(result, wanted, out, "Goals, embedded engines on two cores")
    report.show_machine(result, out)
    write_results(result, json, plot, plots.load)


async def measure_server(
    url: str | None, folder: Path | None, made: MakeCorpus, measure: Measure, tell: Progress, **settings: str
) -> dict[str, Any]:
    """Measure the server at `url` with the recordings of `folder`.

    Without a URL a server is started with `settings` in its environment; without a folder `made` makes the recordings.
    """
    recordings = corpus.load_corpus(folder) if folder is not None else await made(Store(config.load().weights), tell)
    startup = None
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            server = await stack.enter_async_context(local_server(tell, **settings))
            url, startup = server.url, server.startup_s
        result = await measure(url, recordings)
    if startup is not None:
        result.setdefault("server", {})["startup_s"] = round(startup, 2)
    return {**result, "corpus": str(folder or "made"), "machine": describe_machine()}


def progress_printer() -> Progress:
    """Return a function that prints a line of progress to stderr."""
    console = Console(stderr=True)
    return lambda line: console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def check_outputs(json: Path | None, plot: Path | None) -> None:
    """Raise ReportError or PlotError before a long run if its results could not be written."""
    if json is not None:
        report.check(json)
    if plot is not None:
        plots.check(plot)


def write_results(
    result: dict[str, Any], json: Path | None, plot: Path | None, draw: Callable[[dict[str, Any], Path], None]
) -> None:
    """Write the figures and their plot to the files that were asked for."""
    if json is not None:
        report.write(result, json)
    if plot is not None:
        draw(result, plot)
