from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from edge_inspector.calibration.coverage import coverage, folds
from edge_inspector.calibration.records import Sighting, SolvedView
from edge_inspector.datatypes import Calibration

HW = (60, 80)
# the middles of two opposite quarters of each ninth
NINTHS = {
    (c, r): [(80 / 6 * (2 * c + k + 0.5), 10 * (2 * r + k + 0.5)) for k in (0, 1)] for c in range(3) for r in range(3)
}
EVERYWHERE = [point for points in NINTHS.values() for point in points]


def view(
    points: Sequence[tuple[float, float]], axis: tuple[float, float] = (0, 0), tilt_deg: float = 0.0
) -> SolvedView:
    """A board seen at `points`, turned about `axis` (x right, y down in the picture) by the right-hand rule."""
    seen = np.array(points, np.float32)
    turn = np.array([*axis, 0.0]) * math.radians(tilt_deg)
    return SolvedView(
        Sighting("a.png", HW, np.arange(len(seen)), seen),
        (float(turn[0]), float(turn[1]), 0.0),
        (0.0, 0.0, 500.0),
        np.zeros((len(seen), 2)),
        0.0,
        tilt_deg,
    )


def nearer(axis: tuple[float, float]) -> str:
    """Which side of the board comes nearer when it is turned about the axis by a little."""
    rotation = cv2.Rodrigues(np.array([*axis, 0.0]) * 0.3)[0]
    sides = {"on the left": (-1, 0), "on the right": (1, 0), "above": (0, -1), "below": (0, 1)}
    return min(sides, key=lambda side: float((rotation @ np.array([*sides[side], 0.0]))[2]))


LEFT, RIGHT, ABOVE, BELOW = ((0, -1), (0, 1), (1, 0), (-1, 0))
ALL_TILTS = [view(EVERYWHERE, axis, 25) for axis in (LEFT, RIGHT, ABOVE, BELOW)]


def test_corners_are_counted_in_the_cell_that_holds_the_middle_of_their_pixel() -> None:
    # two rows of 30 pixels, four columns of 20: the first column ends at 19.5, the first row at 29.5
    points = [(-0.4, -0.4), (19.4, 0), (19.6, 29.4), (79.4, 29.6), (79.4, 59.4)]
    found = coverage([view(points[:2]), view(points[2:])], HW, (2, 4))
    assert found.cells.tolist() == [[2, 1, 0, 0], [0, 0, 0, 2]]
    assert found.share == pytest.approx(3 / 8)
    assert found.tilts_deg == (0.0, 0.0)


def test_when_nothing_is_missing_there_is_no_advice() -> None:
    assert coverage(ALL_TILTS, HW).advice == ()


def test_places_without_the_board_are_named() -> None:
    """The upper right corner has no corner of the board, the left edge has corners in one quarter of it only."""
    reached = [p for ninth, points in NINTHS.items() for p in points[: {(2, 0): 0, (0, 1): 1}.get(ninth, 2)]]
    views = [view(reached, axis, 25) for axis in (LEFT, RIGHT, ABOVE, BELOW)]
    assert coverage(views, HW).advice == ("no view reaches the upper right corner and the left edge",)


@pytest.mark.parametrize("missing", range(4))
def test_a_tilt_that_is_missing_is_named_as_it_is_seen(missing: int) -> None:
    views = ALL_TILTS[:missing] + ALL_TILTS[missing + 1 :]
    side = nearer((LEFT, RIGHT, ABOVE, BELOW)[missing])
    assert side == ("on the left", "on the right", "above", "below")[missing]
    assert coverage(views, HW).advice == (
        f"in no view the board comes nearer {side}: tilt it that way by 20 to 40 degrees",
    )


def test_flat_views_are_advised_to_tilt_more() -> None:
    views = [*ALL_TILTS, *[view(EVERYWHERE)] * 5]
    assert coverage(views, HW).advice == ("only 4 of 9 views are tilted by 15 degrees or more: tilt the board more",)


@pytest.mark.parametrize(
    ("calibration", "advised"),
    [
        pytest.param(
            Calibration((600, 800), (700, 700, 400, 300), (-0.2, 0.06, 0, 0, 0.01)), [], id="an ordinary lens"
        ),
        # r (1 - 0.8 r^2) turns back at r = 0.645, 452 px from the middle: only the corners, at 500 px, lie farther out
        pytest.param(
            Calibration((600, 800), (700, 700, 399.5, 299.5), (-0.8, 0, 0, 0, 0)),
            ["the upper left corner", "the upper right corner", "the lower left corner", "the lower right corner"],
            id="a polynomial that turns back",
        ),
        pytest.param(Calibration((600, 800), (300, 300, 400, 300), (0.02, 0, 0, 0), "fisheye"), [], id="a fisheye"),
    ],
)
def test_a_distortion_that_folds_the_picture_is_told_with_its_place(
    calibration: Calibration, advised: list[str]
) -> None:
    told = folds(calibration)
    assert len(told) == bool(advised)
    for place in ("corner", "edge", "middle"):
        assert "".join(told).count(place) == "".join(advised).count(place)
    assert all(place in told[0] for place in advised)
