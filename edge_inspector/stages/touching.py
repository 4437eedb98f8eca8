"""What of a picture touches a zone: exact answers, most of them read off a grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Floats, Zone

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

CELLS = 64
"""Rows and columns of the grid over a zone: in a cell of 30 px few findings of a 1920 px picture meet a border."""
NONE, FULL, MIXED = range(3)
"""How much of a cell is in the zone."""
NARROWEST_PX = 1e-9
"""Nothing is as narrow as that: edges that lie on each other or meet in a corner, and rounding."""
NEAR_PX = 1e-6
"""So near to a border between two cells the grid is not asked."""


def touches(zone: Zone, xyxy: Floats, outlines: Sequence[Floats | None] | None = None) -> Mask:
    """(n,) whether any area of each finding is in the zone: of its outline, or of its (n,4) box where it has none.

    To share a border is not to touch.
    """
    boxes = xyxy.astype(np.float64)
    some, wholly, possible = _boxes_by_grid(zone, boxes)
    drawn = np.array([outline is not None for outline in outlines or [None] * len(boxes)], bool)
    touched = np.where(drawn, wholly, some)
    open_ = np.flatnonzero(possible & ~touched & ~drawn)
    touched[open_] = overlap(zone.columns, boxes[open_])
    shapes = [(row, outlines[row]) for row in np.flatnonzero(possible & ~touched & drawn).tolist()] if outlines else []
    corners = {row: outline.astype(np.float64) for row, outline in shapes if outline is not None}
    for row, inside in zip(corners, _corners_by_grid(zone, list(corners.values())), strict=True):
        touched[row] = inside or _outline_overlaps(zone.columns, corners[row])
    return touched


def holds_points(zone: Zone, points: Doubles) -> Mask:
    """(n,) whether each of the (n,2) points is in the zone; one on a border is in exactly one of two neighbours."""
    top, bottom, left_top, left_bottom, right_top, right_bottom = zone.columns
    x, y = (column[:, None] for column in points.T)
    share = (y - top) / (bottom - top)
    left, right = left_top + (left_bottom - left_top) * share, right_top + (right_bottom - right_top) * share
    held: Mask = ((top <= y) & (y < bottom) & (left <= x) & (x < right)).any(axis=1)
    return held


def overlap(columns: Doubles, boxes: Doubles) -> Mask:
    """(n,) whether each of the (n,4) boxes shares an area with any of the trapezoids, which are `Zone.columns`."""
    top, bottom, left_top, left_bottom, right_top, right_bottom = columns
    x1, y1, x2, y2 = (column[:, None] for column in boxes.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        # where the left side is left of x2, and the right side right of x1: both are stretches of y
        upper, lower = np.maximum(y1, top), np.minimum(y2, bottom)
        first, last = _below(left_top, left_bottom, top, bottom, x2)
        first2, last2 = _below(-right_top, -right_bottom, top, bottom, -x1)
    upper, lower = np.maximum(upper, np.maximum(first, first2)), np.minimum(lower, np.minimum(last, last2))
    shared: Mask = ((lower - upper > NARROWEST_PX) & (x1 < x2)).any(axis=1)
    return shared


def _below(
    at_top: Doubles, at_bottom: Doubles, top: Doubles, bottom: Doubles, limit: Doubles
) -> tuple[Doubles, Doubles]:
    """The stretch of y on which a line that is `at_top` and `at_bottom` stays below `limit`; nothing: first > last."""
    slope = (at_bottom - at_top) / (bottom - top)
    reaches = top + (limit - at_top) / slope
    first = np.where(slope < 0, reaches, np.where((slope > 0) | (at_top < limit), -np.inf, np.inf))
    last = np.where(slope > 0, reaches, np.inf)
    return first, last


@lru_cache(maxsize=256)
def _sums(cells: bytes) -> tuple[Counts, Counts]:
    """Of the cells that are not NONE, and of those that are FULL: how many there are above and left of each corner."""
    grid = np.frombuffer(cells, np.uint8).reshape(CELLS, CELLS)
    some, full = np.zeros((2, CELLS + 1, CELLS + 1), np.int64)
    some[1:, 1:] = (grid != NONE).cumsum(axis=0).cumsum(axis=1)
    full[1:, 1:] = (grid == FULL).cumsum(axis=0).cumsum(axis=1)
    return some, full


def _boxes_by_grid(zone: Zone, boxes: Doubles) -> tuple[Mask, Mask, Mask]:
    """Which boxes certainly have some area in the zone, which all of it, and which may have any at all."""
    some, full = _sums(zone.cells)
    x1, y1, x2, y2 = zone.window
    beyond = (boxes[:, :2] < [x1 - NARROWEST_PX, y1 - NARROWEST_PX]).any(axis=1)
    beyond |= (boxes[:, 2:] > [x2 + NARROWEST_PX, y2 + NARROWEST_PX]).any(axis=1)
    inner, outer = (_cells_of(zone, boxes, by) for by in (-NEAR_PX, NEAR_PX))
    number = (outer[1] - outer[0]) * (outer[3] - outer[2])
    certain = (_count(full, inner) > 0) | (beyond & zone.beyond)
    wholly = (_count(full, outer) == number) & (~beyond | zone.beyond) & ((number > 0) | beyond)
    return certain, wholly, (_count(some, outer) > 0) | (beyond & zone.beyond)


def _cells_of(zone: Zone, boxes: Doubles, larger_by: float) -> tuple[Counts, Counts, Counts, Counts]:
    """From which column to before which, and so for rows, each box lies when all its sides are moved outwards."""
    x1, y1, x2, y2 = zone.window
    lows, sides = np.array([x1, y1]), np.array([x2 - x1, y2 - y1]) / CELLS
    first = np.floor((boxes[:, :2] - larger_by - lows) / sides).clip(0, CELLS).astype(np.int64)
    last = np.ceil((boxes[:, 2:] + larger_by - lows) / sides).clip(0, CELLS).astype(np.int64)
    last = np.maximum(first, last)
    return first[:, 0], last[:, 0], first[:, 1], last[:, 1]


def _count(sums: Counts, ranges: tuple[Counts, Counts, Counts, Counts]) -> Counts:
    left, right, top, bottom = ranges
    counted: Counts = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return counted


def _corners_by_grid(zone: Zone, outlines: Sequence[Doubles]) -> list[bool]:
    """Which outlines certainly have an area in the zone, because around one of their corners all is in it."""
    if not outlines:
        return []
    points = np.concatenate(outlines)
    _, wholly, _ = _boxes_by_grid(zone, np.concatenate([points - NEAR_PX, points + NEAR_PX], axis=1))
    begins = np.cumsum([0, *map(len, outlines[:-1])])
    inside: list[bool] = np.logical_or.reduceat(wholly, begins).tolist()
    return inside


def _outline_overlaps(columns: Doubles, points: Doubles) -> bool:
    """Whether any area within a closed polygon (k,2) is in one of the trapezoids."""
    low, high = points.min(axis=0), points.max(axis=0)
    top, bottom, left_top, left_bottom, right_top, right_bottom = columns
    left, right = np.minimum(left_top, left_bottom), np.maximum(right_top, right_bottom)
    near = columns[:, (top < high[1]) & (bottom > low[1]) & (left < high[0]) & (right > low[0])]
    if not near.shape[1]:
        return False
    if _runs_through(near, points, np.roll(points, -1, axis=0)):
        return True
    # no edge of it is in the zone: each trapezoid lies wholly within the outline or wholly outside
    top, bottom, left_top, left_bottom, right_top, right_bottom = near
    centres = np.stack([(left_top + left_bottom + right_top + right_bottom) / 4, (top + bottom) / 2], axis=1)
    return any(_inside(points, x, y) for x, y in centres.tolist())


def _runs_through(trapezoids: Doubles, starts: Doubles, ends: Doubles) -> bool:
    """Whether any of the lines runs through the inside of any of the trapezoids."""
    top, bottom, left_top, left_bottom, right_top, right_bottom = trapezoids
    (x, y), (dx, dy) = (starts.T[..., None]), ((ends - starts).T[..., None])
    lean_left, lean_right = (left_bottom - left_top) / (bottom - top), (right_bottom - right_top) / (bottom - top)
    # four half planes, each `a + b * t > 0` along the line from t = 0 to 1
    sides = (
        (y - top, dy),
        (bottom - y, -dy),
        (x - left_top - lean_left * (y - top), dx - lean_left * dy),
        (right_top + lean_right * (y - top) - x, lean_right * dy - dx),
    )
    first, last = np.zeros_like(sides[2][0]), np.ones_like(sides[2][0])
    possible = np.ones(first.shape, bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for distance, b in sides:
            a = distance - NARROWEST_PX  # a line along a side is no line through the inside
            at = -a / b
            first = np.where(b > 0, np.maximum(first, at), first)
            last = np.where(b < 0, np.minimum(last, at), last)
            possible &= (b != 0) | (a > 0)
    return bool((possible & (first < last)).any())


def _inside(polygon: Doubles, x: float, y: float) -> bool:
    x1, y1 = polygon.T
    x2, y2 = np.roll(polygon, -1, axis=0).T
    crosses = (y1 <= y) != (y2 <= y)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x < x1 + (x2 - x1) * ((y - y1) / (y2 - y1))
    return bool(np.count_nonzero(crosses & right) % 2)
