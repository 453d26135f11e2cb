"""Convert models from onnxruntime's own format (.ort) to ONNX, fold constants and quantise weights.

A .ort file contains an optimised graph; onnxruntime cannot optimise or quantise it any further.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NO_ONNX = 3
"""Exit status of `python -m chinwag.engines.stt.ort_format SOURCE TARGET` if the onnx package is missing."""


def main(arguments: list[str]) -> int:
    """Quantise one model and return the exit status."""
    source, target = map(Path, arguments)
    try:
        quantise(source, target)
    except ImportError as error:
        print(error, file=sys.stderr)
        return NO_ONNX
    return 0


def quantise(source: Path, target: Path) -> None:
    """Write a .ort model as ONNX with folded constants and the weights of MatMul in 8 bits.

    The target is replaced atomically. Raises ImportError without the onnx package, OSError, ValueError, or
    onnxruntime's error for a model it cannot read.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        plain, folded, small = (Path(folder) / name for name in ("plain.onnx", "folded.onnx", "small.onnx"))
        onnx.save(as_onnx(source), plain)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
        quantize_dynamic(
            folded,
            small,
            per_channel=True,
            reduce_range=True,  # without VNNI, sums of two 8-bit products overflow 16 bits
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            extra_options={"EnableSubgraph": True},
        )
        small.replace(target)


def as_onnx(source: Path) -> Any:
    """Return the model of a .ort file as an onnx.ModelProto."""
    from onnx import helper
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    data = source.read_bytes()
    if data[4:8] != b"ORTM":
        raise ValueError(f"{source.name} is no model in onnxruntime's format")
    model = InferenceSession.GetRootAs(data, 0).Model()
    opsets = [
        helper.make_opsetid((opset.Domain() or b"").decode(), opset.Version())
        for opset in _each(model, "OpsetImport")
        if (opset.Domain() or b"") in (b"", b"com.microsoft")
    ]
    converted = helper.make_model(_graph(model.Graph(), "main"), opset_imports=opsets)
    converted.ir_version = model.IrVersion()
    return converted


def _graph(graph: Any, name: str) -> Any:
    from onnx import helper

    values = {argument.Name(): argument for argument in _each(graph, "NodeArgs")}
    inputs = [_value(values[name]) for name in _each(graph, "Inputs")]
    outputs = [_value(values[name]) for name in _each(graph, "Outputs")]
    weights = [_tensor(tensor) for tensor in _each(graph, "Initializers")]
    return helper.make_graph(list(_sort_nodes(list(_each(graph, "Nodes")))), name, inputs, outputs, weights)


def _sort_nodes(nodes: Sequence[Any]) -> Iterator[Any]:
    """Yield the nodes sorted for ONNX: each follows the nodes whose outputs it takes."""
    makers = {output: place for place, node in enumerate(nodes) for output in _each(node, "Outputs") if output}
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for place, node in enumerate(nodes):
        inputs = (*_each(node, "Inputs"), *_each(node, "ImplicitInputs"))
        sorter.add(place, *(makers[name] for name in inputs if name in makers))
    for place in sorter.static_order():
        yield _node(nodes[place])


def _node(node: Any) -> Any:
    from onnx import helper

    converted = helper.make_node(
        node.OpType().decode(),
        [name.decode() for name in _each(node, "Inputs")],
        [name.decode() for name in _each(node, "Outputs")],
        node.Name().decode(),
        domain=(node.Domain() or b"").decode(),
    )
    converted.attribute.extend(_attribute(attribute) for attribute in _each(node, "Attributes"))
    return converted


def _attribute(attribute: Any) -> Any:
    from onnx import AttributeProto, helper

    name, kind = attribute.Name().decode(), attribute.Type()
    value: Any
    match kind:
        case AttributeProto.FLOAT:
            value = attribute.F()
        case AttributeProto.INT:
            value = attribute.I()
        case AttributeProto.STRING:
            value = attribute.S()
        case AttributeProto.TENSOR:
            value = _tensor(attribute.T())
        case AttributeProto.GRAPH:
            value = _graph(attribute.G(), name)
        case AttributeProto.FLOATS:
            value = list(_each(attribute, "Floats"))
        case AttributeProto.INTS:
            value = list(_each(attribute, "Ints"))
        case AttributeProto.STRINGS:
            value = list(_each(attribute, "Strings"))
        case _:
            raise ValueError(f"the attribute {name} has the type {kind}, which is not supported")
    return helper.make_attribute(name, value, attr_type=kind)


def _tensor(tensor: Any) -> Any:
    from onnx import TensorProto

    converted = TensorProto()
    converted.name = (tensor.Name() or b"").decode()
    converted.data_type = tensor.DataType()
    converted.dims.extend(_each(tensor, "Dims"))
    converted.raw_data = tensor.RawDataAsNumpy().tobytes() if tensor.RawDataLength() else b""
    return converted


def _value(argument: Any) -> Any:
    """Return an input or output of a graph with its type; a dimension is a number, a name or None."""
    from onnx import helper
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

    tensor_type = TensorTypeAndShape()
    union = argument.Type().Value()
    tensor_type.Init(union.Bytes, union.Pos)
    sizes = tensor_type.Shape()
    shape = None if sizes is None else [_size(dimension.Value()) for dimension in _each(sizes, "Dim")]
    return helper.make_tensor_value_info(argument.Name().decode(), tensor_type.ElemType(), shape)


def _size(dimension: Any) -> int | str | None:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.DimensionValueType import DimensionValueType

    if dimension is None or dimension.DimType() == DimensionValueType.UNKNOWN:
        return None
    if dimension.DimType() == DimensionValueType.VALUE:
        return int(dimension.DimValue())
    return str(dimension.DimParam().decode())


def _each(table: Any, name: str) -> Iterable[Any]:
    """Return the entries of a flatbuffers vector."""
    entry = getattr(table, name)
    return (entry(index) for index in range(getattr(table, f"{name}Length")()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
