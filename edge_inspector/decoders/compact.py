"""Rows of finished boxes: what end-to-end exports give, and the head that `engine build` can add to other families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders.boxes import in_order, refuse_no_probability
from edge_inspector.errors import InferenceError

OUTPUT = "edge_inspector_top_rows"
"""The added head's output, (n, rows, 6); known by this name, which is ours, never by its shape."""
COLUMNS = 6  # x1, y1, x2, y2 in model-input pixels, score, class


def problem(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why outputs of these shapes are not what `engine build` adds, empty = they are."""
    expected = f"expected {OUTPUT} of shape (n, rows, {COLUMNS}) alone"
    if len(shapes) != 1:
        return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
    shape = shapes[OUTPUT]
    return "" if len(shape) == 3 and shape[2] == COLUMNS else f"output {OUTPUT} is {shape}, {expected}"


def decode(decoder: str, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
    """What the added head gives for one tile. InferenceError as `detections`, and for another shape."""
    wrong = problem({name: array.shape for name, array in tensors.by_name.items()})
    if wrong:
        raise InferenceError(f"decoder {decoder}: {wrong}; build the engine again")
    remedy = "raise score_floor in model.toml or build the engine with more compact_rows"
    return detections(decoder, tensors.by_name[OUTPUT][tile], score_floor, classes, remedy)


def detections(decoder: str, rows: npt.NDArray[Any], score_floor: float, classes: int, more_rows: str) -> Detections:
    """As `shown`, of rows that hold corners."""
    found = shown(decoder, rows, score_floor, classes, more_rows)
    return replace(found, xyxy=in_order(found.xyxy))


def shown(decoder: str, rows: npt.NDArray[Any], score_floor: float, classes: int, more_rows: str) -> Detections:
    """Those of the (rows, 6) rows that reach the floor, their boxes as they are; what is below is padding.

    InferenceError for scores or class ids that are none, and when every row reaches the floor: some more, for which
    there was no row, may do so too, and `more_rows` says how to get them.
    """
    if not len(rows):
        return Detections.none()
    refuse_no_probability(decoder, rows[:, 4], "export the model with its sigmoid")
    found = rows[rows[:, 4] >= score_floor].astype(np.float32)
    if len(found) == len(rows):
        raise InferenceError(
            f"decoder {decoder}: all {len(rows)} rows reach the score floor {score_floor:g}, so more candidates may be "
            f"missing, expected room for all of them; {more_rows}"
        )
    class_id = found[:, 5]
    strange = class_id[(class_id != np.floor(class_id)) | (class_id < 0) | (class_id >= classes)]
    if len(strange):
        raise InferenceError(
            f"decoder {decoder}: a class id is {strange[0]:g}, expected 0..{classes - 1}; "
            "classes in model.toml must be those that the model was trained with"
        )
    return Detections(found[:, :4], found[:, 4].clip(max=1), class_id.astype(np.int64))
