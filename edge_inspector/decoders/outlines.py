"""Outlines and areas of what a mask shows; a picture's edges are whole numbers, the middle of its first pixel 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections, Floats, Region
from edge_inspector.stages.nms import LIMIT_PER_CLASS

Mask = npt.NDArray[np.uint8]
"""(h,w), 0 or 1."""


@dataclass(frozen=True)
class Blob:
    """Pixels of a map that hang together, over corners too: its box `x`, `y`, `width`, `height` in map pixels.

    `peak` is the map's largest value in it, `area` the number of its pixels, `mask` (height,width) its own pixels.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float
    mask: Mask


def blobs(values: npt.NDArray[Any], inside: npt.NDArray[np.bool_], min_area: float) -> list[Blob]:
    """What hangs together where `inside` is true; the highest peaks first, no more than NMS looks at.

    `values` and `inside` (h,w); parts of fewer than `min_area` pixels are left out.
    """
    left, top, across, down = cv2.boundingRect(inside.view(np.uint8))
    if not across:
        return []
    part = np.s_[top : top + down, left : left + across]  # labelling is dear, and most pictures show little
    values, inside = values[part], inside[part]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels[inside].astype(np.intp), values[inside])
    large = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area)  # label 0 is what is not inside
    highest = large[np.argsort(-peaks[large], kind="stable")][:LIMIT_PER_CLASS]
    found = []
    for label in highest.tolist():
        x, y, width, height, area = stats[label].tolist()
        own = (labels[y : y + height, x : x + width] == label).view(np.uint8)
        found.append(Blob(left + x, top + y, width, height, area, float(peaks[label]), own))
    return found


def outlined(mask: Mask, x: float, y: float, px: float = 1.0) -> Region | None:
    """The region that a mask shows whose upper left corner is at (x, y) and whose pixels are `px` wide; None = nothing.

    The outline runs along pixel edges; parts that meet in a corner are one.
    """
    area = cv2.countNonZero(mask)
    if not area:
        return None
    # contours join the middles of pixels: at twice the size, with a line between all pixels, those are their edges
    fine = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    fine[1::2, 1::2] = mask
    contours, _ = cv2.findContours(
        cv2.dilate(fine, np.ones((3, 3), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    largest = max(contours, key=cv2.contourArea)
    corners = largest[:, 0].astype(np.float32) * np.float32(px / 2) + np.array([x, y], np.float32)
    return Region(corners.astype(np.float32), area * px * px)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Region:
    """What stands for a region in a box where a mask shows none: the box itself, and no area."""
    return Region(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32), 0.0)


def blobs_found(found: list[tuple[Blob, float, int]], px: float) -> Detections:
    """Blobs with their confidences and class ids as detections; `px` is how many input pixels a map pixel is wide."""
    boxes = np.array([[b.x, b.y, b.x + b.width, b.y + b.height] for b, _, _ in found], np.float32).reshape(-1, 4)
    xyxy: Floats = boxes * np.float32(px)
    regions = (outlined(b.mask, b.x * px, b.y * px, px) for b, _, _ in found)
    return Detections(
        xyxy,
        np.array([confidence for _, confidence, _ in found], np.float32),
        np.array([class_id for _, _, class_id in found], np.int64),
        regions=tuple(region for region in regions if region is not None),
    )
