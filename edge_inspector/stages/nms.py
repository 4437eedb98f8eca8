"""Non-maximum suppression: one box for each thing seen."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections

LIMIT_PER_CLASS = 300
"""As many as end-to-end exports give. A limit over all classes could let one class crowd another's defect out."""


def nms(detections: Detections, iou: float, limit: int = LIMIT_PER_CLASS) -> Detections:
    """What is left when no two boxes of a class overlap by more than `iou`; most confident first, ties in input order.

    Only the `limit` most confident of each class are looked at. Boxes must not be empty, confidences above zero.
    """
    return detections.pick(survivors(detections, iou, limit))


def survivors(detections: Detections, iou: float, limit: int = LIMIT_PER_CLASS) -> npt.NDArray[np.int64]:
    """Indices of what `nms` leaves, in its order."""
    looked_at = most_confident(detections, limit)
    if not len(looked_at):
        return looked_at
    candidates = detections.pick(looked_at)
    # OpenCV keeps classes apart by shifting each beyond the largest coordinate, which is right from zero up only
    origin = candidates.xyxy.min(axis=0)[:2].astype(np.float64)
    corners = candidates.xyxy.astype(np.float64)
    xywh = np.concatenate([corners[:, :2] - origin, corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        xywh.tolist(), candidates.confidence.tolist(), candidates.class_id.tolist(), 0.0, iou
    )  # lists: arrays measured slower
    return looked_at[np.asarray(kept, np.int64)]


def most_confident(detections: Detections, limit: int) -> npt.NDArray[np.int64]:
    """Indices, rising, of the `limit` largest of each class; among equals at the border the first ones."""
    confidence, class_id = detections.confidence, detections.class_id
    if len(confidence) <= limit:
        return np.arange(len(confidence))
    rows = (np.flatnonzero(class_id == c) for c in np.unique(class_id))
    return np.sort(np.concatenate([of[_largest(confidence[of], limit)] for of in rows]))


def _largest(values: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.int64]:
    n = len(values)
    if n <= limit:
        return np.arange(n)
    border = values[np.argpartition(values, n - limit)[n - limit]]
    above = np.flatnonzero(values > border)
    return np.concatenate([above, np.flatnonzero(values == border)[: limit - len(above)]])
