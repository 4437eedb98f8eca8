"""What an ONNX file is, in words and numbers for a person."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_inspector.engine.invariants import QUANTISING, load

DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
"""What onnxruntime.quantization.quantize_dynamic writes; TensorRT has none of them."""


@dataclass(frozen=True)
class NetworkFacts:
    """Inputs and outputs as `name float32 (n, 3, 640, 640)`; `operators` by how often they occur.

    `quantised` counts Q/DQ nodes; `dynamic` names nodes that find their 8-bit scales while they run.
    """

    size: int
    producer: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    operators: dict[str, int]
    weights: dict[str, int]
    quantised: int
    dynamic: tuple[str, ...]


def network_facts(path: Path) -> NetworkFacts:
    """ConfigError: the onnx package is missing. BundleError: not an ONNX file."""
    model = load(path)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    weights: Counter[str] = Counter()
    for tensor in graph.initializer:
        weights[_kind(tensor.data_type)] += math.prod(tensor.dims)
    operators = Counter(node.op_type for node in graph.node)
    return NetworkFacts(
        size=path.stat().st_size,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opset=next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0),
        inputs=tuple(_told(one) for one in graph.input if one.name not in constants),
        outputs=tuple(_told(one) for one in graph.output),
        parameters=weights.total(),
        operators=dict(operators.most_common()),
        weights=dict(weights.most_common()),
        quantised=sum(operators[name] for name in QUANTISING),
        dynamic=tuple(node.name or node.op_type for node in graph.node if node.op_type in DYNAMIC),
    )


def _told(value: Any) -> str:
    tensor = value.type.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
    return f"{value.name} {_kind(tensor.elem_type)} ({', '.join(dims)})"


def _kind(number: int) -> str:
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
