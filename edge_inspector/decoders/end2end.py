"""Exports that choose their boxes themselves (YOLOv10, YOLO26, `nms=True`): one output (n, rows, 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders import compact
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

MORE_ROWS = "raise score_floor in model.toml or export the model with a higher max_det"

LARGEST_FRACTION = 1.5  # boxes that are parts of the input's size reach over its edge, by less than half of it


class Config(PluginConfig):
    """Nothing to set."""

    type: Literal["end2end"] = "end2end"


class EndToEnd:
    """Each row: x1, y1, x2, y2 in model-input pixels, score, class; rows below the floor are padding.

    An export with `nms=True` tells the best class of each box only: see docs/decisions/0004.
    """

    tasks = ("detect",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, rows, 6). The class count cannot be seen."""
        problem = _problem(shapes)
        if problem:
            raise BundleError(f"decoder end2end: {problem}; correct decoder in model.toml, or export again")

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """The rows from the floor up. InferenceError for scores or class ids that are none, or when no row is free."""
        problem = _problem({name: array.shape for name, array in tensors.by_name.items()})
        if problem:
            raise InferenceError(f"decoder end2end: {problem}")
        (output,) = tensors.by_name.values()
        found = compact.detections("end2end", output[tile], score_floor, classes, MORE_ROWS)
        if len(found) and found.xyxy.max() <= LARGEST_FRACTION:
            raise InferenceError(
                f"decoder end2end: no box number is above {found.xyxy.max():.4g}, expected px of the model's input; if "
                "boxes are parts of its width and height, as RT-DETR's are, the decoder is rtdetr"
            )
        return found


def _problem(shapes: Mapping[str, tuple[int, ...]]) -> str:
    expected = f"expected one of (n, rows, {compact.COLUMNS})"
    if len(shapes) != 1:
        return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
    ((name, shape),) = shapes.items()
    return "" if len(shape) == 3 and shape[2] == compact.COLUMNS else f"output {name} is {shape}, {expected}"
