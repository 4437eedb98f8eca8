"""What one view shows, as rules look at it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import (
    Classification,
    ClassifyRule,
    Criteria,
    Defect,
    Detections,
    Floats,
    Measure,
    MeasuredView,
    Place,
    Region,
    TolerateRule,
    Zone,
)
from edge_inspector.stages.geometry import box_size_mm
from edge_inspector.stages.sizes import Doubles, box_sizes, outline_size
from edge_inspector.stages.touching import holds_points, touches

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Look:
    """The findings of one view in rows: `class_id` (n,), `scores` (n,) float32, `xyxy` (n,4); a measured view has none.

    Each class of a classified view is a row, whose box is the view. `counts` (n,) is false for what no rule may look
    at: what is tolerated, and what only stands for its view while an outline says more. `good` (n,) are the classes of
    a classified view that are good there. What is worked out once is kept: many rules ask for the same.
    """

    def __init__(self, view: MeasuredView, criteria: Criteria) -> None:
        self.view = view
        self.camera = view.camera
        self._classes = len(criteria.classes)
        found = view.findings
        self.regions: Sequence[Region] = ()
        self.class_id = np.zeros(0, np.int64)
        self.scores: Floats = np.zeros(0, np.float32)
        self.xyxy: Floats = np.zeros((0, 4), np.float32)
        if isinstance(found, Classification):
            self.scores = found.scores
            self.class_id = np.arange(len(found.scores))
            self.xyxy = np.tile(np.array([whole(view)], np.float32), (len(found.scores), 1))
        elif isinstance(found, Detections):
            self.class_id, self.scores, self.xyxy, self.regions = (
                found.class_id,
                found.confidence,
                found.xyxy,
                found.regions or (),
            )
        self.outlines = [region.outline if region.area_px > 0 else None for region in self.regions]
        self._in_zone: dict[tuple[str, bool], Mask] = {}
        self._box_sizes: dict[Measure, Doubles] = {}
        self._outline_sizes: dict[tuple[int, Measure], float] = {}
        self.counts: Mask = np.ones(len(self.scores), bool)
        if criteria.stand_ins and self.regions:
            self.counts &= ~self._stand_ins()
        self.good: Mask = np.zeros(len(self.scores), bool)
        for rule in criteria.rules:
            if isinstance(rule, TolerateRule) and self.camera in rule.place.cameras:
                self.counts &= ~(self._of(rule.classes) & self._tolerated(rule))
            elif isinstance(rule, ClassifyRule) and self.camera in rule.place.cameras:
                self.good |= self._of(rule.good)

    def rows(self, classes: Collection[int], place: Place) -> Rows:
        """The findings of these classes of which any part is in the place."""
        return np.flatnonzero(self.counts & self._of(classes) & self._touching(place))

    def rows_by_middle(self, classes: Collection[int], place: Place) -> Rows:
        """The findings of these classes whose middle is in the place."""
        inside = self._here(place)
        if place.zones and len(self.scores):
            corners = self.xyxy.astype(np.float64)
            middles = (corners[:, :2] + corners[:, 2:]) / 2
            zones = [zone for zone in place.zones if zone.camera == self.camera]
            inside &= np.any([holds_points(zone, middles) for zone in zones], axis=0)
        return np.flatnonzero(self.counts & self._of(classes) & inside)

    def sizes(self, rows: Rows, measure: Measure) -> Doubles:
        """One measure of these findings: of their outlines, or of their boxes where they have none."""
        if measure not in self._box_sizes:
            self._box_sizes[measure] = box_sizes(self.xyxy, measure, self.view.plane)
        sizes: Doubles = self._box_sizes[measure][rows]
        for i, row in enumerate(rows.tolist()) if self.regions else ():
            if self.outlines[row] is not None:
                sizes[i] = self._outline_size(row, measure)
        return sizes

    def _outline_size(self, row: int, measure: Measure) -> float:
        if (row, measure) not in self._outline_sizes:
            self._outline_sizes[row, measure] = outline_size(self.regions[row], measure, self.view.plane)
        return self._outline_sizes[row, measure]

    def defect(self, row: int, criteria: Criteria) -> Defect:
        """A finding as results have it; that of a classified view is the whole view."""
        xyxy = whole(self.view) if isinstance(self.view.findings, Classification) else self.xyxy[row].tolist()
        class_id = int(self.class_id[row])
        return defect(self.view, criteria.classes[class_id], class_id, float(self.scores[row]), xyxy)

    def _of(self, classes: Collection[int]) -> Mask:
        wanted = np.zeros(self._classes, bool)
        wanted[list(classes)] = True
        return wanted[self.class_id]

    def _here(self, place: Place) -> Mask:
        return np.full(len(self.scores), self.camera in place.cameras)

    def _touching(self, place: Place) -> Mask:
        inside = self._here(place)
        if place.zones and inside.any():
            inside &= np.any([self._touches(zone) for zone in place.zones if zone.camera == self.camera], axis=0)
        return inside

    def _tolerated(self, rule: TolerateRule) -> Mask:
        """Everywhere, or wholly within one of its zones: touching nothing outside of it."""
        if not rule.place.zones:
            return np.ones(len(self.scores), bool)
        outsides = [zone for zone in rule.place.zones if zone.camera == self.camera]
        wholly: Mask = ~np.all([self._touches(zone) for zone in outsides], axis=0)
        return wholly

    def _touches(self, zone: Zone) -> Mask:
        """Which findings have a part in the zone: of their outline, or of their box where they have none."""
        key = (zone.name, zone.outside)
        if key not in self._in_zone:
            touched = touches(zone, self.xyxy, self.outlines or None)
            self._in_zone[key] = touched
        return self._in_zone[key]

    def _stand_ins(self) -> Mask:
        """Findings without an area, while another one of the class has one in their box and is as sure.

        In its box: of a view in tiles each tile has its own, and what one shows says nothing of the others.
        """
        drawn = np.array([outline is not None for outline in self.outlines], bool)
        standing = ~drawn
        middles = (self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2
        for row in np.flatnonzero(standing).tolist():
            low, high = self.xyxy[row, :2], self.xyxy[row, 2:]
            there = ((low <= middles) & (middles <= high)).all(axis=1)
            better = drawn & there & (self.class_id == self.class_id[row]) & (self.scores >= self.scores[row])
            standing[row] = better.any()
        return standing


def where(place: Place, camera: str) -> str:
    """Where on a camera's pictures a rule looks, in words."""
    zones = [zone.name for zone in place.zones if zone.camera == camera]
    return f"zone {' or '.join(zones)} of {camera}" if zones else camera


def whole(view: MeasuredView) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 of all that was looked at."""
    bounds = view.bounds
    return (bounds.x, bounds.y, bounds.x + bounds.width, bounds.y + bounds.height)


def defect(view: MeasuredView, name: str, class_id: int, score: float, xyxy: Sequence[float]) -> Defect:
    """A finding that counts, rounded as results have it; with its size in mm where the camera has a plane."""
    x1, y1, x2, y2 = xyxy
    size_mm = None
    if view.plane is not None:
        width, height = box_size_mm((x1, y1, x2 - x1, y2 - y1), view.plane)
        size_mm = (round(width, 3), round(height, 3))
    box = (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
    return Defect(name, class_id, round(score, 4), box, view.camera, size_mm)
