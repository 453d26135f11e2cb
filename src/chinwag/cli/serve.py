"""chinwag serve: the server and its page."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvicorn
from platformdirs import user_data_path
from rich.console import Console
from rich.text import Text

from chinwag import config as configuration
from chinwag.cli.models import pull_with_bars
from chinwag.errors import ChinwagError, ConfigError
from chinwag.observability import logs
from chinwag.presets import NAMES, MachineResources
from chinwag.reach import check_exposure

if TYPE_CHECKING:
    from chinwag.runtime.runtime import Runtime
    from chinwag.server.lan import Certificate
    from chinwag.weights.progress import Progress
    from chinwag.weights.store import Store

LONGEST_FRAME = 64 * 1024 * 1024
"""Bytes that the socket takes: above the protocol's own limit, so that a message too large gets an answer."""

MOST_CONNECTIONS = 1000
"""At once, of clients and pages; one more is answered 503. A process may have 1024 open files on many systems."""

SWITCH_S = 0.001
"""An engine's Python gives way to the event loop after a millisecond instead of five: frames go out in time."""

EVERYWHERE = "0.0.0.0"

console = Console(stderr=False, highlight=False)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    vad: Annotated[str | None, typer.Option(help="Engine that tells speech from silence.")] = None,
    turn: Annotated[str | None, typer.Option(help="Engine that tells whether they have finished.")] = None,
    stt: Annotated[str | None, typer.Option(help="Engine that hears.")] = None,
    llm: Annotated[str | None, typer.Option(help="Engine that answers: auto, embedded, ollama, openai.")] = None,
    tts: Annotated[str | None, typer.Option(help="Engine that speaks.")] = None,
    llm_model: Annotated[str | None, typer.Option(help="Model that answers.")] = None,
    llm_base_url: Annotated[str | None, typer.Option(help="Address of Ollama or an OpenAI-compatible server.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice that speaks.")] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Engines chosen together, by what the machine has: {', '.join(NAMES)}.")
    ] = None,
    keep: Annotated[bool | None, typer.Option("--keep/--no-keep", help="Keep conversations, or write nothing.")] = None,
    lan: Annotated[
        bool, typer.Option("--lan", help="For phones and machines of this network: HTTPS, a login code, a QR code.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never reach for the network.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file instead of ./chinwag.toml.")] = None,
) -> None:
    """Start Chinwag, fetching what it needs at the first start."""
    flags: dict[str, dict[str, Any]] = {
        "server": {"host": host or (EVERYWHERE if lan else None), "port": port},
        "vad": {"engine": vad},
        "turn": {"engine": turn},
        "stt": {"engine": stt},
        "llm": {"engine": llm, "model": llm_model, "base_url": llm_base_url},
        "tts": {"engine": tts, "voice": voice},
        "weights": {"offline": offline or None},
        "store": {"keep": keep},
    }
    given = {section: {k: v for k, v in keys.items() if v is not None} for section, keys in flags.items()}
    settings = configuration.load(config, {section: keys for section, keys in given.items() if keys}, preset)
    made = _login_code(settings.server) if lan or settings.server.auth == "code" else ""
    if made:
        settings.server.api_keys = [made]
    near = _lan_access(settings) if lan else None
    check_exposure(settings.server, encrypted=near is not None)
    logs.configure_logging(settings)
    if settings.preset:
        _printer(settings)(f"Preset {settings.preset} on {MachineResources.detect()}: {_engines_text(settings)}.")
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(_serve(settings, near, made))


@dataclass(frozen=True)
class LanAccess:
    """What --lan needs. code: to log in with; empty where no key is wanted."""

    addresses: list[str]
    certificate: Certificate
    code: str


def _lan_access(settings: configuration.Config) -> LanAccess:
    from chinwag.server import lan

    found, server = lan.private_addresses(), settings.server
    key = server.api_keys[0] if server.requires_key else ""
    return LanAccess(found, lan.ensure_certificate(_lan_folder(), found), key)


def _login_code(server: configuration.ServerSettings) -> str:
    """The code that stands in for a key, made at its first use; empty where there is a key, or none is wanted."""
    from chinwag.server import lan

    return "" if server.api_keys or server.auth == "off" else lan.login_code(_lan_folder())


def _lan_folder() -> Path:
    return user_data_path("chinwag") / "lan"


def _engines_text(settings: configuration.Config) -> str:
    named = ((task, getattr(settings, task)) for task in ("stt", "llm", "tts"))
    return ", ".join(f"{task} {one.engine}{f' ({one.model})' if one.model else ''}" for task, one in named)


def _printer(settings: configuration.Config) -> Callable[[str], None]:
    return logs.start_messages(settings.server, _to_terminal)


def _to_terminal(line: str) -> None:
    # as text: what pip is to install stands in brackets, which would be taken for markup
    text = Text(line)
    text.highlight_regex(r"https?://\S+", "bold")
    text.highlight_regex("^Not ready:", "red")
    console.print(text, soft_wrap=True)


async def _pull_with_logs(store: Store, names: Sequence[str], progress: Progress) -> None:
    """Fetch what is missing, told in the log."""
    fetching = logging.getLogger(__name__)
    fetching.info("fetching models", extra={"fields": {"models": list(names)}})
    await store.pull(names, progress)
    fetching.info("models are here", extra={"fields": {"models": list(names)}})


async def _serve(settings: configuration.Config, near: LanAccess | None = None, code: str = "") -> None:
    # imported late: the protocol's types take a second, which no other command should wait for
    from chinwag.runtime.runtime import Runtime
    from chinwag.server.app import create_app
    from chinwag.server.lifecycle import GracefulServer

    asyncio.get_running_loop().set_exception_handler(logs.on_loop_error)
    print_message = _printer(settings)
    listening = bind(settings.server.host, settings.server.port)
    certificate, key = settings.server.tls_cert, settings.server.tls_key
    if near and not certificate:
        certificate, key = near.certificate.file, near.certificate.key
    runtime = Runtime(settings, puller=_pull_with_logs if settings.server.log_format == "json" else pull_with_bars)
    app = create_app(runtime)
    server = GracefulServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=settings.server.log_level in ("info", "debug"),
            ws="websockets-sansio",
            ws_max_size=LONGEST_FRAME,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=3,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            proxy_headers=bool(settings.server.trusted_proxies),
            forwarded_allow_ips=settings.server.trusted_proxies,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
        ),
        app.state.drain,
        settings.server.drain_s,
    )
    port = listening.getsockname()[1]
    address = _page_url(settings.server.host, port, "https" if certificate else "http")
    print_message(f"Chinwag's page is up: {address}")
    if near:
        _print_lan_access(near, port)
    telling = asyncio.create_task(_print_when_ready(runtime, address, print_message, code))
    try:
        await server.serve(sockets=[listening])
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError where the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
        # What it accepts inherits this; asyncio sees to it for sockets of its own making only. Else each small message
        # may wait for up to 40 ms, until the client has acknowledged the one before (RFC 1122, 4.2.3.2 and 4.2.3.4).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} is in use by another program, perhaps another Chinwag.",
                f"Stop that one, or choose another port: chinwag serve --port {port + 1 if port < 65535 else 8000}.",
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"Port {port} needs more rights.", "Choose one above 1023.") from None
        raise ConfigError(
            f"Cannot listen on {host}: {error.strerror or error}.", "Use 127.0.0.1, or an address of this machine."
        ) from None


def _print_lan_access(near: LanAccess, port: int) -> None:
    """The way in for a phone: its camera reads the code, which holds the login code where no server logs it."""
    import segno

    if not near.addresses:
        console.print("This machine is on no network now: only it itself can open the page.")
        return
    for address in near.addresses:
        console.print(f"On this network: [bold]{_page_url(address, port, 'https')}[/bold]")
    link = _page_url(near.addresses[0], port, "https") + (f"/#key={near.code}" if near.code else "")
    segno.make(link, error="l").terminal(sys.stdout, compact=True)
    if near.code:
        console.print(f"Login code, which the QR code holds: [bold]{near.code}[/bold]")
    console.print(
        "The browser warns, as nobody but this machine vouches for the certificate: choose Advanced"
        f" (iPhone: Show Details) and go on. Its SHA-256 begins with {near.certificate.fingerprint[:11]}.",
        soft_wrap=True,
    )


def _page_url(host: str, port: int, scheme: str = "http") -> str:
    shown = {"127.0.0.1": "localhost", "::1": "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"


async def _print_when_ready(
    runtime: Runtime, address: str, print_message: Callable[[str], None], code: str = ""
) -> None:
    """code: one that was made here, told in a link that logs in; the page takes it out of the address."""
    from chinwag.observability.process import freeze_startup_objects

    await runtime.settled.wait()
    if isinstance(runtime.error, ChinwagError):
        print_message(f"Not ready: {runtime.error.message}")
        print_message(f"  → {runtime.error.fix}")
        return
    freeze_startup_objects()
    engines = ", ".join(f"{task} {state.name}" for task, state in runtime.states.items())
    print_message(f"Ready after {runtime.startup_s} s with {engines}.")
    link = f"{address}/#key={code}" if code and runtime.config.server.log_format == "text" else address
    print_message(f"Open {link}, press Start and speak. Ctrl-C ends it.")
    if code and link == address:  # what is gathered from many machines holds no keys
        print_message(f"The login code is in {_lan_folder() / 'code'}.")
