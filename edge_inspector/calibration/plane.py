"""The inspection plane: from undistorted pixels to millimetres on it."""

from __future__ import annotations

import cv2
import numpy as np

from edge_inspector.calibration.boards import object_points
from edge_inspector.calibration.fit import FEWEST_POINTS, CalibrationRefused
from edge_inspector.calibration.projection import undistorted
from edge_inspector.calibration.records import Board, Doubles, PlaneFit, Sighting
from edge_inspector.datatypes import Calibration
from edge_inspector.stages.geometry import sees_horizon


def fit_plane(sighting: Sighting, board: Board, calibration: Calibration) -> PlaneFit:
    """The plane on which the board lies in one picture; its origin is the board's first corner, x along its rows.

    CalibrationRefused: a picture of another size, too few points, points on a line, a board seen too steeply.
    """
    if sighting.image_hw != calibration.image_hw:
        raise CalibrationRefused(
            f"{sighting.name} is {sighting.image_hw[1]}x{sighting.image_hw[0]}, the calibration was made at "
            f"{calibration.image_hw[1]}x{calibration.image_hw[0]}; take the picture of the plane "
            "with the same camera settings"
        )
    mm = object_points(board)[sighting.ids][:, :2].astype(np.float64)
    if len(mm) < FEWEST_POINTS or np.linalg.matrix_rank(mm - mm[0]) < 2:
        raise CalibrationRefused(
            f"{sighting.name} shows {len(mm)} points of the board, expected at least {FEWEST_POINTS} that do not lie "
            "on one line; lay the whole board into the picture"
        )
    pixels = undistorted(sighting.points, calibration)
    homography = np.asarray(cv2.findHomography(pixels, mm, 0)[0], np.float64)
    a, b, c, d, e, f, g, h, i = homography.ravel().tolist()
    plane = (a, b, c, d, e, f, g, h, i)
    if sees_horizon(plane, calibration.image_hw):
        raise CalibrationRefused(
            f"{sighting.name}: the board lies so steeply that its plane's horizon is in the picture; "
            "mount the camera more squarely over the plane"
        )
    errors = cv2.perspectiveTransform(pixels.reshape(-1, 1, 2), homography).reshape(-1, 2) - mm
    return PlaneFit(
        homography=plane,
        mm_per_px=_mm_per_px(pixels, homography),
        rms_mm=float(np.sqrt((errors**2).sum(axis=1).mean())),
        sighting=sighting,
    )


def _mm_per_px(pixels: Doubles, homography: Doubles) -> float:
    """The side of a pixel on the plane, mean over the points: its area is the derivative's determinant, det H / w^3."""
    w = pixels @ homography[2, :2] + homography[2, 2]
    return float(np.sqrt(abs(np.linalg.det(homography) / w**3)).mean())
