"""`chinwag bench`: how good it is, measured through the real wire."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chinwag import config
from chinwag.bench import corpus, latency, make_corpus, report
from chinwag.bench.machine import machine
from chinwag.caller.local_server import local_server
from chinwag.weights import Store

app = typer.Typer(no_args_is_help=True, help="Measure a server as a caller lives it.")


@app.callback()
def bench() -> None:
    """Measure a server as a caller lives it."""


@app.command("latency")
def latency_command(
    url: Annotated[
        str | None,
        typer.Option(help="A running server, like ws://127.0.0.1:8000/v1/realtime; without it, one is started."),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="How many turns of one conversation to hold.")] = 20,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--corpus", help="Mono WAVs, each with NAME.json; without it, one is made with the Kokoro voices."
        ),
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="The server's key, where it wants one.")] = None,
) -> None:
    """Time from the last sound of a question to the first sound of its answer."""
    out, err = Console(), Console(stderr=True)
    if json is not None:
        report.check(json)
    result = asyncio.run(_latency(url, turns, folder, api_key, err))
    report.show(result, out)
    if json is not None:
        report.write(result, json)


async def _latency(
    url: str | None, turns: int, folder: Path | None, api_key: str | None, err: Console
) -> dict[str, Any]:
    def tell(line: str) -> None:
        err.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    if folder is not None:
        recordings = corpus.load(folder)
    else:
        recordings = await make_corpus.default_corpus(Store(config.load().weights), tell)
    startup = None
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            server = await stack.enter_async_context(local_server(tell))
            url, startup = server.url, server.startup_s
        result = await latency.run(
            url, recordings, turns, api_key=api_key, on_turn=lambda turn: tell(report.turn_line(turn))
        )
    if startup is not None:
        result["server"]["startup_s"] = round(startup, 2)
    return {**result, "machine": machine()}
