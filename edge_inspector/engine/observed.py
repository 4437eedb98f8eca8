"""Decoder options that a network's outputs tell: their shapes, their kinds, their values for a picture of noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_inspector.datatypes import InputSpec, Tensors
from edge_inspector.errors import BundleError


def observed_options(
    decoder: str,
    said: Mapping[str, Any],
    spec: InputSpec,
    seen: Tensors,
    whole_numbers: frozenset[str],
) -> dict[str, Any]:
    """`seen` is the outputs for a picture of noise, `said` what the file says.

    BundleError: a map has other proportions than the input.
    """
    if decoder in ("rtdetr", "yolox"):
        return {"input_px": (spec.width_px, spec.height_px)}
    if decoder == "classifier" and "activation" not in said:
        (values,) = list(seen.by_name.values())[:1]
        return {"activation": "none" if _shares(values.reshape(-1)) else "softmax"}
    if decoder == "segmentation":
        ((name, values),) = list(seen.by_name.items())[:1]
        activation = said.get("activation", "argmax" if name in whole_numbers else _activation(values))
        return {"activation": activation, "map_stride": _stride(name, values, spec)}
    if decoder == "anomaly":
        return _anomaly_options(said, spec, seen)
    return {}


def _activation(values: np.ndarray[Any, Any]) -> str:
    if values.min() >= 0 and values.max() <= 1:
        return "none"
    return "sigmoid" if values.ndim == 4 and values.shape[1] == 1 else "softmax"


def _anomaly_options(said: Mapping[str, Any], spec: InputSpec, seen: Tensors) -> dict[str, Any]:
    maps = [name for name, array in seen.by_name.items() if array.ndim >= 3]
    scores = [name for name in seen.by_name if name not in maps]
    options = {"score_output": "".join(scores[:1]), "map_output": "".join(maps[:1]), **said}
    if not options["map_output"]:
        return options
    name = options["map_output"]
    return {**options, "map_stride": _stride(name, seen.by_name[name], spec)}


def _stride(name: str, values: np.ndarray[Any, Any], spec: InputSpec) -> float:
    """Input pixels that a pixel of the map is wide."""
    height, width = values.shape[-2:]
    if width * spec.height_px != height * spec.width_px:
        raise BundleError(
            f"output {name} is {values.shape} for an input {spec.width_px} wide and {spec.height_px} high, expected a "
            "map of the same proportions; export the model with that input size"
        )
    return float(spec.width_px / width)


def _shares(values: np.ndarray[Any, Any]) -> bool:
    return bool(values.min() >= 0 and abs(float(values.sum(dtype=np.float64)) - 1) < 1e-3)
