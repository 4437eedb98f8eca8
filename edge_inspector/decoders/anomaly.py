"""Anomaly models (anomalib's PatchCore, EfficientAD and others): a score of the picture and a map of where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from edge_inspector.datatypes import Detections, Floats, Region, Tensors
from edge_inspector.decoders.outlines import Blob, blobs, blobs_found, rectangle
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig, Settings

EVERYWHERE_PX = 1e6
"""Half the side of a box around any model's input, where no map tells its size; boxes are cut to the view later."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class Scale(Settings):
    """anomalib's normalisation: (value - threshold) / (max - min) + 0.5, cut to 0..1; as it stands it only cuts."""

    threshold: Number = Field(default=0.5, description="The value that becomes 0.5.")
    min: Number = Field(default=0.0, description="The least value of the validation set.")
    max: Number = Field(default=1.0, description="The greatest value of the validation set.")

    @model_validator(mode="after")
    def _in_order(self) -> Scale:
        if self.min >= self.max:
            raise ValueError(f"min = {self.min:g} is not below max = {self.max:g}")
        return self


class Config(PluginConfig):
    """Which outputs the model has, and how they become 0..1."""

    type: Literal["anomaly"] = "anomaly"
    score_output: str = Field(
        default="pred_score", description="Output with the picture's score; empty = the map's maximum."
    )
    map_output: str = Field(default="anomaly_map", description="Output with the map; empty = there is none.")
    image: Scale = Field(default=Scale(), description="How the picture's score becomes 0..1.")
    pixel: Scale = Field(default=Scale(), description="How the map becomes 0..1.")
    map_threshold: float = Field(
        default=0.5, gt=0, le=1, description="From which value, 0..1, a pixel belongs to a region."
    )
    min_area_px: float = Field(default=1.0, gt=0, description="Regions of fewer input pixels are not told.")
    map_stride: float = Field(default=1.0, gt=0, le=64, description="Input pixels that a pixel of the map is wide.")

    @model_validator(mode="after")
    def _one_at_least(self) -> Config:
        if not self.score_output and not self.map_output:
            raise ValueError("score_output and map_output are both empty, expected the name of one at least")
        return self


class Anomaly:
    """The picture's score decides: it is the confidence of the strongest region, and no other region has more.

    A score without a region in the middle is told of the whole view too: a region may lie in the letterbox's border,
    which is cut off, and no score may be lost with it.
    """

    tasks = ("anomaly",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is one class, a score (n,) or (n, 1) and a map (n, h, w) or (n, 1, h, w)."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder anomaly: {problem}; correct classes or decoder_options in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Regions, strongest first; where they may be cut off the whole view; nothing for a score below the floor."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder anomaly: {problem}")
        config = self._config
        heat = self._map(tensors, tile)
        told = heat.max() if not config.score_output else tensors.by_name[config.score_output][tile].reshape(())
        score = _normalised(told, config.image, "score")
        if score < np.float32(score_floor):
            return Detections.none()
        if not config.map_output:
            return _whole(float(score), [-EVERYWHERE_PX, -EVERYWHERE_PX, EVERYWHERE_PX, EVERYWHERE_PX], None)
        return self._in_regions(_normalised(heat, config.pixel, "map"), float(score))

    def _map(self, tensors: Tensors, tile: int) -> npt.NDArray[Any]:
        """(h, w) as the network gives it; empty where it gives none."""
        if not self._config.map_output:
            return np.zeros((0, 0), np.float32)
        maps = tensors.by_name[self._config.map_output]
        one: npt.NDArray[Any] = maps[tile].reshape(maps.shape[-2:])
        return one

    def _in_regions(self, heat: Floats, score: float) -> Detections:
        config = self._config
        stride, (height, width) = config.map_stride, heat.shape
        inside = heat >= np.float32(config.map_threshold)
        found: list[tuple[Blob, float, int]] = [
            (blob, score if i == 0 else min(blob.peak, score), 0)
            for i, blob in enumerate(blobs(heat, inside, config.min_area_px / stride**2))
        ]
        seen = blobs_found(found, stride)
        if found and _covers(found[0][0], width / 2, height / 2):
            return seen
        box = [0.0, 0.0, width * stride, height * stride]
        whole = _whole(score, box, rectangle(*box))
        return Detections(
            np.concatenate([seen.xyxy, whole.xyxy]),
            np.concatenate([seen.confidence, whole.confidence]),
            np.concatenate([seen.class_id, whole.class_id]),
            regions=(*(seen.regions or ()), *(whole.regions or ())),
        )

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        if classes != 1:
            return f"the bundle has {classes} classes, expected one, such as 'anomaly'"
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        for option in ("score_output", "map_output"):
            name = getattr(self._config, option)
            if name and name not in shapes:
                return f"{option} = {name!r} is not there, the outputs are {listed}"
        if self._config.score_output:
            shape = shapes[self._config.score_output]
            if any(side != 1 for side in shape[1:]) or not shape:
                return f"output {self._config.score_output} is {shape}, expected (n,) or (n, 1) for a score"
        if self._config.map_output:
            shape = shapes[self._config.map_output]
            if not (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)) or not all(shape[-2:]):
                return f"output {self._config.map_output} is {shape}, expected (n, h, w) or (n, 1, h, w) for a map"
        return ""


def _normalised(values: npt.NDArray[Any], scale: Scale, what: str) -> Floats:
    if not np.isfinite(values).all():
        raise InferenceError(f"decoder anomaly: the {what} holds NaN or infinity, expected numbers")
    shifted = (values.astype(np.float32) - np.float32(scale.threshold)) / np.float32(scale.max - scale.min)
    normalised: Floats = (shifted + np.float32(0.5)).clip(0, 1)
    return normalised


def _covers(blob: Blob, x: float, y: float) -> bool:
    """Whether its box reaches around the middle of the input, which is never letterbox border."""
    return blob.x < x < blob.x + blob.width and blob.y < y < blob.y + blob.height


def _whole(score: float, xyxy: list[float], region: Region | None) -> Detections:
    return Detections(
        np.array([xyxy], np.float32),
        np.array([score], np.float32),
        np.zeros(1, np.int64),
        regions=None if region is None else (region,),
    )
