"""YOLOX's official exports: one output (n, cells, 5 + classes) whose boxes are relative to their cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_inspector.datatypes import Detections, Floats, Tensors
from edge_inspector.decoders.boxes import corners, shown_classes
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

LARGEST_LOG = 10.0  # e to this is 22 000 cells wide; in an output in pixels some box is wider than 10
REMEDY = "export the model with YOLOX's tools/export_onnx.py"
Pixels = Annotated[int, Field(gt=0, le=8192)]


class Config(PluginConfig):
    """Where the cells lie."""

    type: Literal["yolox"] = "yolox"
    input_px: tuple[Pixels, Pixels] = Field(description="Width and height of the model's input, as in [input].")
    strides: tuple[Pixels, ...] = Field(
        default=(8, 16, 32), min_length=1, description="Cell sizes in the order of the output; models with P6 add 64."
    )


class YoloX:
    """Each row: offset x, y from its cell's corner and log width, log height, all in cells; objectness, probabilities.

    A score is objectness times probability, both after their sigmoid. Exports with `--decode_in_inference` hold
    pixels: decoder yolov5 reads those.
    """

    tasks = ("detect",)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._cells = _cells(config.input_px, config.strides)

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, with 5 + classes numbers for each cell."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder yolox: {problem}; correct classes, decoder or decoder_options in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each cell once for every class that reaches the floor. InferenceError for scores or boxes that are none."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder yolox: {problem}")
        (output,) = tensors.by_name.values()
        rows = output[tile]
        largest = rows[:, 2:4].max()
        if largest > LARGEST_LOG:
            raise InferenceError(
                f"decoder yolox: the logarithm of a box's size is {largest:.4g}, expected {LARGEST_LOG:g} or less; if "
                "the model was exported with --decode_in_inference, its decoder is yolov5"
            )
        row, class_id, scores = shown_classes("yolox", rows, score_floor, REMEDY)
        found, cells = rows[row, :4].astype(np.float32), self._cells[row]
        boxes = np.concatenate([found[:, :2] + cells[:, :2], np.exp(found[:, 2:])], axis=1) * cells[:, 2:]
        return Detections(corners(boxes), scores, class_id)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        (width, height), strides = self._config.input_px, ", ".join(map(str, self._config.strides))
        expected = (
            f"expected one of (n, {len(self._cells)}, {5 + classes}) for {classes} classes and the {len(self._cells)} "
            f"cells of {width}x{height} px at strides {strides}"
        )
        if len(shapes) != 1:
            return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
        ((name, shape),) = shapes.items()
        fits = len(shape) == 3 and shape[1:] == (len(self._cells), 5 + classes)
        return "" if fits else f"output {name} is {shape}, {expected}"


def _cells(input_px: tuple[int, int], strides: tuple[int, ...]) -> Floats:
    """(cells, 3): column, row and stride of each, level after level, row by row."""
    levels: list[npt.NDArray[np.float32]] = []
    for stride in strides:
        row, column = np.indices((input_px[1] // stride, input_px[0] // stride), np.float32).reshape(2, -1)
        levels.append(np.stack([column, row, np.full_like(row, stride)], axis=1))
    return np.concatenate(levels)
