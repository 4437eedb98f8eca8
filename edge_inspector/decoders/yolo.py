"""YOLOv8 and YOLO11 detection exports: one output (n, 4 + classes, anchors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

SCORE_LIMIT = 1.01  # a probability, with room for the rounding of a quantised output


class Config(PluginConfig):
    """Nothing to set."""

    type: Literal["yolo"] = "yolo"


class Yolo:
    """Each column: centre x, centre y, width, height in model-input pixels, then a probability for each class."""

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, 4 + classes, anchors)."""
        problem = _problem(shapes, classes)
        if problem:
            raise BundleError(f"decoder yolo: {problem}; correct classes or decoder in model.toml, or export again")

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each column once for every class that reaches the floor. InferenceError for scores that are none.

        Not for its best class only: one with a high threshold would hide another that its own threshold lets count.
        """
        problem = _problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder yolo: {problem}")
        (output,) = tensors.by_name.values()
        columns = output[tile]
        survivors = np.flatnonzero(columns[4:].max(axis=0) >= score_floor)  # few: all that follows is small
        if not len(survivors):
            return Detections.none()
        found = columns[:, survivors].astype(np.float32).T
        row, class_id = np.nonzero(found[:, 4:] >= score_floor)
        confidence = found[row, 4 + class_id]
        if confidence.max() > SCORE_LIMIT:
            raise InferenceError(
                f"decoder yolo: a class score is {confidence.max():.4g}, expected 0..1; "
                "export the model with its sigmoid"
            )
        centre, half = found[row, :2], found[row, 2:4] / 2
        xyxy = np.concatenate([centre - half, centre + half], axis=1)
        return Detections(xyxy, np.minimum(confidence, np.float32(1)), class_id.astype(np.int64))


def _problem(shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
    expected = f"expected one of (n, {4 + classes}, anchors) for {classes} classes"
    if len(shapes) != 1:
        return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
    ((name, shape),) = shapes.items()
    if len(shape) == 3 and shape[1] == 4 + classes:
        return ""
    if len(shape) == 3 and shape[2] == 4 + classes:
        return f"output {name} is {shape}, which is transposed, {expected}"
    return f"output {name} is {shape}, {expected}"
