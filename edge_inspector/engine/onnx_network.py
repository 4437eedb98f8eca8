"""An ONNX file seen from outside: its input, its outputs and what was written beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from edge_inspector.engine.invariants import load
from edge_inspector.engine.network_facts import DYNAMIC
from edge_inspector.errors import BundleError

Shape: TypeAlias = tuple[int | None, ...]
"""None = any size."""


@dataclass(frozen=True)
class Network:
    """An ONNX file with one picture (n, channels, height, width) as its input.

    `external` says that its weights lie in other files, `dynamic_int8` names nodes that find their 8-bit scales while
    they run.
    """

    path: Path
    producer: str
    input: Shape
    outputs: Mapping[str, Shape]
    whole_numbers: frozenset[str]
    metadata: Mapping[str, str]
    external: bool
    dynamic_int8: tuple[str, ...]


def read_network(path: Path) -> Network:
    """ConfigError: onnx is missing. BundleError: no ONNX file, or its input is nothing that a backend gives it."""
    if not path.is_file():
        raise BundleError(f"{path} is no file; give the path of an ONNX file")
    model = load(path)
    import onnx

    kinds = onnx.TensorProto.DataType
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    if not inputs:
        raise BundleError(f"{path} has no input, so it is no network; export or copy it again")
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise BundleError(f"{path} has {len(inputs)} inputs ({names}), expected one picture; export it so")
    kind, shape = inputs[0].type.tensor_type.elem_type, _shape(inputs[0])
    strange = [one.name for one in model.graph.output if not one.type.HasField("tensor_type")]
    if strange:
        raise BundleError(f"{path}: output {strange[0]} is no tensor; export the network without it")
    problem = _input_problem(kinds.Name(kind).lower(), kind == kinds.FLOAT, shape)
    if problem:
        raise BundleError(f"{path}: input {inputs[0].name} {problem}")
    bare = onnx.load(str(path), load_external_data=False)
    return Network(
        path=path,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        input=shape,
        outputs={one.name: _shape(one) for one in model.graph.output},
        whole_numbers=frozenset(
            one.name
            for one in model.graph.output
            if one.type.tensor_type.elem_type not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)
        ),
        metadata={one.key: one.value for one in model.metadata_props},
        external=any(onnx.external_data_helper.uses_external_data(tensor) for tensor in bare.graph.initializer),
        dynamic_int8=tuple(node.name or node.op_type for node in model.graph.node if node.op_type in DYNAMIC),
    )


def _input_problem(kind: str, is_float: bool, shape: Shape) -> str:
    if kind == "float16":
        return "is float16, expected float32; export it without half=True: engine build makes fp16 of what can be"
    if not is_float:
        return f"is {kind}, expected float32; export it so"
    if len(shape) != 4:
        return f"is {shape}, expected (n, channels, height, width); export it so"
    if shape[1] not in (1, 3, None):
        last = "; its channels are last: export it with channels first" if shape[3] in (1, 3) else ""
        return f"is {shape}, expected 1 or 3 channels at the second place{last or '; export it so'}"
    if shape[0] not in (1, None):
        return f"takes {shape[0]} pictures at once, expected 1 or any number; export it with batch 1 or dynamic"
    return ""


def _shape(value: Any) -> Shape:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in value.type.tensor_type.shape.dim
    )
