"""Semantic segmentation (UNet and the like): a value for each pixel and class, or the class of each pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_inspector.datatypes import Detections, Floats, Tensors
from edge_inspector.decoders.boxes import ROUNDING
from edge_inspector.decoders.outlines import Blob, blobs, blobs_found
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

NEAR = 1e-3  # as much below the floor, in logits, nothing can round up to it


class Config(PluginConfig):
    """What the map holds, and what of it is a finding."""

    type: Literal["segmentation"] = "segmentation"
    activation: Literal["softmax", "sigmoid", "none", "argmax"] = Field(
        default="softmax",
        description="softmax or sigmoid: the map (n, channels, h, w) holds logits, and this makes them probabilities; "
        "none: it holds probabilities; argmax: (n, h, w) or (n, 1, h, w) holds the number of the best channel.",
    )
    background: int = Field(
        default=-1,
        ge=-1,
        description="The channel that is no class of the bundle and never found; -1 = every channel is a class.",
    )
    min_area_px: float = Field(default=1.0, gt=0, description="Regions of fewer input pixels are dropped.")
    map_stride: float = Field(default=1.0, gt=0, le=64, description="Input pixels that a pixel of the map is wide.")


class Segmentation:
    """A region is what hangs together where a class's probability reaches the score floor; its confidence is the peak.

    The peak and not the mean: a region that grows never becomes less of a defect. A map of classes has no
    probabilities: what it shows is certain.
    """

    tasks = ("segment",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of the shape that `activation` and `background` say."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder segmentation: {problem}; correct classes or decoder_options in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Every class's regions. InferenceError for values that are not what `activation` says."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder segmentation: {problem}")
        ((name, output),) = tensors.by_name.items()
        config = self._config
        min_area = config.min_area_px / config.map_stride**2
        channels = [c for c in range(self._channels(classes)) if c != config.background]
        found: list[tuple[Blob, float, int]] = []
        if config.activation == "argmax":
            best = _whole_numbers(output[tile].reshape(output.shape[-2:]), name, self._channels(classes))
            certain = np.ones(best.shape, np.float32)
            for class_id, channel in enumerate(channels):
                found += [(blob, 1.0, class_id) for blob in blobs(certain, best == channel, min_area)]
        else:
            likely = _probabilities(
                np.asarray(output[tile], np.float32), channels, score_floor, name, config.activation
            )
            for class_id, values in enumerate(likely):
                inside = values >= np.float32(score_floor)
                found += [(blob, min(blob.peak, 1.0), class_id) for blob in blobs(values, inside, min_area)]
        return blobs_found(found, config.map_stride)

    def _channels(self, classes: int) -> int:
        return classes + (self._config.background >= 0)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        config, channels = self._config, self._channels(classes)
        if config.background >= channels:
            return f"background = {config.background}, expected less than the {channels} channels of {classes} classes"
        argmax = config.activation == "argmax"
        expected = "(n, h, w) or (n, 1, h, w)" if argmax else f"(n, {channels}, h, w)"
        expected = f"expected one of {expected} for {classes} classes, activation = {config.activation!r} and "
        expected += f"background = {config.background}"
        if len(shapes) != 1:
            return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
        ((name, shape),) = shapes.items()
        if (len(shape) == 4 and shape[1] == (1 if argmax else channels)) or (argmax and len(shape) == 3):
            return "" if all(shape[-2:]) else f"output {name} is {shape}, which is no pixel, {expected}"
        last = ", which has its channels last" if len(shape) == 4 and shape[3] == (1 if argmax else channels) else ""
        return f"output {name} is {shape}{last}, {expected}"


def _probabilities(values: Floats, channels: list[int], floor: float, name: str, activation: str) -> Floats:
    """(channels, h, w) of 0..1 for these channels; what cannot reach the floor may be 0."""
    low, high = float(values.min()), float(values.max())
    if activation == "none":
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise InferenceError(
                f"decoder segmentation: output {name} is {low:.4g}..{high:.4g}, expected probabilities 0..1; "
                "set decoder_options.activation to softmax or sigmoid"
            )
        return values[channels]
    if low >= 0 and high <= 1:
        raise InferenceError(
            f"decoder segmentation: output {name} is {low:.4g}..{high:.4g}, which are probabilities and no logits; "
            'set decoder_options.activation to "none"'
        )
    return _sigmoid(values[channels], floor) if activation == "sigmoid" else _softmax(values, channels, floor)


def _sigmoid(values: Floats, floor: float) -> Floats:
    likely = np.zeros_like(values)
    near = values >= math.log(floor / (1 - floor)) - NEAR
    likely[near] = 0.5 * (1 + np.tanh(values[near] / 2))  # does not overflow
    return likely


def _softmax(values: Floats, channels: list[int], floor: float) -> Floats:
    likely = np.zeros((len(channels), *values.shape[1:]), np.float32)
    best = values.max(axis=0)
    least = best + np.float32(math.log(floor) - NEAR)  # no share is more than exp(value - best)
    near = np.zeros(best.shape, bool)
    for channel in channels:
        near |= values[channel] >= least  # few places: all that follows is small
    weights = np.exp(values[:, near] - best[near])
    likely[:, near] = weights[channels] / weights.sum(axis=0)
    return likely


def _whole_numbers(best: npt.NDArray[Any], name: str, channels: int) -> npt.NDArray[Any]:
    """(h, w), each value one of the channels."""
    low, high = float(best.min()), float(best.max())
    whole = best.dtype.kind != "f" or bool((best == np.floor(best)).all())
    if not whole or low < 0 or high >= channels:
        raise InferenceError(
            f"decoder segmentation: output {name} has classes {low:g}..{high:g}, expected whole numbers "
            f"0..{channels - 1}; classes in model.toml must be those that the model was trained with"
        )
    return best
