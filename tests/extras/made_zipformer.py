"""A streaming Zipformer transducer as sherpa-onnx's export scripts shape one, small enough to be written by hand.

It writes LOUD when sound begins and QUIET when it ends. Its states go in and out as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

FRAMES, HOP, STEPS, MELS = 45, 32, 8, 80
LEFT, DIM, HEADS, KERNEL = 64, 16, 4, 31
STEEP, THRESHOLD = 5.0, -9.0
"""Of the mean log mel energy: digital silence has -16, noise of 0.1 about -1."""


def write(folder: Path) -> Path:
    """The model's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.txt").write_text("<blk> 0\n▁LOUD 1\n▁QUIET 2\n", "utf-8")
    _save(folder / "encoder-epoch-99-avg-1.onnx", *_encoder(), meta=META)
    _save(folder / "decoder-epoch-99-avg-1.onnx", *_decoder(), meta={"context_size": 2, "vocab_size": 3})
    _save(folder / "joiner-epoch-99-avg-1.onnx", *_joiner(), meta={"joiner_dim": 1})
    return folder


META = {
    "model_type": "zipformer2", "encoder_dims": DIM, "query_head_dims": 8, "value_head_dims": 4, "num_heads": HEADS,
    "num_encoder_layers": 1, "cnn_module_kernels": KERNEL, "left_context_len": LEFT, "T": FRAMES,
    "decode_chunk_len": HOP,
}  # fmt: skip

STATES: dict[str, list[Any]] = {
    "cached_key_0": [LEFT, "N", 8 * HEADS],
    "cached_nonlin_attn_0": [1, "N", LEFT, 3 * DIM // 4],
    "cached_val1_0": [LEFT, "N", 4 * HEADS],
    "cached_val2_0": [LEFT, "N", 4 * HEADS],
    "cached_conv1_0": ["N", DIM, KERNEL // 2],
    "cached_conv2_0": ["N", DIM, KERNEL // 2],
    "embed_states": ["N", 128, 3, 19],
}

Parts = tuple[list[Any], list[Any], list[Any], list[Any]]


def _encoder() -> Parts:
    floats = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in STATES.items()}
    new = [helper.make_tensor_value_info(f"new_{name}", TensorProto.FLOAT, shape) for name, shape in STATES.items()]
    lens = [helper.make_tensor_value_info(name, TensorProto.INT64, ["N"]) for name in ("processed_lens", "new_lens")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FRAMES, MELS]), *floats.values(), lens[0]]
    outputs = [helper.make_tensor_value_info("encoder_out", TensorProto.FLOAT, ["N", STEPS, 1]), *new, lens[1]]
    nodes = [
        helper.make_node("Slice", ["x", "zero", "hop", "one"], ["chunk"]),
        helper.make_node("Reshape", ["chunk", "steps"], ["split"]),
        helper.make_node("ReduceMean", ["split"], ["energy"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["energy", "two"], ["encoder_out"]),
        *(helper.make_node("Identity", [name], [f"new_{name}"]) for name in STATES),
        helper.make_node("Identity", ["processed_lens"], ["new_lens"]),
    ]
    numbers = {"zero": [0], "hop": [HOP], "one": [1], "two": [2], "steps": [-1, STEPS, HOP // STEPS, MELS]}
    return nodes, inputs, outputs, [_whole(name, values) for name, values in numbers.items()]


def _decoder() -> Parts:
    nodes = [
        helper.make_node("Slice", ["y", "one", "two", "one"], ["last"]),
        helper.make_node("Cast", ["last"], ["decoder_out"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info("y", TensorProto.INT64, ["N", 2])]
    outputs = [helper.make_tensor_value_info("decoder_out", TensorProto.FLOAT, ["N", 1])]
    return nodes, inputs, outputs, [_whole("one", [1]), _whole("two", [2])]


def _joiner() -> Parts:
    """Loud: more than the threshold, where the last word was not LOUD; quiet the other way round; else nothing."""
    nodes = [
        helper.make_node("Sub", ["encoder_out", "threshold"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["loud"]),
        helper.make_node("Neg", ["loud"], ["quiet"]),
        helper.make_node("Equal", ["decoder_out", "one"], ["was_loud"]),
        helper.make_node("Where", ["was_loud", "never", "loud"], ["say_loud"]),
        helper.make_node("Where", ["was_loud", "quiet", "never"], ["say_quiet"]),
        helper.make_node("Mul", ["above", "zero"], ["blank"]),
        helper.make_node("Concat", ["blank", "say_loud", "say_quiet"], ["logit"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in ("encoder_out", "decoder_out")
    ]
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N", 3])]
    numbers = {"threshold": THRESHOLD, "steep": STEEP, "one": 1.0, "never": -100.0, "zero": 0.0}
    return nodes, inputs, outputs, [_real(name, value) for name, value in numbers.items()]


def _whole(name: str, values: list[int]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _real(name: str, value: float) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, [1, 1], [value])


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], given: list[Any], meta: Any) -> None:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in meta.items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
