from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from board_renderer import Pose, pose, project, render
from lenses import BARREL, FISHEYE

from edge_inspector.calibration.boards import object_points, parse_board
from edge_inspector.calibration.detect import find_board
from edge_inspector.calibration.fit import CalibrationRefused
from edge_inspector.calibration.plane import fit_plane
from edge_inspector.calibration.projection import undistorted
from edge_inspector.calibration.records import Sighting
from edge_inspector.datatypes import Calibration
from edge_inspector.stages.geometry import box_size_mm, plane_mm

BOARD = parse_board("chessboard:9x6:25mm")
STRAIGHT = Calibration((600, 800), (700.0, 700.0, 400.0, 300.0), (0.0,) * 5)


def sighting(calibration: Calibration, where: Pose) -> Sighting:
    points = project(object_points(BOARD), calibration, where).astype(np.float32)
    return Sighting("plane.png", calibration.image_hw, np.arange(54), points)


def test_a_plane_seen_squarely_has_the_scale_of_focal_length_and_distance() -> None:
    plane = fit_plane(sighting(STRAIGHT, Pose((0.0, 0.0, 0.0), (-100.0, -62.5, 350.0))), BOARD, STRAIGHT)
    assert plane.mm_per_px == pytest.approx(0.5)
    assert plane.rms_mm == pytest.approx(0, abs=1e-4)
    # 350 mm away a pixel is 0.5 mm; the first corner lies 100 mm left of and 62.5 mm above pixel (400, 300)
    assert plane_mm([(200, 175), (600, 175)], plane.homography) == pytest.approx(np.array([[0, 0], [200, 0]]), abs=1e-3)
    assert box_size_mm((300.0, 200.0, 40.0, 30.0), plane.homography) == pytest.approx((20.0, 15.0), abs=1e-3)


@pytest.mark.parametrize("calibration", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_millimetres_are_right_on_a_tilted_plane_through_a_bending_lens(calibration: Calibration) -> None:
    where = Pose((0.35, -0.2, 0.1), (-90.0, -60.0, 0.6 * calibration.matrix[0]))
    plane = fit_plane(sighting(calibration, where), BOARD, calibration)
    # places on the plane that are no corners, some beyond the board
    places = np.array([[-20.0, 10.0], [13.0, 140.0], [104.0, 33.0], [215.0, -15.0], [60.0, 60.0]])
    pixels = undistorted(project(np.column_stack([places, np.zeros(5)]), calibration, where), calibration)
    assert plane_mm([(x, y) for x, y in pixels], plane.homography) == pytest.approx(places, abs=0.01)


def test_a_picture_of_the_board_measures_the_plane_to_hundredths_of_a_millimetre() -> None:
    where = Pose((0.1, 0.05, 0.02), (-100.0, -60.0, 480.0))
    found = find_board(render(BOARD, BARREL, where, noise=1.0), BOARD, "plane.png")
    assert found is not None
    plane = fit_plane(found, BOARD, BARREL)
    assert plane.sighting is found
    assert plane.rms_mm < 0.03
    assert plane.mm_per_px == pytest.approx(480 / 700, rel=0.05)
    assert plane_mm([(x, y) for x, y in undistorted(found.points[[0, 8]], BARREL)], plane.homography) == pytest.approx(
        np.array([[0, 0], [200, 0]]), abs=0.05
    )


def test_the_scale_is_the_mean_over_the_board() -> None:
    where = Pose((0.6, 0.0, 0.0), (-100.0, -60.0, 480.0))
    plane = fit_plane(sighting(STRAIGHT, where), BOARD, STRAIGHT)
    steps = np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 0.01]])
    areas = []
    for point in project(object_points(BOARD), STRAIGHT, where):
        o, x, y = plane_mm([(u, v) for u, v in point + steps], plane.homography)
        areas.append(abs(np.linalg.det([(x - o) / 0.01, (y - o) / 0.01])))
    assert plane.mm_per_px == pytest.approx(np.sqrt(areas).mean(), rel=1e-3)


def test_a_bent_board_shows_in_the_rest() -> None:
    seen = sighting(STRAIGHT, Pose((0.0, 0.0, 0.0), (-100.0, -62.5, 350.0)))
    wavy = replace(seen, points=seen.points + 2 * np.sin(seen.points / 40).astype(np.float32))
    assert fit_plane(wavy, BOARD, STRAIGHT).rms_mm > 0.2


@pytest.mark.parametrize(
    ("size", "points", "reason"),
    [
        ((480, 640), 54, "plane.png is 640x480, the calibration was made at 800x600"),
        ((600, 800), 5, "shows 5 points of the board"),
        ((600, 800), 9, "shows 9 points of the board, expected at least 6 that do not lie on one line"),
    ],
)
def test_a_picture_that_shows_no_plane_is_refused(size: tuple[int, int], points: int, reason: str) -> None:
    seen = sighting(STRAIGHT, Pose((0.0, 0.0, 0.0), (-100.0, -62.5, 350.0)))
    part = replace(seen, image_hw=size, ids=seen.ids[:points], points=seen.points[:points])
    with pytest.raises(CalibrationRefused, match=reason):
        fit_plane(part, BOARD, STRAIGHT)


def test_a_plane_whose_horizon_is_in_the_picture_is_refused() -> None:
    rotation = np.asarray(cv2.Rodrigues(np.array([np.radians(75.0), 0.0, 0.0]))[0])
    steep = pose(rotation, np.array([0.0, 0.0, 500.0]) - rotation @ object_points(BOARD).mean(axis=0))
    with pytest.raises(CalibrationRefused, match="horizon is in the picture"):
        fit_plane(sighting(STRAIGHT, steep), BOARD, STRAIGHT)
