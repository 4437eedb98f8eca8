"""The worst pictures of an evaluation, small, with what was labelled and what was found drawn over them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_inspector.calibration.projection import camera_matrix
from edge_inspector.datatypes import Calibration, Detections, Judgement, Measurement
from edge_inspector.engine.evaluate.assess import Evaluated
from edge_inspector.engine.evaluate.labels import boxes_of
from edge_inspector.engine.evaluate.looking import Seen, read_picture
from edge_inspector.engine.evaluate.matching import matches
from edge_inspector.engine.evaluate.parts import Part
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.engine.truth import class_names

PHOTO_PX = 640
"""Longest side of an embedded picture."""


@dataclass(frozen=True)
class Drawn:
    """One outline over a picture: `points` is an SVG point list, `xyxy` the box around it, `text` its label."""

    points: str
    xyxy: tuple[float, float, float, float]
    text: str


@dataclass(frozen=True)
class Shown:
    """A picture with its outlines, in pixels of a `width` x `height` picture; `source` is a data URI."""

    name: str
    source: str
    width: int
    height: int
    labelled: tuple[Drawn, ...]
    found: tuple[Drawn, ...]
    verdict: str
    lines: tuple[str, ...]


def worst(evaluated: Evaluated, count: int) -> tuple[Shown, ...]:
    """At most `count` pictures: escapes, then overkill, then those with most boxes missed or too many."""
    subject = evaluated.subject
    scores = {one.part: (one.kind, i) for i, one in enumerate(evaluated.report.wrong)}
    ranked: list[tuple[tuple[int, int], Part, Judgement, Seen]] = []
    for part, word in zip(evaluated.parts, evaluated.judgements, strict=True):
        for one in part.seen:
            errors = _box_errors(one, subject)
            if part.name in scores:
                ranked.append(((0, scores[part.name][1]), part, word, one))
            elif errors:
                ranked.append(((1, -errors), part, word, one))
    ranked.sort(key=lambda row: row[0])
    return tuple(_shown(subject, *row[1:]) for row in ranked[: max(count, 0)])


def _box_errors(one: Seen, subject: Subject) -> int:
    """How many labelled boxes were missed and how many were found where there is none; 0 without boxes."""
    found = _loud(one, subject)
    if one.picture.things is None or subject.bundle.task not in ("detect", "segment"):
        return 0
    labelled, detected, matched = (
        matches([boxes_of(one.picture, subject.bundle)], [found], 0.5, len(subject.bundle.classes)).sum(axis=0).tolist()
    )
    return int(labelled + detected - 2 * matched)


def _loud(one: Seen, subject: Subject) -> Detections:
    if not isinstance(one.findings, Detections):
        return Detections.none()
    limits = np.array(subject.thresholds.by_class, np.float32)
    return one.findings.pick(one.findings.confidence >= limits[one.findings.class_id])


def _shown(subject: Subject, part: Part, word: Judgement, one: Seen) -> Shown:
    plan = subject.plans.get(one.picture.camera, next(iter(subject.plans.values())))
    source, (height, width) = _photo(one, plan.calibration)
    names = subject.bundle.classes
    found = _loud(one, subject)
    labels = sorted(class_names(one.picture))
    passed = word.evaluation.name
    lines = [
        f"labelled: {', '.join(labels) or ('bad' if part.bad else 'nothing')}",
        f"seen: {_seen_text(one, subject)}",
        *([f"part {part.name}"] if part.name != one.picture.name else []),
        *([f"why: {word.reason_text}"] if word.reason_text else []),
    ]
    return Shown(
        name=one.picture.name,
        source=source,
        width=width,
        height=height,
        labelled=tuple(
            drawn
            for thing in one.picture.things or ()
            for drawn in _outlines([list(p) for p in thing.polygons], thing.xyxy, thing.class_name)
        ),
        found=tuple(
            drawn
            for i, xyxy in enumerate(found.xyxy.tolist())
            for drawn in _outlines(
                [] if found.regions is None else [found.regions[i].outline.tolist()],
                xyxy,
                f"{names[int(found.class_id[i])]} {found.confidence[i]:.2f}",
            )
        ),
        verdict=_verdict(part, passed),
        lines=tuple(lines),
    )


def _verdict(part: Part, evaluation: str) -> str:
    if part.bad:
        return "escape: a bad part was judged OK" if evaluation == "OK" else f"a bad part, judged {evaluation}"
    return "a good part, judged OK" if evaluation == "OK" else f"overkill: a good part was judged {evaluation}"


def _seen_text(one: Seen, subject: Subject) -> str:
    if one.failure:
        return f"no answer: {one.failure}"
    names, found = subject.bundle.classes, one.findings
    if isinstance(found, Measurement):
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, found.values, strict=True))
    if isinstance(found, Detections):
        count = len(_loud(one, subject))
        if not len(found):
            return "nothing"
        best = int(found.confidence.argmax())
        strongest = f"{names[int(found.class_id[best])]} {found.confidence[best]:.3f}"
        return f"{count} at {'its threshold' if count == 1 else 'the thresholds'}, strongest {strongest}"
    order = np.argsort(-found.scores, kind="stable")[:3].tolist()
    return ", ".join(f"{names[c]} {found.scores[c]:.3f}" for c in order)


def _outlines(polygons: Sequence[list[tuple[float, float]]], xyxy: Sequence[float], text: str) -> Iterator[Drawn]:
    x1, y1, x2, y2 = xyxy
    for polygon in polygons or [[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]]:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon)
        yield Drawn(points, (round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)), text)
        text = ""  # once for each object


def _photo(one: Seen, calibration: Calibration | None) -> tuple[str, tuple[int, int]]:
    """The picture, undistorted as the labels are, as a data URI; and its size before it was made small."""
    pixels: Any = read_picture(one.picture)[0]
    if calibration is not None:
        matrix, distortion = camera_matrix(calibration), np.array(calibration.distortion)
        if calibration.lens == "fisheye":
            pixels = cv2.fisheye.undistortImage(pixels, matrix, distortion, Knew=matrix)
        else:
            pixels = cv2.undistort(pixels, matrix, distortion)
    height, width = pixels.shape[:2]
    factor = min(1.0, PHOTO_PX / max(height, width))
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(packed).decode()}", (height, width)
