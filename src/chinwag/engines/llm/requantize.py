"""Makes a model's file fast once: `python -m chinwag.engines.llm.requantize FROM TO`.

Q4_K_M stores Qwen 0.5B for the most part as Q5_0, because its rows (896) do not divide by 256. llama.cpp multiplies
Q4_0 from tiles packed for the processor, Q5_0 row by row: five tokens of a prompt are read in 0.63 of the time and an
answer is written 1.3 times as fast (docs/adr/0006-fast-weights.md). The layers that read and write words are left
as they are.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SUFFIX = ".q4_0.gguf"
WITHIN_S = 300.0

log = logging.getLogger(__name__)


def fast_file(path: Path) -> Path:
    """The file to load in place of `path`: made beside it at the first call, itself where that gains nothing or fails.

    Blocks for some 20 s the first time.
    """
    made = path.with_name(path.stem + SUFFIX)
    if made.is_file():
        return made
    log.info("Making the language model fast for this machine, once: about 20 seconds.")
    try:
        command = [sys.executable, "-m", "chinwag.engines.llm.requantize", str(path), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if made.is_file():
        return made
    log.warning("The language model stays as it was fetched, which is slower: %s", reason)
    return path


def requantize(source: Path, target: Path) -> None:
    """Write `source` anew with its Q5_0 and mixed layers as Q4_0; the target appears whole or not at all."""
    from gguf import GGMLQuantizationType as Kind
    from gguf import GGUFReader, GGUFWriter
    from gguf.quants import dequantize, quantize

    reader = GGUFReader(source)
    if not any(tensor.tensor_type is Kind.Q5_0 for tensor in reader.tensors):
        raise ValueError(f"{source.name} holds no Q5_0 layers: nothing to gain")
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    writer = GGUFWriter(partial, _text(reader, "general.architecture"))
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), *field.types[:2])
    for tensor in reader.tensors:
        kind = _kind(tensor.name, tensor.tensor_type, Kind)
        data = tensor.data
        if kind is not tensor.tensor_type:
            data = quantize(dequantize(tensor.data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.replace(target)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)


def _kind(name: str, now: Any, kind: Any) -> Any:
    """What a layer becomes: matrices Q4_0; norms, biases and what reads and writes words stay as they are."""
    kept = now in (kind.F32, kind.F16, kind.BF16) or name.startswith(("token_embd", "output"))
    return now if kept else kind.Q4_0


def _text(reader: Any, name: str) -> str:
    return str(reader.fields[name].contents())


if __name__ == "__main__":
    requantize(Path(sys.argv[1]), Path(sys.argv[2]))
