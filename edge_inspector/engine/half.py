"""A network in half precision, typed: float16 inside, float32 at its ends and where half precision does not reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import InputSpec
from edge_inspector.engine.heads import Array, constants_of, head_of, name_nodes
from edge_inspector.engine.invariants import QUANTISING, load
from edge_inspector.engine.runtime import refusals_told
from edge_inspector.errors import BundleError

FATAL = 4  # ONNX Runtime's severity: its findings come as exceptions
LARGEST = 65504.0
"""Of a finite float16."""
HEADROOM = 8
"""By how much a real picture may reach further than the test pictures."""
BLOCK_PX = 32
SCALE_ERROR = 2.0**-9
"""How much a scale may change: a quarter of a step at the end of the 8-bit range, where it moves a value most."""
HALF_SCALES_OPSET = 19
"""From here on ONNX lets QuantizeLinear and DequantizeLinear have float16 scales."""
_RANGE = "its numbers leave the range of half precision"
KEPT: Mapping[str, str] = {
    "Exp": _RANGE,
    "Log": "numbers near 0, which half precision has not",
    "Reciprocal": _RANGE,
    "Pow": _RANGE,
    "Sqrt": "of a variance, which half precision may hold as 0",
    "ReduceSum": "sums of many numbers leave the range of half precision",
    "ReduceMean": "sums of many numbers leave the range of half precision",
    "ReduceSumSquare": _RANGE,
    "ReduceL2": _RANGE,
    "LayerNormalization": "sums of squares leave the range of half precision",
    "InstanceNormalization": "sums of squares leave the range of half precision",
}


def to_half(source: Path, target: Path, spec: InputSpec) -> Mapping[str, object]:
    """Write `source` with float16 inside, inputs and outputs as they are; the report (JSON) names what stays float32.

    BundleError: it cannot be converted.
    """
    model = _with_half_scales(load(source), source)
    name_nodes(model.graph)
    _refuse_control_flow(model.graph, source)
    with refusals_told(source):
        kept = _kept_in_float(model.graph, _largest_numbers(model, spec))
        half = _converted(model, kept, source)
        _run(half.SerializeToString(), np.zeros((spec.channels, spec.height_px, spec.width_px)))
    target.write_bytes(half.SerializeToString())
    return {"float32": kept}


def _refuse_control_flow(graph: Any, source: Path) -> None:
    from onnx import AttributeProto

    for node in graph.node:
        if any(attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS} for attribute in node.attribute):
            raise BundleError(
                f"{source}: node {node.name!r} ({node.op_type}) decides while the network runs what is computed, which "
                "cannot be converted to half precision; export the network without, or use precision fp32"
            )


def _converted(model: Any, kept: Mapping[str, str], source: Path) -> Any:
    """`model` with all but the `kept` nodes in half precision, sorted and checked."""
    from onnx import checker, shape_inference
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _give_own_constants(model.graph, kept)
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=list(kept))
    _join_casts(half.graph)
    ONNXModel(half).topological_sort()
    del half.graph.value_info[:]
    try:
        half = shape_inference.infer_shapes(half, check_type=True)
        checker.check_model(half, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as exc:
        raise BundleError(f"{source} cannot be converted to half precision: {exc}; use precision fp32") from exc
    return half


def _with_half_scales(model: Any, source: Path) -> Any:
    from onnx import version_converter

    opset = next((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), 0)
    if opset >= HALF_SCALES_OPSET or not any(node.op_type in QUANTISING for node in model.graph.node):
        return model
    try:
        return version_converter.convert_version(model, HALF_SCALES_OPSET)
    except RuntimeError as exc:
        raise BundleError(
            f"{source} has ONNX opset {opset} and cannot be raised to {HALF_SCALES_OPSET}, which 8 bits beside half "
            f"precision need ({exc}); export it with opset {HALF_SCALES_OPSET}"
        ) from exc


def _kept_in_float(graph: Any, largest: Mapping[str, float]) -> dict[str, str]:
    """Names of nodes that stay float32, and why; `largest` number of each tensor."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    constants = constants_of(graph)
    kept = dict.fromkeys(head_of(graph).tail, "computes boxes: half precision has steps of 0.5 px from 512 px on")
    for node in graph.node:
        reason = _reason(node, constants)
        if reason is not None:
            kept[node.name] = reason
        elif node.op_type in DEFAULT_OP_BLOCK_LIST:
            kept.setdefault(node.name, "no half precision in ONNX Runtime")
        else:
            reached = max(largest.get(name, 0.0) for name in (*node.input, *node.output))
            if reached > LARGEST / HEADROOM:
                kept.setdefault(node.name, f"its numbers reach {reached:.3g} on a test picture")
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in QUANTISING and node.input[1] in constants and _loses(constants[node.input[1]]):
            for one in (node, producers.get(node.input[0])):
                if one is not None and one.op_type in QUANTISING:
                    kept[one.name] = "its scale is too small for half precision"
    return kept


def _reason(node: Any, constants: Mapping[str, Array]) -> str | None:
    if node.op_type in KEPT:
        return KEPT[node.op_type]
    if node.op_type == "Div" and node.input[1] not in constants:
        return "divides by numbers that may be near 0"
    if node.op_type in QUANTISING:
        return None
    floats = [constants[name] for name in node.input if name in constants and constants[name].dtype == np.float32]
    if any((np.abs(given[np.isfinite(given)]) > LARGEST).any() for given in floats):
        return "its constants leave the range of half precision"
    return None


def _loses(scale: Array) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        rounded = scale.astype(np.float16).astype(np.float64)
    return bool((np.abs(rounded - scale) > SCALE_ERROR * scale).any())


def _give_own_constants(graph: Any, kept: Mapping[str, str]) -> None:
    """Kept nodes get float32 constants that they share with none: the converter makes all others float16."""
    from onnx import TensorProto

    values = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    values.update({tensor.name: tensor for tensor in graph.initializer})
    fixed = {"Resize": (1, 2)}  # its region and scales are float32 in any network
    for node in graph.node:
        for i, name in enumerate(node.input):
            floating = name in values and values[name].data_type == TensorProto.FLOAT
            if floating and (node.name in kept or i in fixed.get(node.op_type, ())):
                own = graph.initializer.add()
                own.CopyFrom(values[name])
                own.name = node.input[i] = f"{name}/{node.name}/{i}"
    _drop_unused(graph)


def _join_casts(graph: Any) -> None:
    """One cast for each tensor, and none to float16 and back: the converter puts those between any two kept nodes.

    Through float16 boxes would be rounded, and a network may not make one tensor twice.
    """
    from onnx import TensorProto

    nodes = list({tuple(node.output): node for node in reversed(graph.node)}.values())[::-1]
    producers = {output: node for node in nodes for output in node.output}
    outputs = {output.name for output in graph.output}
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input)}
    instead: dict[str, str] = {}
    for node in nodes:
        there = producers.get(node.input[0]) if node.op_type == "Cast" else None
        if (
            there is None
            or there.op_type != "Cast"
            or (_to(there), _to(node)) != (TensorProto.FLOAT16, TensorProto.FLOAT)
        ):
            continue
        if types.get(there.input[0]) != TensorProto.FLOAT:
            continue
        if node.output[0] in outputs:
            node.op_type, node.input[0] = "Identity", there.input[0]
            del node.attribute[:]
        else:
            instead[node.output[0]] = there.input[0]
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = instead.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)


def _to(cast: Any) -> int:
    return int(next(attribute.i for attribute in cast.attribute if attribute.name == "to"))


def _drop_unused(graph: Any) -> None:
    """Remove what no output needs, in place."""
    used = {output.name for output in graph.output}
    pending = list(used)
    producers = {output: node for node in graph.node for output in node.output}
    while pending:
        node = producers.get(pending.pop())
        new = [] if node is None else [name for name in node.input if name not in used]
        used.update(new)
        pending += new
    nodes = [node for node in graph.node if any(output in used for output in node.output)]
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


def _largest_numbers(model: Any, spec: InputSpec) -> dict[str, float]:
    """By tensor, in float32, on noise and on blocks, because real pictures have areas; inputs as `spec` scales them."""
    from onnx import TensorProto, helper, shape_inference

    seen = shape_inference.infer_shapes(model)
    infos = {info.name: info for info in (*seen.graph.value_info, *seen.graph.output)}
    floats = [name for name, info in infos.items() if info.type.tensor_type.elem_type == TensorProto.FLOAT]
    del seen.graph.output[:]
    for name in floats:  # reduced inside, or all tensors of a picture would be in memory at once
        size, largest = f"{name}/size", f"{name}/largest"
        seen.graph.node.append(helper.make_node("Abs", [name], [size]))
        seen.graph.node.append(helper.make_node("ReduceMax", [size], [largest], keepdims=0))
        seen.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (spec.channels, spec.height_px, spec.width_px))
    coarse = rng.integers(0, 256, (spec.channels, -(-spec.height_px // BLOCK_PX), -(-spec.width_px // BLOCK_PX)))
    blocks = np.kron(coarse, np.ones((1, BLOCK_PX, BLOCK_PX)))[:, : spec.height_px, : spec.width_px]
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
    found = [_run(seen.SerializeToString(), (picture * spec.scale - mean) / std) for picture in (noise, blocks)]
    return {name: max(float(one[f"{name}/largest"]) for one in found) for name in floats}


def _run(network: bytes, picture: npt.NDArray[np.float64]) -> dict[str, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = 1
    # 1.31 fuses Concat between float16 scales into a QLinearConcat that takes float32 scales only
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1
    names = [output.name for output in session.get_outputs()]
    pixels = np.stack([picture.astype(np.float32)] * batch)
    return dict(zip(names, session.run(names, {given.name: pixels}), strict=True))
