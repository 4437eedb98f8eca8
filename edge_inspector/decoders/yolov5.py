"""YOLOv5 and YOLOv7 exports: one output (n, anchors, 5 + classes) with an objectness, boxes decoded (`--grid`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders import compact
from edge_inspector.decoders.boxes import corners, shown_classes
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

REMEDY = "export the model with its detection layer (YOLOv7: export.py --grid)"

SMALLEST_PX = -1.0  # a size is a square or a power, never below 0; with room for the rounding of a quantised output


class Config(PluginConfig):
    """How the model was exported."""

    type: Literal["yolov5"] = "yolov5"
    output: str = Field(
        default="", description="Name of the output with the boxes, for exports that give the raw maps beside it."
    )
    objectness_only: bool = Field(
        default=False,
        description="The score is the objectness alone: for YOLOv7 of one class, which never learns its class score.",
    )


class YoloV5:
    """Each row: centre x, centre y, width, height in model-input pixels, objectness, a probability for each class.

    A score is objectness times probability. YOLOX exports with `--decode_in_inference` have the same rows.
    """

    tasks = ("detect",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless its output has shape (n, anchors, 5 + classes), or is our own rows."""
        if self._config.objectness_only and classes != 1:
            raise BundleError(
                f"decoder yolov5: decoder_options.objectness_only is for models of one class, this one has {classes}; "
                "remove it"
            )
        if compact.OUTPUT not in shapes:
            problem = self._problem(shapes, classes)
        elif self._config.objectness_only:
            problem = "rows chosen by objectness times class score cannot serve objectness_only; build without them"
        else:
            problem = compact.problem(shapes)
        if problem:
            raise BundleError(f"decoder yolov5: {problem}; correct classes or decoder in model.toml, or export again")

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each row once for every class that reaches the floor. InferenceError for scores that are none."""
        if compact.OUTPUT in tensors.by_name:
            return compact.decode("yolov5", tensors, tile, score_floor, classes)
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder yolov5: {problem}")
        rows = tensors.by_name[self._config.output or next(iter(tensors.by_name))][tile]
        if len(rows) and rows[:, 2:4].min() < SMALLEST_PX:
            raise InferenceError(
                f"decoder yolov5: a box is {rows[:, 2:4].min():.4g} px wide or high, expected none below 0; if the "
                "model is a YOLOX exported without --decode_in_inference, its decoder is yolox"
            )
        if self._config.objectness_only:
            rows = np.insert(rows[:, :5], 5, 1.0, axis=1)
        row, class_id, scores = shown_classes("yolov5", rows, score_floor, REMEDY)
        return Detections(corners(rows[row, :4]), scores, class_id)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        expected = f"expected (n, anchors, {5 + classes}) for {classes} classes"
        name = self._config.output
        if name and name not in shapes:
            return f"decoder_options.output = {name!r} is none of the outputs ({', '.join(shapes)}), {expected}"
        if not name and len(shapes) != 1:
            outputs = ", ".join(f"{one} {shape}" for one, shape in shapes.items())
            return f"the model has {len(shapes)} outputs ({outputs}), {expected}: name it in decoder_options.output"
        shape = shapes[name] if name else next(iter(shapes.values()))
        if len(shape) == 3 and shape[2] == 5 + classes:
            return ""
        if len(shape) == 3 and shape[1] == 4 + classes:
            return f"output {shape} has no objectness, {expected}: decoder yolo reads it"
        return f"the output is {shape}, {expected}"
