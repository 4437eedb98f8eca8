"""What nobody may see later: polygons in undistorted pixels, filled in the camera's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration
from edge_inspector.store.images.settings import Point

Polygon: TypeAlias = Sequence[Point]
Mask = npt.NDArray[np.bool_]
STEP_PX = 8
"""Between the pixels whose place in the undistorted picture is computed; a lens is smooth between them."""
ROWS = 256
_ASTRAY_PX = 0.5
"""A computed place that does not lead back to its pixel is none: the lens model does not hold there."""


def mask_of(hw: tuple[int, int], polygons: Sequence[Polygon], calibration: Calibration | None) -> Mask:
    """(H,W) bool of a camera's picture: what a polygon touches, and up to two pixels around it.

    What the undistorted picture does not show, beyond its edges, goes with the nearest pixel that it shows; where the
    lens model does not hold all is masked, and so is all of a picture that has not the size of the calibration.
    """
    if calibration is not None and calibration.image_hw != hw:
        return np.ones(hw, np.bool_)
    flat = np.zeros(hw, np.uint8)
    for polygon in polygons:
        # a polygon speaks of pixel edges, fillPoly of pixel centres
        cv2.fillPoly(flat, [np.round((np.array(polygon) - 0.5) * 16).astype(np.int32)], 1, shift=4)
    if calibration is not None:
        flat = _bent(flat, calibration)
    return cv2.dilate(flat, np.ones((3, 3), np.uint8)).astype(np.bool_)


def _bent(flat: npt.NDArray[np.uint8], calibration: Calibration) -> npt.NDArray[np.uint8]:
    """The mask of the undistorted picture as the camera's picture has it.

    Each pixel of the camera asks where it lies in the mask, and each masked pixel from where it is taken: the one
    alone misses what is narrow where the lens is straightened by stretching, the other where it shrinks.
    """
    height, width = flat.shape
    u, v, astray = _undistorted_grid((height, width), calibration)
    bent = np.empty_like(flat)
    across = np.arange(width, dtype=np.float32) / STEP_PX
    for top in range(0, height, ROWS):
        down = np.arange(top, min(top + ROWS, height), dtype=np.float32) / STEP_PX
        x, y = np.meshgrid(across, down)
        here = [cv2.remap(grid, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE) for grid in (u, v, astray)]
        columns = np.rint(here[0].clip(0, width - 1)).astype(np.intp)
        rows = np.rint(here[1].clip(0, height - 1)).astype(np.intp)
        bent[top : top + ROWS] = flat[rows, columns] | (here[2] > 0)
    for top in range(0, height, ROWS):
        _mark_sources(bent, flat[top : top + ROWS], top, calibration)
    return bent


def _mark_sources(
    bent: npt.NDArray[np.uint8], strip: npt.NDArray[np.uint8], top: int, calibration: Calibration
) -> None:
    """Set the camera's pixels of which the masked ones in a strip of the undistorted picture are made."""
    if not strip.any():
        return
    height, width = bent.shape
    fx, fy, cx, cy = calibration.matrix
    matrix, distortion = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(calibration.distortion)
    here, size = np.array([[fx, 0, cx], [0, fy, cy - top], [0, 0, 1.0]]), (width, len(strip))
    if calibration.lens == "fisheye":
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, distortion, np.eye(3), here, size, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(matrix, distortion, None, here, size, cv2.CV_32FC1)
    x, y = (np.floor(one[strip > 0]) for one in maps)
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):  # a pixel is made of four
        inside = (x >= -right) & (x < width - right) & (y >= -below) & (y < height - below)
        bent[y[inside].astype(np.intp) + below, x[inside].astype(np.intp) + right] = 1


def _undistorted_grid(hw: tuple[int, int], calibration: Calibration) -> tuple[Any, Any, Any]:
    """Every STEP_PX-th pixel of the camera's picture: x and y in the undistorted one, and 1 where there is none."""
    height, width = hw
    xs = np.arange(0, width + STEP_PX, STEP_PX, dtype=np.float64)
    ys = np.arange(0, height + STEP_PX, STEP_PX, dtype=np.float64)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 1, 2)
    fx, fy, cx, cy = calibration.matrix
    matrix, distortion = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(calibration.distortion)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-10)
    if calibration.lens == "fisheye":
        rays = cv2.fisheye.undistortPoints(points, matrix, distortion, criteria=until)
        back = cv2.fisheye.distortPoints(rays, matrix, distortion)
    else:
        iterated = getattr(cv2, "undistortPointsIter", None)  # OpenCV 4, where undistortPoints stops after 5 steps
        if iterated:
            rays = iterated(points, matrix, distortion, None, None, until)
        else:
            rays = cv2.undistortPoints(points, matrix, distortion, criteria=until)
        solid = cv2.convertPointsToHomogeneous(rays)
        back = cv2.projectPoints(solid, np.zeros(3), np.zeros(3), matrix, distortion)[0]
    places = rays.reshape(-1, 2) * (fx, fy) + (cx, cy)
    with np.errstate(invalid="ignore"):
        good = np.abs(back.reshape(-1, 2) - points.reshape(-1, 2)).max(axis=1) < _ASTRAY_PX
    places[~good] = 0.0
    shape = (len(ys), len(xs))
    return (
        places[:, 0].reshape(shape).astype(np.float32),
        places[:, 1].reshape(shape).astype(np.float32),
        (~good).reshape(shape).astype(np.float32),
    )
