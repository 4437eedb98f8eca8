"""Sizes of findings in px and mm against OpenCV's own arithmetic."""

from __future__ import annotations

import math
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Homography, Measure, Region
from edge_inspector.stages.geometry import box_size_mm
from edge_inspector.stages.sizes import box_sizes, outline_size

ASLANT: Homography = (0.08, 0.01, -3.0, -0.012, 0.1, 5.0, 4e-5, -2e-5, 1.0)
"""About 0.09 mm a pixel, seen at an angle."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
SIDE = st.floats(1, 300, width=32)
BOXES = st.tuples(st.floats(0, 1500, width=32), st.floats(0, 900, width=32), SIDE, SIDE)


def on_plane(points: object) -> np.ndarray:
    pixels = np.array(points, np.float64).reshape(-1, 1, 2) - 0.5  # pixel centres
    moved: np.ndarray = cv2.perspectiveTransform(pixels, np.array(ASLANT).reshape(3, 3))[:, 0]
    return moved


@settings(max_examples=25)
@given(x=BOXES)
def test_a_box_is_as_large_as_what_it_can_hold(x: tuple[float, float, float, float]) -> None:
    left, top, width, height = x
    xyxy = np.array([[left, top, left + width, top + height]], np.float32)
    x1, y1, x2, y2 = xyxy[0].astype(float).tolist()
    corners = on_plane([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    apart = max(math.dist(a, b) for a in corners for b in corners)
    expected = {
        "length_px": math.hypot(x2 - x1, y2 - y1),
        "width_px": min(x2 - x1, y2 - y1),
        "area_px2": (x2 - x1) * (y2 - y1),
        "length_mm": apart,
        "width_mm": min(box_size_mm((x1, y1, x2 - x1, y2 - y1), ASLANT)),
        "area_mm2": cv2.contourArea((corners - corners.mean(axis=0)).astype(np.float32)),
    }
    for measure in MEASURES:
        (size,) = box_sizes(xyxy, measure, ASLANT)
        assert size == pytest.approx(expected[measure], rel=1e-4), measure


@settings(max_examples=25)
@given(x=BOXES, angle=st.floats(0, math.pi), hole=st.floats(0.1, 1))
def test_an_outline_is_measured_where_it_lies(x: tuple[float, float, float, float], angle: float, hole: float) -> None:
    left, top, width, height = x
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)]) @ turn.T + (left, top)
    region = Region(corners.astype(np.float32), width * height * hole)
    mm = on_plane(region.outline)
    sides = sorted(cv2.minAreaRect((mm - mm.mean(axis=0)).astype(np.float32))[1])
    expected = {
        "length_px": max(width, height),
        "width_px": min(width, height),
        "area_px2": width * height * hole,
        "length_mm": sides[1],
        "width_mm": sides[0],
        "area_mm2": hole * cv2.contourArea((mm - mm.mean(axis=0)).astype(np.float32)),
    }
    for measure in MEASURES:
        assert outline_size(region, measure, ASLANT) == pytest.approx(expected[measure], rel=2e-3, abs=2e-3), measure


def test_an_outline_that_is_only_a_line_has_the_area_that_was_counted() -> None:
    line = np.array([(10, 10), (10, 500), (300, 500), (10, 500)], np.float32)
    (middle,) = box_sizes(np.array([[82, 377, 83, 378]], np.float32), "area_mm2", ASLANT)
    assert outline_size(Region(line, 700.0), "area_mm2", ASLANT) == pytest.approx(700 * middle, rel=0.01)


def test_many_boxes_are_measured_as_one_after_the_other() -> None:
    xyxy = np.array([[0, 0, 4, 3], [10, 20, 15, 32], [100, 100, 101, 900]], np.float32)
    for measure in MEASURES:
        alone = [box_sizes(xyxy[i : i + 1], measure, ASLANT)[0] for i in range(3)]
        assert box_sizes(xyxy, measure, ASLANT).tolist() == pytest.approx(alone)
        assert box_sizes(xyxy[:0], measure, ASLANT).tolist() == []


@pytest.mark.parametrize("measure", ["length_mm", "width_mm", "area_mm2"])
def test_a_size_in_mm_needs_a_plane(measure: Measure) -> None:
    region = Region(np.array([[0, 0], [9, 0], [0, 9]], np.float32), 40.5)
    with pytest.raises(ValueError, match="without an inspection plane"):
        box_sizes(np.array([[0, 0, 4, 3]], np.float32), measure, None)
    with pytest.raises(ValueError, match="without an inspection plane"):
        outline_size(region, measure, None)
