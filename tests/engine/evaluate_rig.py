"""What was seen, without a model: for figures that others compute, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_inspector.datatypes import (
    Classification,
    Criteria,
    Detections,
    Findings,
    InputSpec,
    PreparePlan,
    Region,
    Roi,
    ThresholdState,
)
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.engine.truth import LabelledPicture, Thing, Truth

SPEC = InputSpec(32, 32, "gray", 1 / 255, (0.0,), (1.0,), 0)


def subject(
    classes: Sequence[str],
    *,
    task: str = "detect",
    good: Sequence[int] = (),
    thresholds: Sequence[float] | None = None,
    criteria: Criteria | None = None,
    cameras: Sequence[str] = (),
) -> Subject:
    """A bundle that is on no disk; with cameras, a recipe of that name."""
    told = criteria or Criteria(tuple(classes), frozenset(good))
    limits = tuple(thresholds or [0.5] * len(classes))
    zeros = "0" * 64
    bundle = Bundle(
        Path("/nowhere"), "handmade", "1", task, "yolo", {}, told, SPEC, 0.05, 0.5, limits, "", "", {}, None, "", zeros
    )  # fmt: skip
    plans = {camera: PreparePlan(SPEC) for camera in cameras or ("",)}
    return Subject(bundle, told, ThresholdState(limits), plans, "wheel" if cameras else "")


def seen(picture: LabelledPicture, findings: Findings, hw: tuple[int, int] = (100, 100), failure: str = "") -> Seen:
    return Seen(picture, findings, Roi(0, 0, hw[1], hw[0]), hw, {"model": 1.0}, failure)


def picture(name: str, *names: str, **more: object) -> LabelledPicture:
    """A picture with one small box for each class name."""
    things = tuple(Thing(one, (10.0 * i, 0.0, 10.0 * i + 8, 8.0)) for i, one in enumerate(names))
    keys = {"path": Path(name), "name": name, "part": name, "things": things, **more}
    return LabelledPicture(**keys)


def boxes(*rows: tuple[int, float], at: float = 0.0) -> Detections:
    """Class and confidence of each, side by side."""
    xyxy = np.array([[10 * i + at, 0, 10 * i + 8 + at, 8] for i in range(len(rows))], np.float32).reshape(-1, 4)
    return Detections(xyxy, np.array([s for _, s in rows], np.float32), np.array([c for c, _ in rows], np.int64))


def classified(*scores: float) -> Classification:
    return Classification(np.array(scores, np.float32))


def truth(pictures: Sequence[LabelledPicture], classes: Sequence[str] = ()) -> Truth:
    return Truth(Path("labels.json"), "coco", tuple(classes), tuple(pictures))


def guessed(
    picture: LabelledPicture, classes: Sequence[str], hw: tuple[int, int], rng: np.random.Generator, outlines: bool
) -> Detections:
    """What a poor model might see: labels shifted, some missed, some of another class, and some that are not there."""
    rows: list[tuple[list[float], float, int, Region | None]] = []
    height, width = hw
    for thing in picture.things or ():
        if rng.random() < 0.15:
            continue
        c = classes.index(thing.class_name) if rng.random() > 0.1 else int(rng.integers(len(classes)))
        x1, y1, x2, y2 = thing.xyxy
        dx, dy = rng.normal(0, 0.12, 2) * (x2 - x1, y2 - y1)
        rows.append(_row([x1 + dx, y1 + dy, x2 + dx, y2 + dy], rng.beta(5, 2), c, thing, (dx, dy), outlines))
    for _ in range(rng.poisson(0.8)):
        x, y = rng.uniform(0, width * 0.8), rng.uniform(0, height * 0.8)
        w, h = rng.uniform(5, width * 0.2), rng.uniform(5, height * 0.2)
        rows.append(_row([x, y, x + w, y + h], rng.beta(2, 5), int(rng.integers(len(classes))), None, (0, 0), outlines))
    rows = sorted((row for row in rows if row[1] >= 0.05), key=lambda row: -row[1])
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4).clip(0, [width, height, width, height]),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
        None,
        tuple(row[3] for row in rows if row[3] is not None) if outlines else None,
    )


def _row(
    xyxy: list[float], score: float, c: int, thing: Thing | None, by: Sequence[float], outlines: bool
) -> tuple[list[float], float, int, Region | None]:
    if not outlines:
        return xyxy, score, c, None
    x1, y1, x2, y2 = xyxy
    corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    if thing is not None and thing.polygons:
        corners = [[x + by[0], y + by[1]] for x, y in thing.polygons[0]]
    return xyxy, score, c, Region(np.array(corners, np.float32), (x2 - x1) * (y2 - y1))
