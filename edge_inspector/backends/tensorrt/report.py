"""What a person may want to know of a built engine: what `trtexec` prints, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_inspector.backends.tensorrt.library import Library, shape_of

if TYPE_CHECKING:
    import tensorrt as trt

_NAMES = (  # as the inspector words them: "Channel major FP16 format where ...", or "Half" alone
    ("INT8", "int8"), ("FP16", "fp16"), ("HALF", "fp16"), ("BFLOAT16", "bf16"), ("FP8", "fp8"),
    ("FP32", "fp32"), ("FLOAT", "fp32"), ("INT32", "int32"), ("INT64", "int64"), ("BOOL", "bool"),
)  # fmt: skip
_TYPE_NAMES = ("DataType", "Datatype", "Format/Datatype")  # TensorRT 11 splits it from the format
_NOT_READ = "not read: only an engine that is loaded on its GPU tells, and there is none here"


def tensors(network: trt.INetworkDefinition) -> list[dict[str, object]]:
    """Name, mode, type and shape (-1 = as many as there are tiles) of each input and output."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return [_tensor("input", t) for t in inputs] + [_tensor("output", t) for t in outputs]


def inspected(lib: Library, engine: trt.ICudaEngine | None) -> Mapping[str, object]:
    """Layers of the built engine and what they compute in, and its memory; says so where there was no GPU to ask."""
    if engine is None:
        return {"layer_precisions": _NOT_READ, "engine_layers": _NOT_READ, "scratch_mb": _NOT_READ}
    text = engine.create_engine_inspector().get_engine_information(lib.LayerInformationFormat.JSON)
    layers = _layers(text)
    return {
        "layer_precisions": precisions(layers),
        "engine_layers": [{"name": layer.get("Name", ""), "precision": precision(layer)} for layer in layers],
        "scratch_mb": round(engine.device_memory_size_v2 / 1e6, 1),
    }


def precisions(layers: list[dict[str, Any]]) -> dict[str, int]:
    """How many layers compute in what, the most frequent first."""
    return dict(Counter(precision(layer) for layer in layers).most_common())


def precision(layer: Mapping[str, Any]) -> str:
    """What a layer of the inspector's JSON computes in: the type of its first input, where it has one.

    Of its inputs and not its outputs: a convolution that gives float out of int8 computes in int8.
    """
    ends = layer.get("Inputs") or layer.get("Outputs") or [{}]
    wording = str(next((ends[0][name] for name in _TYPE_NAMES if name in ends[0]), ""))
    words = wording.upper().split()
    return next((name for said, name in _NAMES if said in words), wording or "unknown")


def _layers(text: str) -> list[dict[str, Any]]:
    """The inspector's layers; those of a plan without details are bare names."""
    found = json.loads(text).get("Layers", [])
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in found]


def _tensor(mode: str, tensor: trt.ITensor) -> dict[str, object]:
    return {"name": tensor.name, "mode": mode, "dtype": tensor.dtype.name, "shape": list(shape_of(tensor.shape))}
