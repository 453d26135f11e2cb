"""Requantizes a model's file for speed: `python -m chinwag.engines.llm.requantize FROM TO`.

Q4_K_M stores most of Qwen 0.5B as Q5_0, because its rows (896) are no multiple of 256. llama.cpp multiplies Q4_0 in
tiles packed for the processor, but Q5_0 row by row. With Q4_0 five prompt tokens take 0.63 of the time and generation
is 1.3 times as fast (docs/adr/0006-fast-weights.md). The embedding and output layers are unchanged.
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
    """Return the faster file to load instead of `path`, or `path` itself if requantizing gains nothing or fails.

    The first call writes the file beside `path` and blocks for about 20 s.
    """
    target = path.with_name(path.stem + SUFFIX)
    if target.is_file():
        return target
    log.info("Requantizing the language model for this machine, once. This takes about 20 seconds.")
    try:
        command = [sys.executable, "-m", "chinwag.engines.llm.requantize", str(path), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if target.is_file():
        return target
    log.warning("The language model stays as it was fetched, which is slower. Requantizing failed: %s", reason)
    return path


def requantize(source: Path, target: Path) -> None:
    """Write `source` to `target` with its Q5_0 and mixed layers as Q4_0; an interrupted run leaves no target."""
    from gguf import GGMLQuantizationType as Kind
    from gguf import GGUFReader, GGUFWriter
    from gguf.quants import dequantize, quantize

    reader = GGUFReader(source)
    if not any(tensor.tensor_type is Kind.Q5_0 for tensor in reader.tensors):
        raise ValueError(f"{source.name} has no Q5_0 layers: nothing to gain")
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
    """Return the new type of a layer: Q4_0 for matrices; norms, biases, embedding and output keep theirs."""
    unchanged = now in (kind.F32, kind.F16, kind.BF16) or name.startswith(("token_embd", "output"))
    return now if unchanged else kind.Q4_0


def _text(reader: Any, name: str) -> str:
    return str(reader.fields[name].contents())


if __name__ == "__main__":
    requantize(Path(sys.argv[1]), Path(sys.argv[2]))
