"""`chinwag cluster`: its config file, and how a running one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chinwag.cluster import NAMES, config_file
from chinwag.cluster.options import INGRESS, Options
from chinwag.errors import ChinwagError, ConfigError

app = typer.Typer(help="Chinwag on several machines, by Ray Serve.", no_args_is_help=True)

REPORTS_WITHIN_S = 10.0
COLOURS = {"RUNNING": "green", "HEALTHY": "green", "UNHEALTHY": "red", "DEPLOY_FAILED": "red"}


@app.command("config")
def config(
    settings: Annotated[str, typer.Option("--config", help="Settings file instead of ./chinwag.toml.")] = "",
    output: Annotated[Path | None, typer.Option(help="Write it there, and not to the terminal.")] = None,
) -> None:
    """Write the Serve config of an application for these settings, to be edited and deployed: serve deploy FILE."""
    text = config_file(Options(config=settings))
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{output} is there already.", "Name another file, or delete that one.") from None
    print(f"Edit {output}, then: serve deploy {output}")


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    address: Annotated[str, typer.Option(help="Of the Ray cluster; auto: the one this machine belongs to.")] = "auto",
) -> None:
    """Tell how each deployment is, where each replica is and what it has done, and what each node has."""
    told = cluster_status(address)
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print_status(told, Console(highlight=False))
    if not told["applications"] or any(one["status"] != "RUNNING" for one in told["applications"].values()):
        raise typer.Exit(1)


def cluster_status(address: str) -> dict[str, Any]:
    """Nodes and applications with their deployments and replicas. Raises ChinwagError where no cluster answers."""
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise ConfigError(f"Ray is not installed: {error}.", "pip install 'chinwag[cluster]'") from error
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError) as error:
        raise ChinwagError(
            f"No Ray cluster answers: {str(error).splitlines()[0].rstrip('.')}.",
            "Start one: `ray start --head`, or run this on one of its machines.",
        ) from error
    applications = {
        name: {
            "status": str(found.status.value),
            "message": found.message,
            "deployments": {
                kind: {
                    "status": str(one.status.value),
                    "message": one.message,
                    "states": dict(one.replica_states),
                    "replicas": _replica_reports(serve.get_deployment_handle(kind, name)) if _is_running(one) else [],
                }
                for kind, one in found.deployments.items()
                if kind in (INGRESS, *NAMES.values())
            },
        }
        for name, found in serve.status().applications.items()
        if INGRESS in found.deployments
    }
    nodes = [
        {
            "node": node["NodeID"],
            "address": node["NodeManagerAddress"],
            "alive": node["Alive"],
            "cpus": node["Resources"].get("CPU", 0),
            "gpus": node["Resources"].get("GPU", 0),
        }
        for node in ray.nodes()
    ]
    return {"nodes": nodes, "applications": applications}


def _is_running(deployment: Any) -> bool:
    return any(str(getattr(state, "value", state)) == "RUNNING" for state in deployment.replica_states)


def _replica_reports(handle: Any) -> list[dict[str, Any]]:
    try:
        return list(handle.broadcast("report").results(timeout_s=REPORTS_WITHIN_S))
    except Exception as error:  # one that is just dying; the states above tell the rest
        return [{"error": str(error).splitlines()[0] if str(error) else type(error).__name__}]


def _print_status(told: dict[str, Any], out: Console) -> None:
    names = {node["node"]: node["address"] for node in told["nodes"]}
    for node in told["nodes"]:
        state = "[green]alive[/]" if node["alive"] else "[red]dead[/]"
        out.print(f"node {node['address']} {node['node'][:8]}  {state}  {node['cpus']:g} CPUs, {node['gpus']:g} GPUs")
    if not told["applications"]:
        out.print("Chinwag does not run here.")
        out.print("  → chinwag cluster config --output serve.yaml, then: serve deploy serve.yaml")
    for name, one in told["applications"].items():
        out.print(f"\n{name}: {_coloured(one['status'])} {one['message']}".rstrip(), soft_wrap=True)
        for kind, found in one["deployments"].items():
            states = ", ".join(f"{number} {state.lower()}" for state, number in found["states"].items())
            out.print(f"  {kind:<9} {_coloured(found['status'])}: {states} {found['message']}".rstrip(), soft_wrap=True)
            for replica in found["replicas"]:
                out.print(f"    {_replica_text(replica, names)}", soft_wrap=True)


def _replica_text(replica: dict[str, Any], nodes: dict[str, str]) -> str:
    if "node" not in replica:
        return f"[yellow]no answer: {replica['error']}[/]"
    place = f"{replica['replica']}  {nodes.get(replica['node'], '?')} {replica['node'][:8]}"
    held = (
        f"{replica['sessions']} conversations, {replica['stage']}"
        if "sessions" in replica
        else f"{replica['engine']}, {replica['ongoing']} at work, {replica['asked']} asked"
    )
    trouble = f"  [red]{replica['error']}[/]" if replica.get("error") else ""
    return f"{place}  {held}, {replica['rss_mb']:.0f} MB, {replica['cpu_seconds']:.0f} CPU s{trouble}"


def _coloured(status: str) -> str:
    return f"[{COLOURS.get(status, 'yellow')}]{status.lower()}[/]"
