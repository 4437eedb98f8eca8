"""Zones of a picture: polygons are cut into trapezoids, and these laid over a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Trapezoid, Zone
from edge_inspector.stages.touching import CELLS, FULL, MIXED, NARROWEST_PX, NEAR_PX, NONE, Doubles, overlap

Polygon = Sequence[tuple[float, float]]

EVERYWHERE_PX = 1e7
"""From minus this to this: far outside of any picture."""
MOST_TRAPEZOIDS = 4096
"""Each costs about 0.1 us for each finding; 1000 corners that do not cross make fewer than 2000."""


class IntricateZoneError(ValueError):
    """A zone whose edges cross so often that to judge by it would take too long."""


def zone(name: str, camera: str, include: Sequence[Polygon], exclude: Sequence[Polygon], outside: bool = False) -> Zone:
    """Inside any of `include` (none: everywhere) and outside all of `exclude`; or `outside`, which is all the rest.

    A point is inside a polygon when a line from it to far away crosses the polygon's edges an odd number of times.
    IntricateZoneError for more than MOST_TRAPEZOIDS.
    """
    corners = np.array([point for polygon in (include or exclude) for point in polygon], np.float64)
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    x2, y2 = max(x2, x1 + NEAR_PX), max(y2, y1 + NEAR_PX)
    inside, rest = (_cut(name, include, exclude, side) for side in (outside, not outside))
    cells = _cells((x1, y1, x2, y2), inside, rest)
    beyond = outside if include else not outside
    return Zone(name, camera, inside, outside, (x1, y1, x2, y2), cells.tobytes(), beyond)


def area(zone: Zone) -> float:
    """Square pixels."""
    top, bottom, left_top, left_bottom, right_top, right_bottom = zone.columns
    return float(((bottom - top) * (right_top - left_top + right_bottom - left_bottom) / 2).sum())


def _cut(name: str, include: Sequence[Polygon], exclude: Sequence[Polygon], outside: bool) -> tuple[Trapezoid, ...]:
    e = EVERYWHERE_PX
    everywhere = ((-e, -e), (e, -e), (e, e), (-e, e))
    polygons = [everywhere, *(include or [everywhere]), *exclude]
    edges, owners = _edges(polygons)
    first_excluded = 1 + (len(include) or 1)
    ys = np.unique(np.concatenate([edges[:, 1], edges[:, 3], _crossings(edges)]))
    open_: dict[tuple[int, int], float] = {}
    found: list[tuple[float, float, int, int]] = []
    for top, bottom in zip(ys[:-1].tolist(), ys[1:].tolist(), strict=True):
        here = _spans(edges, owners, first_excluded, outside, top, bottom)
        ended = [pair for pair in open_ if pair not in here]
        found += [(open_.pop(pair), top, *pair) for pair in ended]
        for pair in here:
            open_.setdefault(pair, top)
        if len(found) + len(open_) > MOST_TRAPEZOIDS:
            raise IntricateZoneError(
                f"zone {name} falls into more than {MOST_TRAPEZOIDS} pieces, because its edges cross so often; "
                "draw it with fewer corners"
            )
    found += [(top, float(ys[-1]), *pair) for pair, top in open_.items()]
    return tuple(sorted(_trapezoid(edges, *one) for one in found))


def _edges(polygons: Sequence[Polygon]) -> tuple[Doubles, npt.NDArray[np.intp]]:
    """(n,4) x, y of the upper and of the lower end, and whose; level edges are left out, the others say it all."""
    rows, owners = [], []
    for owner, polygon in enumerate(polygons):
        for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            if y1 != y2:
                rows.append((x1, y1, x2, y2) if y1 < y2 else (x2, y2, x1, y1))
                owners.append(owner)
    return np.array(rows, np.float64).reshape(-1, 4), np.array(owners, np.intp)


def _crossings(edges: Doubles) -> Doubles:
    """The y at which two edges cross between their ends."""
    x1, y1, x2, y2 = edges.T
    dx, dy = x2 - x1, y2 - y1
    cross = dx[:, None] * dy - dy[:, None] * dx
    with np.errstate(divide="ignore", invalid="ignore"):
        away_x, away_y = x1 - x1[:, None], y1 - y1[:, None]
        mine = (away_x * dy - away_y * dx) / cross
        its = (away_x * dy[:, None] - away_y * dx[:, None]) / cross
        crossing = (mine > 0) & (mine < 1) & (its > 0) & (its < 1)
        where: Doubles = (y1[:, None] + mine * dy[:, None])[crossing]
    return where


def _spans(
    edges: Doubles, owners: npt.NDArray[np.intp], first_excluded: int, outside: bool, top: float, bottom: float
) -> list[tuple[int, int]]:
    """Between which edges the zone lies in a strip in which none of them cross or end, left to right."""
    active = np.flatnonzero((edges[:, 1] <= top) & (edges[:, 3] >= bottom))
    xs = _x_at(edges[active], (top + bottom) / 2)
    order = np.argsort(xs, kind="stable")
    spans, begun, begun_x, inside = [], -1, 0.0, set[int]()
    for edge, x in zip(active[order].tolist(), xs[order].tolist(), strict=True):
        inside ^= {int(owners[edge])}
        in_zone = any(0 < i < first_excluded for i in inside) and not any(i >= first_excluded for i in inside)
        now = 0 in inside and in_zone != outside
        if now and begun < 0:
            begun, begun_x = edge, x
        elif not now and begun >= 0:
            if x - begun_x > NARROWEST_PX:
                spans.append((begun, edge))
            begun = -1
    return spans


def _x_at(edges: Doubles, y: float) -> Doubles:
    x1, y1, x2, y2 = edges.T
    at: Doubles = x1 + (x2 - x1) * ((y - y1) / (y2 - y1))
    return at


def _trapezoid(edges: Doubles, top: float, bottom: float, left: int, right: int) -> Trapezoid:
    sides = edges[[left, right]]
    (left_top, right_top), (left_bottom, right_bottom) = _x_at(sides, top).tolist(), _x_at(sides, bottom).tolist()
    return (top, bottom, left_top, left_bottom, right_top, right_bottom)


def _cells(
    window: tuple[float, float, float, float], inside: tuple[Trapezoid, ...], rest: tuple[Trapezoid, ...]
) -> npt.NDArray[np.uint8]:
    """Row by row NONE, FULL or MIXED; cells are compared only with trapezoids that reach their rows."""
    x1, y1, x2, y2 = window
    xs, ys = np.linspace(x1, x2, CELLS + 1), np.linspace(y1, y2, CELLS + 1)
    parts = [np.array(part, np.float64).reshape(-1, 6).T for part in (inside, rest)]
    at_once = max(1, 256 // sum(part.shape[1] for part in parts))  # rows: a few thousand comparisons
    found = []
    for row in range(0, CELLS, at_once):
        tops, bottoms = ys[row : row + at_once + 1][:-1], ys[row + 1 : row + at_once + 1]
        left, top = (side.ravel() for side in np.meshgrid(xs[:-1], tops))
        right, bottom = (side.ravel() for side in np.meshgrid(xs[1:], bottoms))
        boxes = np.stack([left, top, right, bottom], axis=1)
        some, others = (overlap(part[:, (part[0] < bottoms[-1]) & (part[1] > tops[0])], boxes) for part in parts)
        found.append(np.where(some & others, MIXED, np.where(some, FULL, NONE)))
    return np.concatenate(found).astype(np.uint8)
