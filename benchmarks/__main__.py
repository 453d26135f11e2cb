"""`python -m benchmarks engines | languages | conversation`: benchmarks for the development of Chinwag."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import conversation, corpora, engines, languages, plots
from chinwag import config
from chinwag.bench import make_corpus, report
from chinwag.bench.corpus import Recording
from chinwag.bench.engine_figures import save_figures
from chinwag.bench.machine import describe_machine
from chinwag.cli import run_app
from chinwag.cli.bench import (
    Corpus,
    Json,
    Key,
    Plot,
    Url,
    check_outputs,
    measure_server,
    progress_printer,
    write_results,
)
from chinwag.weights import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Benchmarks for the development of Chinwag.",
)


@app.command("conversation")
def conversation_command(
    output: Annotated[Path, typer.Option(help="Write OUTPUT.wav, OUTPUT.svg and OUTPUT.json.")],
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Record a scripted conversation of about two minutes, both sides, with its timeline."""
    console, report_progress = Console(), progress_printer()
    files = {kind: output.with_name(f"{output.name}.{kind}") for kind in ("wav", "svg", "json")}
    check_outputs(files["json"], files["svg"])

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        return await conversation.run(at, recordings, files["wav"], api_key=api_key, tell=report_progress)

    result = asyncio.run(measure_server(url, None, corpora.script_recordings, measure, report_progress))
    conversation.show(result, console)
    write_results(result, files["json"], files["svg"], plots.timeline)
    console.print(f"Written: {', '.join(str(file) for file in files.values())}", highlight=False)


@app.command("languages")
def languages_command(
    url: Url = None,
    turns: Annotated[int, typer.Option(min=1, help="How many turns to hold in each language.")] = 6,
    send_language: Annotated[
        bool, typer.Option("--told", help="Tell the server the language; else the server detects it.")
    ] = False,
    json: Json = None,
    folder: Corpus = None,
    api_key: Key = None,
) -> None:
    """Whole turns in eight languages: understood, and answered in the same? Needs chinwag\\[languages]."""
    console, report_progress = Console(), progress_printer()
    check_outputs(json, None)

    async def measure(at: str, recordings: Sequence[Recording]) -> dict[str, Any]:
        async with languages.load_transcriber(Store(config.load().weights), report_progress) as transcriber:
            return await languages.run(
                at,
                recordings,
                turns,
                transcriber,
                api_key=api_key,
                send_language=send_language,
                on_turn=lambda turn: report_progress(report.turn_line(turn)),
            )

    result = asyncio.run(
        measure_server(url, folder, corpora.language_recordings, measure, report_progress, **languages.ENGINES)
    )
    languages.show(result, console)
    if json is not None:
        report.write(result, json)


@app.command("engines")
def engines_command(
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this: tts:kokoro, or stt:whisper=tiny for one of its models. Repeat.")
    ] = None,
    sentences: Annotated[int, typer.Option(min=1, help="How many sentences each transcribes or speaks.")] = 12,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Every engine here, each in a process of its own: load time, memory, first result, real time, words wrong."""
    console, report_progress = Console(), progress_printer()
    check_outputs(json, plot)
    wanted = engines.parse_engines(engine or [])
    if any(task != "llm" for task, _, _ in wanted):  # the corpus is made before any engine is timed
        asyncio.run(make_corpus.default_corpus(Store(config.load().weights), report_progress))
    measured = engines.measure_engines(wanted, sentences, lambda entry: report_progress(engines.entry_text(entry)))
    save_figures(measured)
    here = describe_machine()
    result: dict[str, Any] = {"engines": measured, "sentences": sentences, "machine": here}
    result["versions"] = engines.versions(wanted)
    engines.show(measured, console)
    console.print(f"machine: {here['cpu']}, {here['cores']} cores, {here['os']}", highlight=False)
    write_results(result, json, plot, plots.engines)


if __name__ == "__main__":
    run_app(app)
