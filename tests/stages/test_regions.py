from __future__ import annotations

import numpy as np
import pytest

from edge_inspector.datatypes import Region
from edge_inspector.stages.regions import CANVAS_PX, united


def rectangle(x1: float, y1: float, x2: float, y2: float, filled: float = 1.0) -> Region:
    """`filled` is which part of it is no hole."""
    outline = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
    return Region(outline, (x2 - x1) * (y2 - y1) * filled)


def corners(region: Region) -> set[tuple[float, ...]]:
    return set(map(tuple, region.outline.tolist()))


def test_one_region_stays_what_it_is() -> None:
    region = rectangle(0.3, 0.3, 4.6, 5)
    assert united([region]) is region


@pytest.mark.parametrize(
    ("regions", "outline", "area_px"),
    [
        pytest.param(
            [rectangle(10, 5, 30, 15), rectangle(20, 5, 50, 15)],
            {(10, 5), (50, 5), (50, 15), (10, 15)},
            400,
            id="what both show counts once",
        ),
        pytest.param(
            [rectangle(10, 5, 30, 15, 0.5), rectangle(20, 5, 50, 15, 0.5)],
            {(10, 5), (50, 5), (50, 15), (10, 15)},
            200,
            id="holes stay holes",
        ),
        pytest.param(
            [rectangle(0, 0, 10, 10), rectangle(0, 5, 10, 20), rectangle(0, 15, 10, 30)],
            {(0, 0), (10, 0), (10, 30), (0, 30)},
            300,
            id="three",
        ),
        pytest.param(
            [rectangle(-7, -3, 3, 7), rectangle(20, 0, 25, 5)],
            {(-7, -3), (3, -3), (3, 7), (-7, 7)},
            125,
            id="around the largest part, the area of both",
        ),
        pytest.param(
            [rectangle(0, 0, 8000, 100), rectangle(4000, 0, 16 * CANVAS_PX, 100)],
            {(0, 0), (16 * CANVAS_PX, 0), (16 * CANVAS_PX, 96), (0, 96)},
            16 * CANVAS_PX * 100,
            id="larger than the canvas: to half a pixel of it, 8 px",
        ),
        pytest.param([rectangle(3, 3, 3, 3), rectangle(3, 3, 3, 3)], {(3, 3)}, 0, id="nothing but a point"),
    ],
)
def test_parts_become_one(regions: list[Region], outline: set[tuple[float, float]], area_px: float) -> None:
    found = united(regions)
    assert len(found.outline) >= 3
    assert found.outline.dtype == np.float32
    assert corners(found) == outline
    assert found.area_px == pytest.approx(area_px, rel=0.01)
