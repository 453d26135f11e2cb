"""`chinwag doctor`: check everything that a conversation needs, with a fix for each fault."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chinwag import config as configuration
from chinwag.audio import LISTEN_RATE, Audio, join
from chinwag.bench.machine import describe_machine
from chinwag.client_sdk.client import room_noise
from chinwag.client_sdk.local_server import fetch_status
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.faults import as_engine_error
from chinwag.engines.llm.auto import resolve_auto
from chinwag.engines.protocols import (
    ChatModel,
    Engine,
    EngineOptions,
    Task,
    Transcriber,
    TurnJudge,
    Vad,
    Voice,
)
from chinwag.errors import ChinwagError, ConfigError, StoreError
from chinwag.reach import check_exposure, is_loopback
from chinwag.weights import Store

State = Literal["ok", "hint", "fault"]
SENTENCE = "Hello, can you hear me well?"
ORDER: tuple[Task, ...] = ("tts", "stt", "vad", "turn", "llm")
"""The voice comes first: the other engines get the sound that it made."""
LEAST_MEMORY = 2 * 2**30
LEAST_CORES = 2
COLOURS = {"ok": "green", "hint": "yellow", "fault": "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. state: `hint` is worth knowing, a `fault` prevents conversations. fix: what to do."""

    name: str
    state: State
    detail: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file instead of ./chinwag.toml.")] = None,
) -> None:
    """Check everything that a conversation needs. Exit code 1 if something is broken."""
    out = Console(highlight=False)
    if as_json or not out.is_terminal:
        checks = asyncio.run(run_checks(config, (lambda check: None) if as_json else _plain))
    else:
        with out.status("Looking …") as status:
            checks = asyncio.run(run_checks(config, lambda check: status.update(f"Looked at {check.name} …")))
        out.print(_table(checks))
    broken = any(check.state == "fault" for check in checks)
    if as_json:
        print(json.dumps({"ok": not broken, "checks": [asdict(check) for check in checks]}, indent=2))
    raise typer.Exit(1 if broken else 0)


async def run_checks(path: Path | None, done: Any) -> list[Check]:
    """Run every check; `done` gets each one as it ends."""
    checks: list[Check] = []
    async with aclosing(examine(path)) as found:
        async for check in found:
            checks.append(check)
            done(check)
    return checks


async def examine(path: Path | None) -> AsyncGenerator[Check, None]:
    """Yield every check in order. path: the settings file; None for ./chinwag.toml."""
    yield check_python()
    yield check_hardware()
    try:
        config = configuration.load(path)
        used = path or Path(configuration.CONFIG_FILE)
        yield Check("settings", "ok", str(used) if used.is_file() else "the defaults: there is no chinwag.toml")
    except ConfigError as error:
        yield Check("settings", "fault", error.message, error.fix)
        config = Config()
    store = Store(config.weights)
    yield check_disk(store)
    yield await check_ollama(config)
    async for check in check_engines(config, store):
        yield check
    yield await check_port(config)
    yield check_access(config)
    yield await asyncio.to_thread(check_conversations, config)
    yield check_browser(config)
    yield check_sound()


def check_python() -> Check:
    """Check the interpreter and pip, which downloads weights."""
    version = sys.version.split()[0]
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "fault", f"{version} at {sys.executable}", "Install Python 3.11, 3.12 or 3.13.")
    if importlib.util.find_spec("pip") is None:
        return Check(
            "python", "hint", f"{version}, without pip: weights can come from the hub only", "python -m ensurepip"
        )
    return Check("python", "ok", f"{version} at {sys.executable}")


def check_conversations(config: Config) -> Check:
    """Check the conversation store. A fault there is only a hint: conversations go on without it."""
    kept = config.store
    if kept.keep == "off":
        return Check("conversations", "ok", "not kept: store.keep is off")
    from chinwag.store import ConversationStore

    try:
        ConversationStore(kept.folder, kept.url).close()
    except StoreError as error:
        return Check("conversations", "hint", error.message, error.fix)
    which = "all" if kept.keep == "all" else "those of the page, and of clients that ask for it"
    sound = "with their sound" if kept.audio else "without their sound"
    return Check("conversations", "ok", f"kept in {'PostgreSQL' if kept.url else kept.folder}: {which}, {sound}")


def check_hardware() -> Check:
    """Check cores and memory."""
    here = describe_machine()
    detail = f"{here['os']}; {here['cpu']}, {here['cores']} cores; {here['memory'] / 2**30:.1f} GiB of memory"
    if here["cores"] < LEAST_CORES or here["memory"] < LEAST_MEMORY:
        return Check("machine", "hint", detail, "Two cores and 2 GiB are the least for answers without long waits.")
    return Check("machine", "ok", detail)


def check_disk(store: Store) -> Check:
    """Check the free disk space for weights."""
    there = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    detail = f"{free / 1e9:.1f} GB free for weights at {store.root}"
    here = sum(line.on_disk for line in store.listing())
    if not here and free < 1.5e9:
        return Check("disk", "fault", detail, "Free some space, or set weights.folder to a folder on another disk.")
    return Check("disk", "ok", f"{detail}; they take {here / 1e6:.0f} MB now")


async def check_ollama(config: Config) -> Check:
    """Check whether Ollama runs. It is a fault only if the settings choose Ollama."""
    wanted = config.llm.engine == "ollama"
    try:
        found = await resolve_auto(config.llm.model_copy(update={"engine": "auto"}))
    except ChinwagError as error:
        return Check("ollama", "fault" if wanted else "hint", error.message, error.fix)
    if found == "ollama":
        return Check("ollama", "ok", "running, with a model to chat with")
    if wanted:
        return Check(
            "ollama", "fault", "not running, or without a model to chat with", "ollama serve; ollama pull llama3.2"
        )
    return Check("ollama", "ok", "not running; it is not needed")


async def check_engines(config: Config, store: Store) -> AsyncIterator[Check]:
    """Load each configured engine and use it once."""
    heard: Audio | None = None
    for task in ORDER:
        settings = getattr(config, task)
        name = settings.engine
        try:
            if task == "llm" and name == "auto":
                name = await resolve_auto(settings)
            kind = registry.find(task, name)
            needs = kind.needs(settings)
            if missing := [] if config.weights.offline else await asyncio.to_thread(store.missing, needs):
                size = store.size(missing) / 1e6
                yield Check(
                    f"{task}: {name}",
                    "hint",
                    f"weights are not here yet: {', '.join(missing)} ({size:.0f} MB)",
                    f"chinwag serve fetches them; or now: chinwag models pull {' '.join(missing)}",
                )
                continue
            options = EngineOptions.gathered(kind, settings, store.folder)
            async with load_engine(task, kind, options) as (engine, load_ms):
                detail, sound = await try_engine(task, engine, heard)
                heard = sound or heard
            yield Check(f"{task}: {name}", "ok", f"loaded in {load_ms:.0f} ms; {detail}")
        except ChinwagError as error:
            yield Check(f"{task}: {name}", "fault", error.message, error.fix)
        except Exception as error:  # an engine may raise anything, and the other engines are still checked
            fix = "This is a fault in the engine or its weights: chinwag models verify, then report it."
            yield Check(f"{task}: {name}", "fault", f"{type(error).__name__}: {error}", fix)


@asynccontextmanager
async def load_engine(task: Task, kind: type[Engine], options: EngineOptions) -> AsyncIterator[tuple[Engine, float]]:
    """Load an engine, yield it with its load time in ms, and close it. Raises ChinwagError."""
    began = time.perf_counter()
    try:
        engine = await asyncio.to_thread(kind.load, options)
    except Exception as error:
        raise as_engine_error(error, task, kind.name) from error
    try:
        yield engine, _ms_since(began)
    finally:
        await engine.close()


async def try_engine(task: Task, engine: Engine, heard: Audio | None) -> tuple[str, Audio | None]:
    """Use an engine once. Returns a sentence about the result, and the sound if the engine is a voice."""
    spoken = heard.resampled(LISTEN_RATE) if heard else Audio(room_noise(LISTEN_RATE, -40), LISTEN_RATE)
    began = time.perf_counter()
    match task:
        case "tts":
            pieces: list[Audio] = []
            async with aclosing(cast("Voice", engine).speak(SENTENCE)) as stream:
                async for piece in stream:
                    pieces.append(piece)  # noqa: PERF401 (a comprehension would lose the pieces before a fault)
            if not pieces or not np.abs(join(pieces).pcm).max() > 0.01:
                raise ChinwagError("The voice makes no sound.", "Check its weights: chinwag models verify")
            sound = join(pieces)
            return f"{sound.seconds:.1f} s of speech in {_ms_since(began):.0f} ms", sound
        case "stt":
            utterance = cast("Transcriber", engine).open()
            utterance.push(spoken)
            words = (await utterance.finish()).text
            if heard and not words:
                raise ChinwagError("It heard no words in clear speech.", "Check its weights: chinwag models verify")
            return f"heard “{words}” in {_ms_since(began):.0f} ms", None
        case "vad":
            vad = cast("Vad", engine)
            ear = vad.open()
            starts = range(0, len(spoken.pcm) - vad.frame, vad.frame)
            speech = [await ear.feed(spoken.between(start, start + vad.frame)) for start in starts]
            each = _ms_since(began) / max(len(speech), 1)
            return f"{each:.1f} ms for each {vad.frame * 1000 // LISTEN_RATE} ms; P(speech) to {max(speech):.2f}", None
        case "turn":
            sure = await cast("TurnJudge", engine).judge(spoken, SENTENCE, [])
            return f"P(finished) {sure:.2f} in {_ms_since(began):.0f} ms", None
        case "llm":
            return await ask_model(cast("ChatModel", engine)), None


async def ask_model(model: ChatModel) -> str:
    """Return a sentence about the model's response to a short prompt. Raises ChinwagError if there is none."""
    began = time.perf_counter()
    first = None
    text = ""
    async with aclosing(model.chat([{"role": "user", "content": "Say hello in one short sentence."}])) as answer:
        async for delta in answer:
            text += delta.text
            first = first or (_ms_since(began) if delta.text else None)
    if first is None:
        raise ChinwagError(f"{model.model} answers nothing.", "Choose another model with llm.model.")
    return f"{model.model} began after {first:.0f} ms: “{' '.join(text.split())[:60]}”"


async def check_port(config: Config) -> Check:
    """Check whether the server's port is free or used by a running Chinwag."""
    host, number = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, number), family=family).close()
    except OSError as error:
        local = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        status = await fetch_status(f"ws://{f'[{local}]' if ':' in local else local}:{number}")
        if status and "stage" in status:
            return Check(
                "port", "ok", f"{number}: Chinwag {status.get('version')} is running there ({status['stage']})"
            )
        return Check(
            "port", "fault", f"{number} on {host} cannot be used: {error.strerror}", "chinwag serve --port with another"
        )
    return Check("port", "ok", f"{number} on {host} is free")


def check_access(config: Config) -> Check:
    """Check that a server which other machines can reach asks for a key."""
    server = config.server
    try:
        check_exposure(server)
    except ConfigError as error:
        return Check("access", "fault", error.message, error.fix)
    if server.requires_key:
        plain = server.https == "off" and not is_loopback(server.host)
        said = f"a key is asked for; there are {len(server.api_keys)}"
        if not plain:
            return Check("access", "ok", said)
        return Check("access", "hint", f"{said}, over plain HTTP: server.https is off", "Set server.tls_cert.")
    if is_loopback(server.host):
        return Check("access", "ok", "only this machine reaches it, and no key is asked for")
    return Check("access", "hint", "other machines reach it without a key: server.auth is off", "Set server.api_keys.")


def check_browser(config: Config) -> Check:
    """Check the address: browsers give the microphone only to secure origins, which are HTTPS and localhost."""
    if config.server.host in ("127.0.0.1", "localhost", "::1"):
        return Check("browser", "ok", f"http://localhost:{config.server.port} may use the microphone, on this machine")
    return Check(
        "browser",
        "hint",
        f"the server listens on {config.server.host}: a browser on another device gets no microphone over http",
        f"Put HTTPS in front (caddy reverse-proxy --to :{config.server.port}), or forward the port:"
        f" ssh -L {config.server.port}:localhost:{config.server.port} THIS-MACHINE",
    )


def check_sound() -> Check:
    """Check the sound devices for `chinwag talk`; the page uses the browser's devices."""
    files = "only for chinwag talk without files"
    try:
        import sounddevice

        names = [sounddevice.query_devices(kind=kind)["name"] for kind in ("input", "output")]
    except OSError:
        return Check("sound", "hint", f"PortAudio is not here; needed {files}", "sudo apt install libportaudio2")
    except Exception as error:  # PortAudio's own, whose class comes with the library
        return Check("sound", "hint", f"no microphone and loudspeaker here ({error}); needed {files}")
    return Check("sound", "ok", f"microphone {names[0]}, loudspeaker {names[1]}")


def _table(checks: list[Check]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for check in checks:
        detail = Text(check.detail)
        if check.fix and check.state != "ok":
            detail.append(f"\n→ {check.fix}", "cyan")
        table.add_row(Text(check.state, COLOURS[check.state]), check.name, detail)
    return table


def _plain(check: Check) -> None:
    print(f"{check.state:6}{check.name}: {check.detail}")
    if check.fix and check.state != "ok":
        print(f"      → {check.fix}", flush=True)


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
