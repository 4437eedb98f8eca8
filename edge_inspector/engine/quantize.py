"""A network in 8 bits: quantise and dequantise steps around its layers, as TensorRT, OpenVINO and ONNX Runtime take."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_inspector import pipeline
from edge_inspector.datatypes import Floats, InputSpec, PreparePlan
from edge_inspector.engine import calibration_set
from edge_inspector.engine.heads import LAYERS, head_of, name_nodes
from edge_inspector.engine.invariants import check_invariants, load, quantised_by
from edge_inspector.engine.runtime import refusals_told
from edge_inspector.errors import BundleError, ConfigError

Method = Literal["minmax", "entropy"]
Progress = Callable[[float, str], None]
OPERATORS = (*LAYERS, "Add", "MaxPool")
"""What may be computed in 8 bits."""
LEAST_PICTURES = 20
SENSIBLE_PICTURES = 100
_OPTIONS: Mapping[str, Any] = {
    "ActivationSymmetric": True,  # TensorRT knows no zero-point but 0
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT adds biases in float
    "AddQDQPairToWeight": True,  # TensorRT quantises weights itself
    "DedicatedQDQPair": False,
    "QDQOpTypePerChannelSupportToAxis": {"Conv": 0, "ConvTranspose": 1},
    "OpTypesToExcludeOutputQuantization": list(OPERATORS),  # or a layer cannot be fused with what follows
    "ForceQuantizeNoInputCheck": True,
    # The tensors of one picture are in memory at once. CalibMaxIntermediateOutputs, which says it bounds memory, throws
    # away what it has collected (onnxruntime 1.23 and 1.31, MinMaxCalibrater.collect_data).
    "CalibStridedMinMax": 1,
}


def quantize(
    source: Path, target: Path, spec: InputSpec, folder: Path, method: Method, progress: Progress
) -> Mapping[str, object]:
    """Write `source` in 8 bits, scaled by the pictures in `folder`; the report (JSON) says what became what.

    Pictures are prepared as the station does. ConfigError: too few pictures, or one that cannot be used. BundleError:
    the network is quantised already or cannot be.
    """
    pictures = calibration_set.pictures(folder)
    if len(pictures) < LEAST_PICTURES:
        raise ConfigError(
            f"{folder} holds {len(pictures)} pictures, expected at least {LEAST_PICTURES} to scale a network by and "
            f"better {SENSIBLE_PICTURES} or more; add pictures that the station has taken, good parts and defects"
        )
    _refuse_quantised(source)
    with tempfile.TemporaryDirectory(prefix="edge-inspector-") as work, _quiet(), refusals_told(source):
        prepared = _prepared(source, Path(work) / "prepared.onnx")
        left = _left_in_float(prepared.graph)
        _quantize_static(
            Path(work) / "prepared.onnx",
            target,
            _Pictures(pictures, spec, _input_of(prepared, source), progress),
            method,
            sorted(left),
        )
    check_invariants(target)
    quantised = [node.name for node in prepared.graph.node if node.op_type in OPERATORS and node.name not in left]
    if not quantised:
        raise BundleError(f"{source} has nothing that can be computed in 8 bits; use precision fp16 or fp32")
    return {
        "method": method,
        "pictures": len(pictures),
        "calibration": calibration_set.calibration_hash(folder),
        "warnings": _warnings(len(pictures)),
        "int8": quantised,
        "float": left,
    }


def _warnings(pictures: int) -> list[str]:
    if pictures >= SENSIBLE_PICTURES:
        return []
    return [f"scaled by {pictures} pictures only; {SENSIBLE_PICTURES} or more hold more of what a part can look like"]


def _refuse_quantised(source: Path) -> None:
    found = quantised_by(load(source).graph)
    if not found:
        return
    name, operator = found[0]
    raise BundleError(
        f"{source} is quantised already: node {name!r} is a {operator}; build from it as it is with precision int8, or "
        "quantise the float32 export"
    )


def _prepared(source: Path, target: Path) -> Any:
    """The network with shapes, without what ONNX Runtime can fold, and with a name for every node."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # symbolic shapes need sympy and help networks with dynamic shapes, which a station does not run
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    model = onnx.load(str(target))
    name_nodes(model.graph)
    onnx.save(model, str(target))
    return model


def _left_in_float(graph: Any) -> dict[str, str]:
    """Names of nodes that would be quantised by their operator but must not be, and why."""
    head = head_of(graph)
    produced_by_layer = {output for node in graph.node if node.op_type in LAYERS for output in node.output}
    left = {}
    for node in graph.node:
        if node.op_type not in OPERATORS:
            continue
        if node.name in head.last:
            left[node.name] = "last layer: what the decoder reads comes from it, and 256 steps are too few"
        elif node.name in head.dfl:
            left[node.name] = "sums the bins of box sides"
        elif node.name in head.tail:
            left[node.name] = "computes what the decoder reads, such as boxes in pixels"
        elif node.op_type not in LAYERS and any(name in produced_by_layer for name in node.input):
            left[node.name] = "follows a layer directly: 8 bits there would keep the two from being fused"
    return left


def _quantize_static(source: Path, target: Path, pictures: _Pictures, method: Method, excluded: Sequence[str]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        target,
        pictures,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(excluded),
        calibrate_method={"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}[method],
        extra_options=dict(_OPTIONS),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools print and log on the root logger; what they raise is told."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _input_of(model: Any, source: Path) -> tuple[str, int]:
    """Name and fixed batch size (1 where it is free) of the one input."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(given.name for given in inputs)
        raise BundleError(f"{source} has {len(inputs)} inputs ({names}), expected one picture; export it again")
    return inputs[0].name, max(1, inputs[0].type.tensor_type.shape.dim[0].dim_value)


class _Pictures:
    """ONNX Runtime's CalibrationDataReader: prepared pictures, one batch after the other.

    The one with most contrast comes first: entropy histograms keep the bin width of the first, and a blank picture
    there would ask for millions of bins.
    """

    def __init__(self, paths: Sequence[Path], spec: InputSpec, given: tuple[str, int], progress: Progress) -> None:
        self._plan = PreparePlan(spec)
        self._input, batch = given
        self._progress = progress
        first = max(paths, key=lambda path: float(calibration_set.read_frame(path).pixels.std()))
        ordered = [first, *(path for path in paths if path != first)]
        ordered += ordered[: -len(ordered) % batch]  # a fixed batch is filled up with the first pictures
        self._batches = [ordered[i : i + batch] for i in range(0, len(ordered), batch)]
        self._next = range(0)
        self.set_range(0, len(self._batches))

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next = range(start_index, min(end_index, len(self._batches)))

    def get_next(self) -> dict[str, Floats] | None:
        if not self._next:
            if self._next.stop == len(self._batches):
                self._progress(1.0, "scaling the layers")
            return None
        number, self._next = self._next[0], self._next[1:]
        self._progress(number / len(self._batches), f"calibration picture {number + 1} of {len(self._batches)}")
        pixels = [
            pipeline.prepare(calibration_set.read_frame(path), self._plan).pixels for path in self._batches[number]
        ]
        return {self._input: np.concatenate(pixels)}
