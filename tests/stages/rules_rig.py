"""Parts, pictures and recipes for the tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from edge_inspector.datatypes import (
    Classification,
    Criteria,
    Detections,
    Findings,
    Homography,
    Judgement,
    Limits,
    MeasuredView,
    Measurement,
    Reason,
    Region,
    Roi,
    ThresholdState,
)
from edge_inspector.settings import Recipe
from edge_inspector.stages.rules import judge, with_rules

CLASSES = ("scratch", "dent", "dust", "screw")
THRESHOLDS = ThresholdState((0.5, 0.5, 0.5, 0.5))
TENTH: Homography = (0.1, 0, 0, 0, 0.1, 0, 0, 0, 1)
"""A pixel is 0.1 mm."""
LEFT = {"camera": "top", "include": [[[0, 0], [100, 0], [100, 200], [0, 200]]]}
"""The left 100 pixels."""

Seen = tuple[int, float] | tuple[int, float, tuple[float, float, float, float]]
"""Class, score, and the box x1, y1, x2, y2."""


def recipe(
    *rules: dict[str, Any], zones: dict[str, Any] | None = None, cameras: Sequence[str] = ("top",), **keys: Any
) -> Recipe:
    views = [{"camera": camera} for camera in cameras]
    written = {"number": 1, "bundle": "b", "views": views, "zones": zones or {}, "rules": list(rules), **keys}
    return TypeAdapter(Recipe).validate_python(written, strict=False)


def criteria(
    *rules: dict[str, Any],
    zones: dict[str, Any] | None = None,
    cameras: Sequence[str] = ("top",),
    classes: tuple[str, ...] = CLASSES,
    good: Sequence[int] = (),
    limits: tuple[Limits, ...] = (),
    task: str = "detect",
) -> Criteria:
    """As assembly makes them; a rule without a name is called by its kind."""
    named = [{"name": rule["kind"], **rule} for rule in rules]
    made = recipe(*named, zones=zones, cameras=cameras)
    return with_rules(Criteria(classes, frozenset(good), limits), made, task)


def boxes(*seen: Seen) -> Detections:
    """Findings without outlines; those without a box lie at 10, 10 and are 4 x 3."""
    corners = [one[2] if len(one) == 3 else (10, 10, 14, 13) for one in seen]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array([one[1] for one in seen], np.float32),
        np.array([one[0] for one in seen], np.int64),
    )


def outlined(*seen: tuple[int, float, Sequence[tuple[float, float]], float]) -> Detections:
    """Findings with outlines: class, score, corners, area."""
    outlines = [np.array(corners, np.float32) for _, _, corners, _ in seen]
    return Detections(
        np.array([[*o.min(axis=0), *o.max(axis=0)] for o in outlines], np.float32).reshape(-1, 4),
        np.array([score for _, score, _, _ in seen], np.float32),
        np.array([class_id for class_id, _, _, _ in seen], np.int64),
        regions=tuple(Region(o, area) for o, (_, _, _, area) in zip(outlines, seen, strict=True)),
    )


def shown(*scores: float) -> Classification:
    return Classification(np.array(scores, np.float32))


def view(findings: Findings, camera: str = "top", plane: Homography | None = None) -> MeasuredView:
    return MeasuredView(camera, findings, Roi(0, 0, 200, 200), plane=plane)


def failed(camera: str = "top") -> MeasuredView:
    return MeasuredView(camera, Detections.none(), Roi(0, 0, 0, 0), Reason.INFERENCE, "why")


def judged(
    by: Criteria,
    *findings: Findings | MeasuredView,
    thresholds: ThresholdState = THRESHOLDS,
    expected: Sequence[str] = ("top", "side", "rear"),
    plane: Homography | None = None,
) -> Judgement:
    """The word on what top, side and rear show, as many of them as there are findings."""
    cameras = expected[: len(findings)]
    views = [
        one if isinstance(one, MeasuredView) else view(one, camera, plane)
        for camera, one in zip(cameras, findings, strict=True)
    ]
    return judge(cameras, by, thresholds, views)


def values(*read: float) -> Measurement:
    return Measurement(read)
