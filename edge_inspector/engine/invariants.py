"""What TensorRT asks of a quantised network, checked on the file."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_inspector.engine.heads import LAYERS, Array, constants_of
from edge_inspector.errors import BundleError, ConfigError

QUANTISING = ("QuantizeLinear", "DequantizeLinear")
_DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_WITHIN = ("QLinearConv", "QLinearMatMul")
"""Layers with their scales inside, ONNX Runtime's QOperator format."""


def load(path: Path) -> Any:
    """The ONNX file. ConfigError: onnx is missing. BundleError: it is no ONNX file."""
    try:
        import onnx
    except ImportError as exc:
        raise ConfigError('changing a network needs onnx: pip install "edge-inspector[engine]"') from exc
    decode_error: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError  # it has no types
    try:
        return onnx.load(str(path))
    except (decode_error, OSError, onnx.checker.ValidationError) as exc:
        raise BundleError(f"{path} is not an ONNX file ({exc}); export or copy it again") from exc


def quantised_by(graph: Any) -> list[tuple[str, str]]:
    """(name, operator) of the nodes that quantise. BundleError where a network is quantised while it runs."""
    for node in graph.node:
        if node.op_type in _DYNAMIC:
            raise BundleError(
                f"node {node.name!r} is a {node.op_type}: the network measures its 8-bit scales anew on each picture "
                "(dynamic quantisation), which TensorRT cannot; export it in float32 and run edge-inspector engine "
                "quantize with pictures"
            )
    return [(node.name, node.op_type) for node in graph.node if node.op_type in (*QUANTISING, *_WITHIN)]


def check_invariants(path: Path) -> None:
    """BundleError with the name of the first node that TensorRT would refuse or compute otherwise.

    All zero-points 0, int8 only, biases float, and no layer's output quantised unless a next layer needs it so.
    """
    graph = load(path).graph
    problem = next(_problems(graph), None)
    if problem is not None:
        raise BundleError(
            f"{path}: {problem}; quantise the float32 export with edge-inspector engine quantize, which keeps to it"
        )


def _problems(graph: Any) -> Iterator[str]:
    for name, operator in quantised_by(graph):
        if operator in _WITHIN:
            yield f"node {name!r} is a {operator}, expected QuantizeLinear and DequantizeLinear around a float layer"
    constants = constants_of(graph)
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in LAYERS and len(node.input) > 2 and node.input[2]:
            yield from _bias_problems(node, constants, producers)
    for node in graph.node:
        if node.op_type in QUANTISING:
            yield from _scale_problems(node, constants)
    yield from _output_problems(graph, producers)


def _scale_problems(node: Any, constants: Mapping[str, Array]) -> Iterator[str]:
    what = f"node {node.name!r} ({node.op_type})"
    scale = constants.get(node.input[1])
    if scale is None:
        yield f"{what} has a scale that is computed, expected a constant"
    elif not (np.isfinite(scale).all() and (scale > 0).all()):
        yield f"{what} has a scale of {scale.min()}, expected numbers above 0"
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if zero_point is None:
        yield f"{what} has no constant zero-point, which means uint8, expected an int8 zero-point of 0"
    elif zero_point.dtype != np.int8:
        yield f"{what} is {zero_point.dtype}, expected int8"
    elif zero_point.any():
        yield f"{what} has the zero-point {zero_point.ravel()[zero_point.ravel() != 0][0]}, expected 0"


def _bias_problems(node: Any, constants: Mapping[str, Array], producers: Mapping[str, Any]) -> Iterator[str]:
    bias, producer = node.input[2], producers.get(node.input[2])
    if producer is not None and producer.op_type == "DequantizeLinear":
        yield f"the bias of node {node.name!r} ({node.op_type}) is quantised, expected float"
    elif bias in constants and not np.issubdtype(constants[bias].dtype, np.floating):
        yield f"the bias of node {node.name!r} ({node.op_type}) is {constants[bias].dtype}, expected float"


def _output_problems(graph: Any, producers: Mapping[str, Any]) -> Iterator[str]:
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    for node in graph.node:
        layer = producers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if layer is None or layer.op_type not in LAYERS:
            continue
        users = [user for back in consumers.get(node.output[0], []) for user in consumers.get(back.output[0], [])]
        if all(user.op_type not in LAYERS for user in users):
            yield f"the output of node {layer.name!r} ({layer.op_type}) is quantised by {node.name!r}, expected float"
