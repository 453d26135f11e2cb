"""llama.cpp's server in a process of its own: `python -m chinwag.engines.llm.llama_server`.

Loading a model through xllamacpp holds Python's interpreter lock for seconds, and a fault in native code ends its
process; here neither touches a conversation. The settings come as one line of JSON on stdin, the address goes out as
one line on stdout, and the process ends when its stdin does, so it never outlives the program that began it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from chinwag.errors import EngineError

STARTS_WITHIN_S = 180.0

BATCH = 64
"""Prompt tokens read between two looks at what else is asked: so long may a cancelled prefill hold the cores."""

SPINS = "500"
"""How often a thread of llama.cpp looks for the others, hundreds of times a token, before it sleeps (GNU OpenMP).

Left to itself it spins for milliseconds, so that all stand still while one has lost its core to the ears or the voice.
Tokens a second on two cores, alone and beside a busy process: as it is 33 and 1 to 9, with 30 000 spins 33 and 4 to 26,
5 000 29 and 9, 2 000 31 and 11, 500 32 and 15, none 19 and 18; one thread writes 20 in either case.
"""

REUSED = 32
"""Tokens of a run that are kept where what stood before them was forgotten: 350 took 0.5 s to move, 3.6 s to read."""

PROMPTS_KEPT_MIB = 256
"""Memory for prompts of conversations that have lost their slot."""


class LlamaServer:
    """The running child. `address` is its root, e.g. http://127.0.0.1:40123."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Start it and wait until the model is loaded; blocks.

        settings: path, key (the API key), slots, context_tokens (of one slot), threads.
        Raises EngineError where it does not come up.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chinwag.engines.llm.llama_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"GOMP_SPINCOUNT": SPINS, **os.environ},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        too_late = threading.Timer(STARTS_WITHIN_S, self._process.kill)
        too_late.start()
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        finally:
            too_late.cancel()
        told: dict[str, str] = json.loads(line) if line else {}
        if "address" not in told:
            self.close()
            reason = told.get("error") or f"its process ended with code {self._process.returncode}"
            raise EngineError(
                f"The embedded language model cannot be loaded: {reason.rstrip('.')}.",
                told.get(
                    "fix", "Run `chinwag models verify`; if all is sound, free memory or set a smaller llm.model."
                ),
                "embedded",
            )
        self.address = told["address"]

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the child at once, whatever it is at, and wait until it has: who asks then is to see that it is gone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the child and wait for it; may be called twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:
                    continue
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """The child: load, tell the address, serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it closes our stdin when it is done
    settings = json.loads(sys.stdin.readline())
    told: dict[str, str]
    try:
        import xllamacpp

        server = _start(xllamacpp, settings)
        told = {"address": server.listening_address}
    except ImportError as error:
        fix = "Install it (pip install xllamacpp), or set llm.engine to ollama or openai."
        told = {"error": f"xllamacpp cannot be imported ({error})", "fix": fix}
    except Exception as error:  # xllamacpp raises RuntimeError and others for a bad file
        told = {"error": str(error) or type(error).__name__}
    print(json.dumps(told), flush=True)
    if "address" in told:
        sys.stdin.read()
    os._exit(0)  # the native threads need no farewell, and unloading takes a while


def _start(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [settings["key"]]
    params.ui, params.verbosity = False, 0
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context_tokens"] * settings["slots"]
    params.n_batch = params.n_ubatch = BATCH
    threads = settings["threads"] or min(os.cpu_count() or 1, 8)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # on a CPU it is the slower one: with 1600 tokens of context a token took 51 ms with it, 38 without
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cont_batching = params.cache_prompt = True
    params.cache_ram_mib, params.n_cache_reuse = PROMPTS_KEPT_MIB, REUSED
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
