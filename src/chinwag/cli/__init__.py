"""chinwag serve | talk | engines | models | doctor | bench | cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chinwag import __version__
from chinwag.cli import bench, cluster, doctor, engines, models, serve, talk
from chinwag.errors import ChinwagError

_app = typer.Typer(
    name="chinwag",
    help="Natural spoken conversation with an AI, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_app.command("serve")(serve.serve)
_app.command("talk")(talk.talk)
_app.command("engines")(engines.engines)
_app.command("doctor")(doctor.doctor)
_app.add_typer(models.app, name="models")
_app.add_typer(bench.app, name="bench")
_app.add_typer(cluster.app, name="cluster")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"chinwag {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it and end.")
    ] = False,
) -> None:
    """Natural spoken conversation with an AI, on your own machine."""


def app() -> None:
    """Run the command line."""
    run_app(_app)


def run_app(program: typer.Typer) -> None:
    """Run a command line; an error with a known fix is printed as two lines, without a traceback."""
    try:
        program()
    except ChinwagError as error:
        typer.secho(f"chinwag: {error.message}", fg=typer.colors.RED, err=True)
        if error.fix:
            typer.echo(f"  → {error.fix}", err=True)
        sys.exit(1)
