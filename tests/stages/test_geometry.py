from __future__ import annotations

import math

import numpy as np
import pytest

from edge_inspector.datatypes import Homography
from edge_inspector.stages.geometry import box_size_mm, plane_mm, sees_horizon

HALF: Homography = (0.5, 0, 0, 0, 0.5, 0, 0, 0, 1)
UNEVEN: Homography = (0.5, 0, 3, 0, 0.25, -7, 0, 0, 1)
QUARTER_TURN: Homography = (0, -0.1, 0, 0.1, 0, 0, 0, 0, 1)
DOUBLED: Homography = (1, 0, 0, 0, 1, 0, 0, 0, 2)  # a homography's scale means nothing
# w = 1 + x / 1000: a pixel is worth less to the right
PERSPECTIVE: Homography = (1, 0, 0, 0, 1, 0, 0.001, 0, 1)


@pytest.mark.parametrize(
    ("homography", "box", "size"),
    [
        pytest.param(HALF, (10, 20, 40, 30), (20, 15), id="half a millimetre a pixel"),
        pytest.param(UNEVEN, (10, 20, 40, 30), (20, 7.5), id="shifted, and flatter one way"),
        pytest.param(QUARTER_TURN, (10, 20, 40, 30), (4, 3), id="a turned plane keeps width and height of the box"),
        pytest.param(DOUBLED, (10, 20, 40, 30), (20, 15), id="whatever scale"),
        # across at y = 49.5 from x = -0.5 to 999.5, where w is 0.9995 and 1.9995; up and down at x = 499.5
        pytest.param(
            PERSPECTIVE,
            (0, 0, 1000, 100),
            (math.hypot(999.5 / 1.9995 + 0.5 / 0.9995, 49.5 / 1.9995 - 49.5 / 0.9995), 100 / 1.4995),
            id="pixel edges, perspective",
        ),
        pytest.param(HALF, (10, 20, 0, 30), (0, 15), id="a line"),
    ],
)
def test_a_box_has_the_size_that_its_middle_lines_have_on_the_plane(
    homography: Homography, box: tuple[float, float, float, float], size: tuple[float, float]
) -> None:
    assert box_size_mm(box, homography) == pytest.approx(size)


def test_points_go_to_the_plane() -> None:
    assert plane_mm([(4, 8), (1000, 500)], PERSPECTIVE) == pytest.approx(np.array([[4 / 1.004, 8 / 1.004], [500, 250]]))


@pytest.mark.parametrize(
    ("w", "seen"),
    [
        pytest.param((0, 0, 1), False, id="seen squarely"),
        pytest.param((0, 0, -1), False, id="whatever sign"),
        pytest.param((0.001, 0, 1), False, id="horizon far on the left"),
        pytest.param((-0.01, 0, 1), True, id="horizon at x = 100"),
        pytest.param((0, -1 / 59.5, 1), True, id="horizon on the lower edge"),
        pytest.param((0, -1 / 60.5, 1), False, id="horizon just below"),
    ],
)
def test_the_horizon_is_seen_where_depth_changes_its_sign(w: tuple[float, float, float], seen: bool) -> None:
    assert sees_horizon((1, 0, 0, 0, 1, 0, *w), (60, 160)) is seen
