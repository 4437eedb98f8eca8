"""Where a network's head is: its last layers, and what turns their numbers into boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that have weights."""
_SAME_VALUE = ("Identity", "QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "Reshape", "Unsqueeze")
"""Operators that may stand between a layer and its weights."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Head:
    """Names of nodes. `last`: layers from which no further layer is reached. `dfl`: layers that only add up bins.

    `tail`: everything from the last layers to the outputs, `dfl` among it: decoding, in model-input pixels.
    """

    last: tuple[str, ...]
    dfl: tuple[str, ...]
    tail: tuple[str, ...]


def head_of(graph: Any) -> Head:
    """The head of an ONNX graph whose nodes have names; found by its structure, whatever the exporter called it."""
    constants = constants_of(graph)
    feeds_layer: set[str] = set()  # tensors from which a layer is reached
    last, dfl, tail = [], [], []
    for node in reversed(graph.node):
        sums_bins = node.op_type in LAYERS and _sums_bins(node, constants)
        layer = node.op_type in LAYERS and not sums_bins and weights_of(node, constants) is not None
        before_layer = any(output in feeds_layer for output in node.output)
        if layer or before_layer:
            feeds_layer.update(name for name in node.input if name)
        if layer and not before_layer:
            last.append(node.name)
        elif sums_bins and not before_layer:
            dfl.append(node.name)
            tail.append(node.name)
        elif not before_layer and not all(output in constants for output in node.output):
            tail.append(node.name)
    return Head(tuple(reversed(last)), tuple(reversed(dfl)), tuple(reversed(tail)))


def constants_of(graph: Any) -> Mapping[str, Array]:
    """Every tensor that is known before the first picture and is a weight, a constant or one of them passed on."""
    from onnx import numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    known[node.output[0]] = numpy_helper.to_array(attribute.t)
        elif node.op_type in _SAME_VALUE and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    return known


def weights_of(node: Any, constants: Mapping[str, Array]) -> Array | None:
    """The weights of a layer; None where it multiplies two things that both come from the picture."""
    return next((constants[name] for name in node.input[:2] if name in constants), None)


def name_nodes(graph: Any) -> None:
    """Give each node a name of its own, in place: converters choose nodes by name, exporters may leave it out."""
    taken = {node.name for node in graph.node}
    seen: set[str] = {""}
    for number, node in enumerate(graph.node):
        if node.name in seen:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _sums_bins(node: Any, constants: Mapping[str, Array]) -> bool:
    """Distribution focal loss (Li et al., NeurIPS 2020): a box side is the mean of its bins 0, 1, 2, ..."""
    weights = weights_of(node, constants)
    if weights is None or weights.size < 2 or weights.size != max(weights.shape):
        return False
    return bool(np.array_equal(weights.ravel(), np.arange(weights.size)))
