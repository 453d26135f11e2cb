"""llama.cpp's server in a process of its own: `python -m chinwag.engines.llm.llama_server`.

Loading a model through xllamacpp holds Python's interpreter lock for seconds, and a crash of native code ends its
process; in a child process neither affects a session. The child reads its settings as one line of JSON from stdin,
prints its address as one line, and exits when stdin closes, so it never outlives its parent.
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

BATCH_TOKENS = 64
"""Prompt tokens per batch. A cancelled prefill occupies the cores until its batch ends."""

SPIN_COUNT = "500"
"""Spins of a llama.cpp thread that waits for the others before it sleeps (GNU OpenMP's GOMP_SPINCOUNT).

By default a thread spins for milliseconds, so all threads stall while one has lost its core to the STT or TTS engine.
Tokens/s on two cores, alone and beside a busy process: default 33 and 1 to 9; 30 000 spins 33 and 4 to 26;
5 000 29 and 9; 2 000 31 and 11; 500 32 and 15; 0 19 and 18. A single thread generates 20 in both cases.
"""

MIN_REUSED_TOKENS = 32
"""Fewest cached tokens that are shifted if the text before them was dropped. 350 took 0.5 s to shift, 3.6 s to read."""

PROMPT_CACHE_MIB = 256
"""Cache for the prompts of sessions that have lost their slot."""


class LlamaServer:
    """A running child process. address: its root URL, e.g. http://127.0.0.1:40123."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Start the child and block until the model is loaded.

        settings: path, key (the API key), slots, context_tokens (of one slot), threads.
        Raises EngineError if the model cannot be loaded.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chinwag.engines.llm.llama_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"GOMP_SPINCOUNT": SPIN_COUNT, **os.environ},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timeout = threading.Timer(STARTS_WITHIN_S, self._process.kill)
        timeout.start()
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        finally:
            timeout.cancel()
        report: dict[str, str] = json.loads(line) if line else {}
        if "address" not in report:
            self.close()
            reason = report.get("error") or f"its process ended with code {self._process.returncode}"
            raise EngineError(
                f"The embedded language model cannot be loaded: {reason.rstrip('.')}.",
                report.get(
                    "fix",
                    "Run `chinwag models verify`; if they are intact, free memory or set a smaller llm.model.",
                ),
                "embedded",
            )
        self.address = report["address"]

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the child and wait until it has ended, so that `running` is False afterwards."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop the child and wait for it; further calls do nothing."""
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
    """Run the child: load the model, print the address, serve until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes our stdin
    settings = json.loads(sys.stdin.readline())
    report: dict[str, str]
    try:
        import xllamacpp

        server = _start(xllamacpp, settings)
        report = {"address": server.listening_address}
    except ImportError as error:
        fix = "Install it (pip install xllamacpp), or set llm.engine to ollama or openai."
        report = {"error": f"xllamacpp cannot be imported ({error})", "fix": fix}
    except Exception as error:  # xllamacpp raises RuntimeError and others for a damaged file
        report = {"error": str(error) or type(error).__name__}
    print(json.dumps(report), flush=True)
    if "address" in report:
        sys.stdin.read()
    os._exit(0)  # skips unloading, which takes a while


def _start(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [settings["key"]]
    params.ui, params.verbosity = False, 0
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context_tokens"] * settings["slots"]
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    threads = settings["threads"] or min(os.cpu_count() or 1, 8)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Slower on a CPU: with 1600 tokens of context a token took 51 ms with flash attention, 38 ms without.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cont_batching = params.cache_prompt = True
    params.cache_ram_mib, params.n_cache_reuse = PROMPT_CACHE_MIB, MIN_REUSED_TOKENS
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
