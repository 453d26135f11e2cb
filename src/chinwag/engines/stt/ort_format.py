"""Models in onnxruntime's own format, written again as ONNX, so that they can be folded and quantised.

A file in that format (.ort) is what a session holds once its graph is optimised; it cannot be optimised any further.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NO_ONNX = 3
"""Exit status of `python -m chinwag.engines.stt.ort_format SOURCE TARGET` where the onnx package is missing."""


def main(arguments: list[str]) -> int:
    """Quantise one model; the exit status."""
    source, target = map(Path, arguments)
    try:
        quantised(source, target)
    except ImportError as error:
        print(error, file=sys.stderr)
        return NO_ONNX
    return 0


def quantised(source: Path, target: Path) -> None:
    """Write the model of a .ort file as ONNX, with constants folded and the weights of MatMul in 8 bits.

    Needs the onnx package. The target appears whole or not at all. Raises ImportError, OSError, ValueError, or what
    onnxruntime raises for a model it cannot read.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(dir=target.parent, prefix=".") as made:
        plain, folded, small = (Path(made) / name for name in ("plain.onnx", "folded.onnx", "small.onnx"))
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
            reduce_range=True,  # processors without VNNI add pairs of products in 16 bits, which whole 8 bits overflow
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            extra_options={"EnableSubgraph": True},
        )
        small.replace(target)


def as_onnx(source: Path) -> Any:
    """The model of a .ort file as an onnx.ModelProto."""
    from onnx import helper
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    data = source.read_bytes()
    if data[4:8] != b"ORTM":
        raise ValueError(f"{source.name} is no model in onnxruntime's format")
    model = InferenceSession.GetRootAs(data, 0).Model()
    opsets = [
        helper.make_opsetid((one.Domain() or b"").decode(), one.Version())
        for one in _each(model, "OpsetImport")
        if (one.Domain() or b"") in (b"", b"com.microsoft")
    ]
    made = helper.make_model(_graph(model.Graph(), "main"), opset_imports=opsets)
    made.ir_version = model.IrVersion()
    return made


def _graph(graph: Any, name: str) -> Any:
    from onnx import helper

    known = {argument.Name(): argument for argument in _each(graph, "NodeArgs")}
    outer = [_value(known[name]) for name in _each(graph, "Inputs")]
    results = [_value(known[name]) for name in _each(graph, "Outputs")]
    weights = [_tensor(tensor) for tensor in _each(graph, "Initializers")]
    return helper.make_graph(list(_in_order(list(_each(graph, "Nodes")))), name, outer, results, weights)


def _in_order(nodes: Sequence[Any]) -> Iterator[Any]:
    """ONNX wants each node behind those whose outputs it takes."""
    makers = {output: place for place, node in enumerate(nodes) for output in _each(node, "Outputs") if output}
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for place, node in enumerate(nodes):
        taken = (*_each(node, "Inputs"), *_each(node, "ImplicitInputs"))
        sorter.add(place, *(makers[name] for name in taken if name in makers))
    for place in sorter.static_order():
        yield _node(nodes[place])


def _node(node: Any) -> Any:
    from onnx import helper

    made = helper.make_node(
        node.OpType().decode(),
        [name.decode() for name in _each(node, "Inputs")],
        [name.decode() for name in _each(node, "Outputs")],
        node.Name().decode(),
        domain=(node.Domain() or b"").decode(),
    )
    made.attribute.extend(_attribute(one) for one in _each(node, "Attributes"))
    return made


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
            raise ValueError(f"the attribute {name} is of a kind ({kind}) that is not known here")
    return helper.make_attribute(name, value, attr_type=kind)


def _tensor(tensor: Any) -> Any:
    from onnx import TensorProto

    made = TensorProto()
    made.name = (tensor.Name() or b"").decode()
    made.data_type = tensor.DataType()
    made.dims.extend(_each(tensor, "Dims"))
    made.raw_data = tensor.RawDataAsNumpy().tobytes() if tensor.RawDataLength() else b""
    return made


def _value(argument: Any) -> Any:
    """An input or output of a graph with its type; a dimension is a number, a name, or not known."""
    from onnx import helper
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

    held = TensorTypeAndShape()
    union = argument.Type().Value()
    held.Init(union.Bytes, union.Pos)
    shape = None if held.Shape() is None else [_size(one.Value()) for one in _each(held.Shape(), "Dim")]
    return helper.make_tensor_value_info(argument.Name().decode(), held.ElemType(), shape)


def _size(dimension: Any) -> int | str | None:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.DimensionValueType import DimensionValueType

    if dimension is None or dimension.DimType() == DimensionValueType.UNKNOWN:
        return None
    if dimension.DimType() == DimensionValueType.VALUE:
        return int(dimension.DimValue())
    return str(dimension.DimParam().decode())


def _each(table: Any, name: str) -> Iterable[Any]:
    """The entries of a flatbuffers vector."""
    at = getattr(table, name)
    return (at(place) for place in range(getattr(table, f"{name}Length")()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
