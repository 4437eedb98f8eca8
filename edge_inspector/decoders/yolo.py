"""YOLOv8, YOLO11 and YOLO26 detection exports without their own NMS: one output (n, 4 + classes, anchors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders import compact
from edge_inspector.decoders.boxes import corners, refuse_no_probability
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

REMEDY = "export the model with its sigmoid"


class Config(PluginConfig):
    """Nothing to set."""

    type: Literal["yolo"] = "yolo"


class Yolo:
    """Each column: centre x, centre y, width, height in model-input pixels, then a probability for each class."""

    tasks = ("detect",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, 4 + classes, anchors) or our own rows."""
        problem = compact.problem(shapes) if compact.OUTPUT in shapes else _problem(shapes, classes)
        if problem:
            raise BundleError(f"decoder yolo: {problem}; correct classes or decoder in model.toml, or export again")

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each column once for every class that reaches the floor. InferenceError for scores that are none.

        Not for its best class only: one with a high threshold would hide another that its own threshold lets count.
        """
        if compact.OUTPUT in tensors.by_name:
            return compact.decode("yolo", tensors, tile, score_floor, classes)
        problem = _problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder yolo: {problem}")
        (output,) = tensors.by_name.values()
        columns = output[tile]
        if not columns.shape[1]:
            return Detections.none()
        best = columns[4:].max(axis=0)
        refuse_no_probability("yolo", best, REMEDY)
        survivors = np.flatnonzero(best >= score_floor)  # few: all that follows is small
        scores = columns[4:, survivors].astype(np.float32).T
        row, class_id = np.nonzero(scores >= score_floor)
        boxes = corners(columns[:4, survivors].T)
        return Detections(boxes[row], scores[row, class_id].clip(max=1), class_id.astype(np.int64))


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
