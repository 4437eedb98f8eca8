"""RT-DETR, D-FINE and their kin: for each query a box and a score for each class, no NMS and no anchors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_inspector.datatypes import Detections, Floats, Tensors
from edge_inspector.decoders import compact
from edge_inspector.decoders.boxes import corners, refuse_no_probability
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

FARTHEST = 2.0  # boxes reach over the picture's edge, by less than its size
MORE_ROWS = "raise score_floor in model.toml or export the model with a higher max_det"
Pixels = Annotated[int, Field(gt=0, le=8192)]


class Config(PluginConfig):
    """How the model was exported; the defaults are the outputs of RT-DETR's and D-FINE's own models."""

    type: Literal["rtdetr"] = "rtdetr"
    input_px: tuple[Pixels, Pixels] = Field(description="Width and height of the model's input, as in [input].")
    layout: Literal["separate", "joined", "chosen"] = Field(
        default="separate",
        description="separate: an output with boxes and one with scores; joined: one output (n, queries, 4 + classes), "
        "older Ultralytics exports; chosen: one output (n, rows, 6) of box, probability and class, newer ones.",
    )
    boxes: str = Field(default="pred_boxes", description="Name of the output (n, queries, 4), where it is separate.")
    scores: str = Field(
        default="pred_logits", description="Name of the output (n, queries, classes), where it is separate."
    )
    score_kind: Literal["logits", "probabilities"] = Field(
        default="logits", description="Whether scores are before or after the sigmoid; Ultralytics' are after."
    )
    box_unit: Literal["fraction", "px"] = Field(
        default="fraction", description="Whether boxes are parts of the input's width and height, or its pixels."
    )


class RtDetr:
    """Boxes are centre x, centre y, width, height; each query can show several classes."""

    tasks = ("detect",)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._to_px = np.array(config.input_px * 2 if config.box_unit == "fraction" else (1, 1, 1, 1), np.float32)

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there are exactly the outputs that the options name, in their shapes."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder rtdetr: {problem}; correct classes or decoder_options in model.toml, or export the model "
                "without its postprocessor"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Each query once for every class that reaches the floor. InferenceError for scores or boxes that are none."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder rtdetr: {problem}")
        if self._config.layout == "chosen":
            (rows,) = (array[tile] for array in tensors.by_name.values())
            chosen = compact.shown("rtdetr", rows, score_floor, classes, MORE_ROWS)
            return Detections(self._in_px(rows[:, :4], chosen.xyxy), chosen.confidence, chosen.class_id)
        if self._config.layout == "joined":
            (rows,) = (array[tile] for array in tensors.by_name.values())
            boxes, scores = rows[:, :4], rows[:, 4:]
        else:
            boxes, scores = (tensors.by_name[name][tile] for name in (self._config.boxes, self._config.scores))
        if not len(boxes):
            return Detections.none()
        query, class_id, confidence = self._shown(scores, score_floor)
        return Detections(self._in_px(boxes, boxes[query]), confidence, class_id)

    def _shown(
        self, scores: npt.NDArray[Any], score_floor: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        if self._config.score_kind == "probabilities":
            refuse_no_probability("rtdetr", scores, "set decoder_options.score_kind = 'logits' in model.toml")
            query, class_id = np.nonzero(scores >= score_floor)
            return query, class_id, scores[query, class_id].astype(np.float32).clip(max=1)
        if scores.min() >= 0:
            raise InferenceError(
                "decoder rtdetr: no logit is below 0, so every query would show every class, expected few; set "
                "decoder_options.score_kind = 'probabilities' in model.toml"
            )
        near = math.log(score_floor / (1 - score_floor)) - 1e-3  # below it nothing can round up to the floor
        query, class_id = np.nonzero(scores >= near)
        logits = scores[query, class_id].astype(np.float32)
        confidence = (1 / (1 + np.exp(-logits))).astype(np.float32)
        loud = confidence >= score_floor
        return query[loud], class_id[loud], confidence[loud]

    def _in_px(self, all_boxes: npt.NDArray[Any], shown: npt.NDArray[Any]) -> Floats:
        if self._config.box_unit == "px":
            if all_boxes.size and all_boxes.max() <= FARTHEST:
                raise InferenceError(
                    f"decoder rtdetr: no box number is above {all_boxes.max():.4g}, expected px; set "
                    "decoder_options.box_unit = 'fraction' in model.toml"
                )
        elif len(shown) and np.abs(shown).max() > FARTHEST:
            raise InferenceError(
                f"decoder rtdetr: a box holds {np.abs(shown).max():.4g}, expected parts of the input's size, 0..1; set "
                "decoder_options.box_unit = 'px' in model.toml"
            )
        return corners(shown.astype(np.float32) * self._to_px)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        outputs = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        if self._config.layout != "separate":
            columns = compact.COLUMNS if self._config.layout == "chosen" else 4 + classes
            fits = [len(shape) == 3 and shape[2] == columns for shape in shapes.values()]
            expected = f"expected one of (n, rows, {columns}) for layout = {self._config.layout!r}"
            return "" if fits == [True] else f"the model has {outputs}, {expected}"
        boxes, scores = self._config.boxes, self._config.scores
        expected = f"expected {boxes} (n, queries, 4) and {scores} (n, queries, {classes}) for {classes} classes"
        if set(shapes) != {boxes, scores}:
            return f"the model has {outputs}, {expected}"
        queries = shapes[boxes][1:2]
        fits = [shapes[boxes][1:] == (*queries, 4), shapes[scores][1:] == (*queries, classes)]
        return "" if len(shapes) == 2 and all(fits) and queries else f"the model has {outputs}, {expected}"
