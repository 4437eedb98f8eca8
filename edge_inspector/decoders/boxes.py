"""What box decoders share: which scores are probabilities, which candidates they name, and the corners of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Floats
from edge_inspector.errors import InferenceError

ROUNDING = 0.01
"""How far outside 0..1 the rounding of a quantised output may carry a probability."""


def refuse_no_probability(decoder: str, scores: npt.NDArray[Any], remedy: str) -> None:
    """InferenceError when one of the scores, at least one, is not 0..1; `remedy` says what to do then."""
    low, high = float(scores.min()), float(scores.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN is neither
        strange = low if low < -ROUNDING else high
        raise InferenceError(f"decoder {decoder}: a score is {strange:.4g}, expected 0..1; {remedy}")


def shown_classes(
    decoder: str, rows: npt.NDArray[Any], score_floor: float, remedy: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Row, class and score of each pair from the floor up, of (anchors, 5 + classes) rows.

    A row's fifth number is its objectness, then a probability for each class; the score is their product.
    InferenceError as `refuse_no_probability`.
    """
    objectness = rows[:, 4]
    if not len(objectness):
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0, np.float32)
    refuse_no_probability(decoder, objectness, remedy)
    survivors = np.flatnonzero(objectness >= score_floor / (1 + ROUNDING))  # few: all that follows is small
    found = rows[survivors, 4:].astype(np.float32)
    if len(found):
        refuse_no_probability(decoder, found[:, 1:], remedy)
    scores = found[:, 1:] * found[:, :1]
    row, class_id = np.nonzero(scores >= score_floor)
    return survivors[row], class_id.astype(np.int64), scores[row, class_id].clip(max=1)


def corners(boxes: npt.NDArray[Any]) -> Floats:
    """(k, 4) centre x, centre y, width, height -> (k, 4) x1, y1, x2, y2, in order even where a size is below zero.

    YOLO26 learns distances to the sides without a bound: sides that have changed places are still where it saw
    something.
    """
    single = boxes.astype(np.float32)
    centre, half = single[:, :2], np.abs(single[:, 2:]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def in_order(xyxy: Floats) -> Floats:
    """(k, 4) boxes with x1 <= x2 and y1 <= y2, for the reason that `corners` has."""
    return np.concatenate([np.minimum(xyxy[:, :2], xyxy[:, 2:]), np.maximum(xyxy[:, :2], xyxy[:, 2:])], axis=1)
