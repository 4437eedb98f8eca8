"""One camera model, pinhole or fisheye: board points to pixels, pixels to undistorted pixels, and a board's pose."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.calibration.records import Doubles
from edge_inspector.datatypes import Calibration

UNTIL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-10)
POSE_STEPS = 10  # Gauss-Newton doubles the right digits each step; three or four are enough from a fair start


def camera_matrix(calibration: Calibration) -> Doubles:
    """3x3."""
    fx, fy, cx, cy = calibration.matrix
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def projected(
    object_mm: npt.NDArray[np.floating], calibration: Calibration, rotation: Doubles, translation: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """(n,3) mm -> (n,2) pixels, and their derivatives by the pose (2n,6) and by matrix and distortion (2n,4+k)."""
    points = np.asarray(object_mm, np.float64).reshape(-1, 1, 3)
    matrix, distortion = camera_matrix(calibration), np.array(calibration.distortion)
    if calibration.lens == "fisheye":
        pixels, jacobian = cv2.fisheye.projectPoints(points, rotation, translation, matrix, distortion)
        by_pose, by_camera = jacobian[:, 8:14], jacobian[:, :8]
    else:
        pixels, jacobian = cv2.projectPoints(points, rotation, translation, matrix, distortion)
        by_pose, by_camera = jacobian[:, :6], jacobian[:, 6:]
    return _doubles(pixels).reshape(-1, 2), _doubles(by_pose), _doubles(by_camera)


def undistorted(points: npt.NDArray[np.floating], calibration: Calibration) -> Doubles:
    """(n,2) pixels of the camera's picture -> (n,2) undistorted full-image pixels."""
    fx, fy, cx, cy = calibration.matrix
    straight: Doubles = _rays(points, calibration) * (fx, fy) + (cx, cy)
    return straight


def pose_of(
    object_mm: npt.NDArray[np.floating], points: npt.NDArray[np.floating], calibration: Calibration
) -> tuple[Doubles, Doubles]:
    """Rotation vector and translation (mm) that bring (n,3) board points nearest to their (n,2) pixels."""
    flat = np.asarray(object_mm, np.float64).reshape(-1, 1, 3)
    rays = _rays(points, calibration).reshape(-1, 1, 2)
    _, rotation, translation = cv2.solvePnP(flat, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    # distances of rays are not distances of pixels: end in pixels, of which calibrations and errors speak
    pose = np.concatenate([_doubles(rotation).ravel(), _doubles(translation).ravel()])
    for _ in range(POSE_STEPS):
        pixels, by_pose, _ = projected(object_mm, calibration, pose[:3], pose[3:])
        pose = pose + np.linalg.lstsq(by_pose, (points - pixels).ravel(), rcond=None)[0]
    return pose[:3], pose[3:]


def _rays(points: npt.NDArray[np.floating], calibration: Calibration) -> Doubles:
    """(n,2) pixels -> (n,2) x/z and y/z of their rays."""
    flat = np.asarray(points, np.float64).reshape(-1, 1, 2)
    matrix, distortion = camera_matrix(calibration), np.array(calibration.distortion)
    if calibration.lens == "fisheye":
        rays = cv2.fisheye.undistortPoints(flat, matrix, distortion, criteria=UNTIL)
    elif iterated := getattr(cv2, "undistortPointsIter", None):  # OpenCV 4, where undistortPoints stops after 5 steps
        rays = iterated(flat, matrix, distortion, None, None, UNTIL)
    else:
        rays = cv2.undistortPoints(flat, matrix, distortion, criteria=UNTIL)
    return _doubles(rays).reshape(-1, 2)


def _doubles(values: npt.ArrayLike) -> Doubles:
    return np.asarray(values, np.float64)
