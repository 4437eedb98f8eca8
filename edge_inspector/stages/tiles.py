"""Large views in overlapping tiles, and their findings together again without counting at the seams twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections, Floats, Region, Roi, Tiling
from edge_inspector.stages.nms import LIMIT_PER_CLASS, most_confident, survivors
from edge_inspector.stages.regions import united

Matrix = npt.NDArray[np.bool_]

MOST_TILES = 64
"""Of one view: their float32 pixels are 105 MB at 640x640, in colour 315 MB."""
SEAM = 1 / 64
"""A box that ends within this part of its tile's side from a seam is cut by it: 10 px of 640, a detector's cell.

Never more than a quarter of what two tiles share.
"""
INSIDE = 0.5
"""Which part of a cut box at the least lies in the box of the same thing from a tile that shows more of it."""
SURE = 0.5
"""A box takes another's place, or grows by it, only when it is at least so many times as sure."""


def tile_count(bounds: Roi, tiling: Tiling) -> int:
    """How many tiles cover the bounds."""
    overlap = tiling.overlap_px
    return _count(bounds.width, tiling.width_px, overlap) * _count(bounds.height, tiling.height_px, overlap)


def tile_windows(bounds: Roi, tiling: Tiling) -> tuple[Roi, ...]:
    """The tiles of the bounds, row by row: all of one size, evenly spaced, the outermost flush with the edges.

    A side of the bounds that is shorter than a tile is that tile's side. What measures up to `overlap_px` a side lies
    whole in at least one tile.
    """
    columns = _spread(bounds.x, bounds.width, tiling.width_px, tiling.overlap_px)
    rows = _spread(bounds.y, bounds.height, tiling.height_px, tiling.overlap_px)
    width, height = min(bounds.width, tiling.width_px), min(bounds.height, tiling.height_px)
    return tuple(Roi(x, y, width, height) for y in rows for x in columns)


def merged(tiles: Sequence[Detections], windows: Sequence[Roi], bounds: Roi, iou: float) -> Detections:
    """The findings of all tiles, each thing once; most confident first. `windows` is each tile's part of `bounds`.

    Parts of one thing that reach through all that two tiles share become one box around them; a part that lies in
    another tile's box goes; of two boxes that overlap by more than `iou` one stays. Only boxes of one class are ever
    taken together, and what stays is as sure as the surest of them: the best confidence of each class is kept exactly.
    What only stands for its tile stays as it is: what one tile shows says nothing of the others.
    As in NMS, the most confident of each class are looked at. `candidate` means nothing over several tiles: None.
    """
    shown = [tile for tile in tiles if len(tile)]
    if not shown:
        return Detections.none()
    boxes = _concatenated(shown)
    tile = np.repeat(np.arange(len(tiles)), [len(t) for t in tiles])
    looked_at = most_confident(boxes, LIMIT_PER_CLASS)
    boxes, tile = boxes.pick(looked_at), tile[looked_at]
    edges = np.array([_edges(window) for window in windows], np.float32)
    alone = _stand_ins(boxes, edges[tile])
    rows = [np.flatnonzero((boxes.class_id == class_id) & ~alone) for class_id in np.unique(boxes.class_id[~alone])]
    once = _concatenated(
        [
            _once(_things(boxes.pick(of), tile[of], edges, bounds), iou) if np.ptp(tile[of]) else boxes.pick(of)
            for of in rows
        ]
        + [boxes.pick(alone)]
    )
    return once.pick(np.argsort(-once.confidence, kind="stable"))


def _stand_ins(boxes: Detections, window: Floats) -> npt.NDArray[np.bool_]:
    """(n,) which boxes are their whole tile and show nothing in it, as those of anomaly models do."""
    nothing = np.array([region.area_px == 0 for region in boxes.regions or ()] or [False] * len(boxes), bool)
    whole: npt.NDArray[np.bool_] = nothing & (boxes.xyxy == window).all(axis=1)
    return whole


@dataclass(frozen=True)
class _Things:
    """Boxes of one class, each around one box or several that go on in each other.

    `inside` (n,n): of each of the boxes in thing i, `INSIDE` lies in thing j; `shown` (n,n): even in a box of it from
    another tile. `part` (n,): the thing is cut by a seam, so there may be a box of the whole.
    """

    boxes: Detections
    inside: Matrix
    shown: Matrix
    part: Matrix


def _things(boxes: Detections, tile: npt.NDArray[np.int64], edges: Floats, bounds: Roi) -> _Things:
    """What goes on in another tile joined; `tile` (n,) is where each box was seen, `edges` (tiles,4) its window."""
    window = edges[tile]
    ends_near = np.abs(boxes.xyxy - window) <= np.tile((window[:, 2:] - window[:, :2]) * SEAM, 2)
    cut = (ends_near & (window != np.array(_edges(bounds), np.float32))).any(axis=1)
    label = _connected(_goes_on(boxes, window))
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))  # of each thing's boxes in that order
    low, high = boxes.xyxy[order, :2], boxes.xyxy[order, 2:]
    joined = Detections(
        np.concatenate([np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)], axis=1),
        np.maximum.reduceat(boxes.confidence[order], starts),
        boxes.class_id[: len(starts)],
        regions=None if boxes.regions is None else tuple(map(united, _runs(boxes.regions, order, starts))),
    )
    half = INSIDE * _area(boxes.xyxy)[:, None]
    in_thing = _shared(boxes.xyxy, joined.xyxy) >= half
    in_box = (_shared(boxes.xyxy, boxes.xyxy) >= half) & (tile[:, None] != tile)
    in_another = np.logical_or.reduceat(in_box[:, order], starts, axis=1)
    return _Things(
        joined,
        inside=np.logical_and.reduceat(in_thing[order], starts),
        shown=np.logical_and.reduceat(in_another[order], starts),
        part=np.logical_or.reduceat(cut[order], starts),
    )


def _runs(
    regions: Sequence[Region], order: npt.NDArray[np.intp], starts: npt.NDArray[np.intp]
) -> Iterator[list[Region]]:
    for run in np.split(order, starts[1:]):
        yield [regions[i] for i in run]


def _goes_on(boxes: Detections, window: Floats) -> Matrix:
    """(n,n): whether box i goes on in box j of a tile further right or down.

    It does when both reach through the strip that their tiles share, from the one's seam to the other's, and meet
    there: what is that long is cut by both seams.
    """
    xyxy, confidence = boxes.xyxy, boxes.confidence
    found = np.zeros((len(boxes), len(boxes)), bool)
    for along, across in ((0, 1), (1, 0)):
        first, last = window[:, along], window[:, along + 2]
        strip_low, strip_high = first[None, :], last[:, None]
        near = np.minimum((last - first)[:, None] * SEAM, (strip_high - strip_low) / 4)
        ahead = (first[:, None] < strip_low) & (strip_low < strip_high) & (strip_high < last[None, :])
        starts_before = np.maximum.outer(xyxy[:, along], xyxy[:, along]) <= strip_low + near
        ends_behind = np.minimum.outer(xyxy[:, along + 2], xyxy[:, along + 2]) >= strip_high - near
        meet = np.minimum.outer(xyxy[:, across + 2], xyxy[:, across + 2]) > np.maximum.outer(
            xyxy[:, across], xyxy[:, across]
        )
        found |= ahead & starts_before & ends_behind & meet
    as_sure = np.minimum.outer(confidence, confidence) >= SURE * np.maximum.outer(confidence, confidence)
    return found & as_sure


def _once(things: _Things, iou: float) -> Detections:
    """Each thing once: first NMS of the whole ones, then the parts, largest first, that lie in none of those kept."""
    boxes, confidence = things.boxes, things.boxes.confidence.copy()
    area, shared = _area(boxes.xyxy), _shared(boxes.xyxy, boxes.xyxy)
    overlap = shared / (area[:, None] + area - shared)
    doubled = things.inside & (overlap > iou)
    lonely = ~(things.shown | doubled).any(axis=1, where=~np.eye(len(boxes), dtype=bool))
    whole, parts = np.flatnonzero(~things.part), np.flatnonzero(things.part & ~lonely)
    kept = [*whole[survivors(boxes.pick(whole), iou)].tolist(), *np.flatnonzero(things.part & lonely).tolist()]
    for i in parts[np.argsort(-area[parts], kind="stable")].tolist():
        same = doubled[i, kept] | (things.shown[i, kept] & (confidence[kept] >= SURE * confidence[i]))
        if same.any():
            shows_it = kept[int(np.where(same, overlap[i, kept], -1).argmax())]
            confidence[shows_it] = max(confidence[shows_it], confidence[i])
        else:
            kept.append(i)
    return replace(boxes, confidence=confidence).pick(np.array(kept, np.intp))


def _area(xyxy: Floats) -> Floats:
    area: Floats = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return area


def _shared(a: Floats, b: Floats) -> Floats:
    """(n,4), (m,4) -> (n,m): the area that each two boxes share."""
    width, height = (
        (np.minimum.outer(a[:, i + 2], b[:, i + 2]) - np.maximum.outer(a[:, i], b[:, i])).clip(0) for i in (0, 1)
    )
    shared: Floats = width * height
    return shared


def _connected(pairs: Matrix) -> npt.NDArray[np.int64]:
    """(n,n) -> (n,): the least index of those that pairs connect with each."""
    n = len(pairs)
    linked = pairs | pairs.T | np.eye(n, dtype=bool)
    label = np.arange(n)
    while True:
        spread = np.where(linked, label, n).min(axis=1)
        if (spread == label).all():
            return label
        label = spread


def _concatenated(parts: Sequence[Detections]) -> Detections:
    with_regions = [part.regions for part in parts if part.regions is not None]
    return Detections(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.class_id for part in parts]),
        regions=tuple(region for regions in with_regions for region in regions) if with_regions else None,
    )


def _edges(roi: Roi) -> tuple[int, int, int, int]:
    return (roi.x, roi.y, roi.x + roi.width, roi.y + roi.height)


def _count(side: int, tile: int, overlap: int) -> int:
    return 1 if side <= tile else -(-(side - overlap) // (tile - overlap))


def _spread(start: int, side: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of one axis begin."""
    last = _count(side, tile, overlap) - 1
    return [start + (i * (side - tile) + last // 2) // last for i in range(last + 1)] if last else [start]
