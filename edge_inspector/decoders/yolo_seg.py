"""Ultralytics segmentation exports (YOLOv8, 11, 26): boxes with mask coefficients, and the prototypes they weigh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_inspector.datatypes import Detections, Floats, Region, Tensors
from edge_inspector.decoders import compact
from edge_inspector.decoders.boxes import corners, refuse_no_probability
from edge_inspector.decoders.outlines import Mask, outlined, rectangle
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

MORE_ROWS = "raise score_floor in model.toml or export the model with a higher max_det"


class Config(PluginConfig):
    """How the boxes lie in their output."""

    type: Literal["yolo_seg"] = "yolo_seg"
    rows: Literal["anchors", "end2end"] = Field(
        default="anchors",
        description="anchors: (n, 4 + classes + k, anchors), without NMS; end2end: (n, rows, 6 + k) of x1, y1, x2, y2, "
        "score, class, k coefficients (YOLO26's default).",
    )
    mask_stride: int = Field(default=4, ge=1, le=32, description="Input pixels that a pixel of the prototypes is wide.")


class YoloSeg:
    """A mask is where the prototypes (n, k, h, w), weighed by a box's k coefficients, are above zero in that box."""

    tasks = ("segment", "detect")

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there are two outputs, boxes and prototypes, that fit each other and the classes."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder yolo_seg: {problem}; correct classes or decoder_options in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each box once for every class that reaches the floor. InferenceError for scores or classes that are none."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder yolo_seg: {problem}")
        boxes = _boxes(tensors)[tile]
        read = _from_rows if self._config.rows == "end2end" else _from_columns
        return read(boxes, score_floor, classes)

    def draw(self, tensors: Tensors, tile: int, kept: Detections) -> Detections:
        """`kept` with the outlines of its masks; one whose mask is empty in its box is outlined by the box, area 0."""
        if kept.candidate is None:
            raise ValueError("Detections without candidate: not what decode gave")
        boxes, prototypes = _boxes(tensors)[tile], _prototypes(tensors)[tile].astype(np.float32)
        k = len(prototypes)
        rows = boxes[kept.candidate, -k:] if self._config.rows == "end2end" else boxes[-k:, kept.candidate].T
        regions = tuple(
            self._region(prototypes, weights, xyxy)
            for weights, xyxy in zip(rows.astype(np.float32), kept.xyxy.tolist(), strict=True)
        )
        return Detections(kept.xyxy, kept.confidence, kept.class_id, kept.candidate, regions)

    def _region(self, prototypes: Floats, weights: Floats, xyxy: list[float]) -> Region:
        stride = self._config.mask_stride
        height, width = (side * stride for side in prototypes.shape[1:])
        # the pixels whose middles lie in the box
        x1, x2 = (min(max(math.ceil(x - 0.5), 0), width) for x in xyxy[::2])
        y1, y2 = (min(max(math.ceil(y - 0.5), 0), height) for y in xyxy[1::2])
        if x1 >= x2 or y1 >= y2:
            return rectangle(*xyxy)
        mask = _mask(prototypes, weights, stride, (x1, y1, x2, y2))
        return outlined(mask, x1, y1) or rectangle(*xyxy)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        boxes = [shape for shape in shapes.values() if len(shape) == 3]
        prototypes = [shape for shape in shapes.values() if len(shape) == 4]
        if len(shapes) != 2 or len(boxes) != 1 or len(prototypes) != 1:
            return f"the outputs are {listed}, expected boxes (n, ...) with 3 axes and prototypes (n, k, h, w)"
        k = prototypes[0][1]
        end2end = self._config.rows == "end2end"
        axis, size = (2, 6 + k) if end2end else (1, 4 + classes + k)
        if boxes[0][axis] == size:
            return ""
        wanted = f"(n, rows, {size})" if end2end else f"(n, {size}, anchors) for {classes} classes"
        return (
            f"the outputs are {listed}, expected boxes {wanted} and {k} coefficients with rows = {self._config.rows!r}"
        )


def _boxes(tensors: Tensors) -> npt.NDArray[Any]:
    (boxes,) = (array for array in tensors.by_name.values() if array.ndim == 3)
    return boxes


def _prototypes(tensors: Tensors) -> npt.NDArray[Any]:
    (prototypes,) = (array for array in tensors.by_name.values() if array.ndim == 4)
    return prototypes


def _from_columns(columns: npt.NDArray[Any], score_floor: float, classes: int) -> Detections:
    """Centre x, centre y, width, height, a probability for each class, coefficients."""
    if not columns.shape[1]:
        return Detections.none()
    best = columns[4 : 4 + classes].max(axis=0)
    refuse_no_probability("yolo_seg", best, "export the model with its sigmoid")
    survivors = np.flatnonzero(best >= score_floor)  # few: all that follows is small
    scores = columns[4 : 4 + classes, survivors].astype(np.float32).T
    row, class_id = np.nonzero(scores >= score_floor)
    boxes = corners(columns[:4, survivors].T)
    return Detections(boxes[row], scores[row, class_id].clip(max=1), class_id.astype(np.int64), survivors[row])


def _from_rows(rows: npt.NDArray[Any], score_floor: float, classes: int) -> Detections:
    """x1, y1, x2, y2, score, class, coefficients; rows below the floor are padding."""
    found = compact.detections("yolo_seg", rows[:, : compact.COLUMNS], score_floor, classes, MORE_ROWS)
    return replace(found, candidate=np.flatnonzero(rows[:, 4] >= score_floor))


def _mask(prototypes: Floats, weights: Floats, stride: int, part: tuple[int, int, int, int]) -> Mask:
    """The mask in this part of the input (x1, y1, x2, y2), enlarged bilinearly, pixel middles on pixel middles."""
    x1, y1, x2, y2 = part
    # one prototype pixel more on each side: interpolation looks there
    left, top = max(x1 // stride - 1, 0), max(y1 // stride - 1, 0)
    cut = prototypes[:, top : -(-y2 // stride) + 1, left : -(-x2 // stride) + 1]
    logits = np.tensordot(weights, cut, 1)
    wh = (logits.shape[1] * stride, logits.shape[0] * stride)
    fine = cv2.resize(logits, wh, interpolation=cv2.INTER_LINEAR)
    inside = fine[y1 - top * stride : y2 - top * stride, x1 - left * stride : x2 - left * stride] > 0
    return np.ascontiguousarray(inside).view(np.uint8)
