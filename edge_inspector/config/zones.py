"""The zones of a recipe: whether they are areas, and in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_inspector.config.problems import Problem, dotted
from edge_inspector.datatypes import Calibration, Roi
from edge_inspector.settings import Recipe, View
from edge_inspector.settings.rules import Point, Zone
from edge_inspector.stages.touching import touches
from edge_inspector.stages.zones import IntricateZoneError, zone

SMALLEST_PX2 = 1e-3
"""An area that is no area: three corners on a line, and rounding."""


def zone_problems(path: Path, key: str, recipe: Recipe) -> Iterator[Problem]:
    """What the file alone says against its zones; `key` is the recipe's."""
    cameras = [view.camera for view in recipe.views]
    used = {name for rule in recipe.rules for name in getattr(rule, "zones", ())}
    for name, one in recipe.zones.items():
        where = f"{key}.zones.{dotted([name])}"
        if one.camera not in cameras:
            expected = f"expected a camera of the recipe's views: {', '.join(cameras)}"
            yield Problem(path, f"{where}.camera", repr(one.camera), expected)
        if name not in used:
            yield Problem(path, where, "", "is a zone of which no rule speaks; name it in a rule's zones, or remove it")
        shapes = [*_shape_problems(path, where, one)]
        yield from shapes or _area_problems(path, where, name, one)


def zones_out_of_sight(
    path: Path, key: str, recipe: Recipe, calibrations: Mapping[str, Calibration | None]
) -> Iterator[Problem]:
    """Zones of which nothing is in the roi, or in the picture where a calibration tells how large it is."""
    for view in recipe.views:
        bounds = looked_at(view, calibrations.get(view.camera))
        for name, one in recipe.zones.items():
            if bounds is None or one.camera != view.camera:
                continue
            box = np.array([[bounds.x, bounds.y, bounds.x + bounds.width, bounds.y + bounds.height]], np.float32)
            try:
                seen = touches(zone(name, one.camera, one.include, one.exclude), box).any()
            except IntricateZoneError:
                continue  # told already
            if not seen:
                value = f"x {bounds.x} to {bounds.x + bounds.width}, y {bounds.y} to {bounds.y + bounds.height}"
                expected = f"lies outside of what {view.camera} looks at, which is {value}; draw it there"
                yield Problem(path, f"{key}.zones.{dotted([name])}", "", expected)


def looked_at(view: View, calibration: Calibration | None) -> Roi | None:
    """What of the picture is looked at; None where only a picture tells."""
    if view.roi is not None:
        return Roi(view.roi.x, view.roi.y, view.roi.width, view.roi.height)
    return None if calibration is None else Roi(0, 0, calibration.image_hw[1], calibration.image_hw[0])


def _shape_problems(path: Path, where: str, one: Zone) -> Iterator[Problem]:
    for kind, polygons in (("include", one.include), ("exclude", one.exclude)):
        for i, polygon in enumerate(polygons):
            key = f"{where}.{kind}.{i}"
            crossing = _crossing(polygon)
            if crossing is not None:
                (x1, y1), (x2, y2) = crossing
                value = f"[{x1:g}, {y1:g}] and [{x2:g}, {y2:g}]"
                expected = f"crosses itself: the edges that begin at {value}; give the corners in their order around it"
                yield Problem(path, key, "", expected)
            elif _area(polygon) < SMALLEST_PX2:
                yield Problem(path, key, "", "has no area: its corners lie on one line")


def _area_problems(path: Path, where: str, name: str, one: Zone) -> Iterator[Problem]:
    try:
        cut = zone(name, one.camera, one.include, one.exclude)
    except IntricateZoneError as exc:
        yield Problem(path, where, "", str(exc))
        return
    if not cut.trapezoids:
        yield Problem(path, where, "", "has no area: all of include is excluded")


def _area(polygon: Sequence[Point]) -> float:
    x, y = (np.array(polygon) - polygon[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _crossing(polygon: Sequence[Point]) -> tuple[Point, Point] | None:
    """The beginnings of two edges of which each has its ends on both sides of the other."""
    begin = np.array(polygon, np.float64)
    end = np.roll(begin, -1, axis=0)

    def side(points: np.ndarray) -> np.ndarray:
        """(edges, points): on which side of each edge each point lies."""
        along, away = (end - begin)[:, None], points - begin[:, None]
        return np.sign(along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0])

    apart = side(begin) * side(end) < 0  # the second edge's ends lie on both sides of the first
    pairs = np.argwhere(apart & apart.T)
    if not len(pairs):
        return None
    first, second = pairs[0].tolist()
    return polygon[first], polygon[second]
