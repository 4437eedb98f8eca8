"""Exports with their own NMS (YOLOv10, YOLO26, `nms=True`): one output (n, rows, 6)."""

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

    type: Literal["end2end"] = "end2end"


class EndToEnd:
    """Each row: x1, y1, x2, y2 in model-input pixels, score, class; rows below the floor are padding."""

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, rows, 6). The class count cannot be seen."""
        problem = _problem(shapes)
        if problem:
            raise BundleError(f"decoder end2end: {problem}; correct decoder in model.toml, or export again")

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """The rows from the floor up. InferenceError for scores or class ids that are none."""
        problem = _problem({name: array.shape for name, array in tensors.by_name.items()})
        if problem:
            raise InferenceError(f"decoder end2end: {problem}")
        (output,) = tensors.by_name.values()
        rows = output[tile]
        found = rows[rows[:, 4] >= score_floor].astype(np.float32)
        if not len(found):
            return Detections.none()
        confidence, class_id = found[:, 4], found[:, 5]
        if confidence.max() > SCORE_LIMIT:
            raise InferenceError(f"decoder end2end: a score is {confidence.max():.4g}, expected 0..1")
        strange = class_id[(class_id != np.floor(class_id)) | (class_id < 0) | (class_id >= classes)]
        if len(strange):
            raise InferenceError(
                f"decoder end2end: a class id is {strange[0]:g}, expected 0..{classes - 1}; "
                "classes in model.toml must be those that the model was trained with"
            )
        return Detections(
            np.ascontiguousarray(found[:, :4]), np.minimum(confidence, np.float32(1)), class_id.astype(np.int64)
        )


def _problem(shapes: Mapping[str, tuple[int, ...]]) -> str:
    expected = "expected one of (n, rows, 6)"
    if len(shapes) != 1:
        return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
    ((name, shape),) = shapes.items()
    return "" if len(shape) == 3 and shape[2] == 6 else f"output {name} is {shape}, {expected}"
