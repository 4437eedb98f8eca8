"""One camera from views of a board, by least squares: OpenCV's solvers and what they need around them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_inspector.calibration.boards import board_text, object_points
from edge_inspector.calibration.projection import camera_matrix, projected
from edge_inspector.calibration.records import Board, Doubles, LensChoice, Sighting, SolvedView
from edge_inspector.datatypes import Calibration, Floats
from edge_inspector.errors import ConfigError

FEWEST_POINTS = 6
"""In one view: a pose has six unknowns, six points give twelve equations."""
COEFFICIENTS: Mapping[LensChoice, tuple[str, ...]] = {
    "pinhole": ("k1", "k2", "p1", "p2", "k3"),
    "rational": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
RATIONAL_FIXED = ((), ("k6",), ("k3", "k6"), ("k3", "k5", "k6"))
"""Coefficients of a rational lens that are left at 0, the first set that gives no pole in the picture."""
UNTIL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 200, 1e-10)
# OpenCV 4 keeps its own numbers for them in cv2.fisheye, OpenCV 5 has them all in cv2
FISHEYE_FLAGS: int = sum(
    getattr(cv2 if hasattr(cv2, name) else cv2.fisheye, name)
    for name in ("CALIB_RECOMPUTE_EXTRINSIC", "CALIB_FIX_SKEW", "CALIB_CHECK_COND")
)
ILL_CONDITIONED = re.compile(r"CALIB_CHECK_COND.*?input array (\d+)", re.DOTALL)


class CalibrationRefused(ConfigError):
    """These pictures cannot calibrate a camera; the message says why, and what to take instead."""


@dataclass(frozen=True)
class Fit:
    """What one solve gave: a pose (rotation, mm) a view, standard deviations in the order of the parameters."""

    calibration: Calibration
    poses: tuple[tuple[Doubles, Doubles], ...]
    deviations: tuple[float, ...]


class Culprit(Exception):
    """The one view with which the solve fails."""

    def __init__(self, sighting: Sighting) -> None:
        super().__init__(sighting.name)
        self.sighting = sighting


def fit_from_anywhere(used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str) -> Fit:
    """A solve from OpenCV's first guess, and where that fails from what all views but one say.

    The fisheye solver's guess is too far off for a view near the rim of the picture, and a bad view makes it complain
    of another one. Raises Culprit when one view is too many, CalibrationRefused when it is more than one.
    """
    try:
        return fit_to(used, board, lens, serial, None)
    except CalibrationRefused:
        fits = list(_fits_without_one(used, board, lens, serial))
        if not fits:
            raise
    _, worst, calibration = min(fits, key=lambda one: one[0])
    try:
        return fit_to(used, board, lens, serial, calibration)
    except CalibrationRefused as exc:
        raise Culprit(used[worst]) from exc


def _fits_without_one(
    used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str
) -> Iterator[tuple[float, int, Calibration]]:
    """RMS, the view that was left out, and the camera, for each view without which there is a solution."""
    for n in range(len(used)):
        rest = [*used[:n], *used[n + 1 :]]
        try:
            fit = fit_to(rest, board, lens, serial, None)
        except CalibrationRefused:
            continue
        yield rms_of(views_of(rest, board, fit)), n, fit.calibration


def fit_to(used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str, start: Calibration | None) -> Fit:
    """One least-squares solve, from OpenCV's own first guess or from `start`.

    A rational lens has more coefficients than most pictures determine. Their fraction then likes to have a zero and a
    pole side by side, which no corner of the board notices and which tears a ring into every undistorted picture.
    """
    all_mm = object_points(board)
    object_mm = [all_mm[s.ids] for s in used]
    try:
        for fixed in RATIONAL_FIXED if lens == "rational" else ((),):
            fit = _solved(object_mm, used, lens, serial, start, fixed)
            if lens != "rational" or not _has_pole(fit.calibration):
                break
        else:
            raise CalibrationRefused(
                "every rational lens that fits these views has a pole in the picture; take more views that reach the "
                "picture's edges, or choose the pinhole lens"
            )
    except cv2.error as exc:
        match = ILL_CONDITIONED.search(str(exc))
        where = f" (at {used[int(match[1])].name})" if match else ""
        raise CalibrationRefused(
            f"OpenCV cannot solve for a {lens} lens: {exc.err or exc}{where}; take views with the board tilted to "
            f"different sides, look whether all pictures show {board_text(board)}, or choose another lens"
        ) from exc
    if not np.isfinite([*fit.calibration.matrix, *fit.calibration.distortion]).all():
        raise CalibrationRefused(
            f"the solve for a {lens} lens does not converge; take views with the board tilted to different sides"
        )
    return fit


def _has_pole(calibration: Calibration) -> bool:
    """Whether 1 + k4 r^2 + k5 r^4 + k6 r^6 is 0 somewhere in the undistorted picture."""
    (height, width), (fx, fy, cx, cy) = calibration.image_hw, calibration.matrix
    farthest = math.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
    squares = np.roots([*calibration.distortion[:4:-1], 1.0])
    return any(square.imag == 0 and 0 < square.real <= farthest**2 for square in squares)


def _solved(
    object_mm: Sequence[Floats],
    used: Sequence[Sighting],
    lens: LensChoice,
    serial: str,
    start: Calibration | None,
    fixed: Sequence[str],
) -> Fit:
    hw = used[0].image_hw
    flags = cv2.CALIB_USE_INTRINSIC_GUESS if start else 0
    matrix = camera_matrix(start) if start else np.zeros((3, 3))
    distortion = np.array(start.distortion) if start else np.zeros(len(COEFFICIENTS[lens]))
    deviations = None
    if lens == "fisheye":
        flags |= FISHEYE_FLAGS
        _, solved, bent, rotations, translations = cv2.fisheye.calibrate(
            [mm.reshape(1, -1, 3).astype(np.float64) for mm in object_mm],
            [s.points.reshape(1, -1, 2).astype(np.float64) for s in used],
            hw[::-1], matrix, distortion, flags=flags, criteria=UNTIL,
        )  # fmt: skip
    else:
        flags |= cv2.CALIB_RATIONAL_MODEL if lens == "rational" else 0
        for name in fixed:
            flags |= getattr(cv2, f"CALIB_FIX_{name.upper()}")
            distortion[COEFFICIENTS[lens].index(name)] = 0
        _, solved, bent, rotations, translations, deviations, _, _ = cv2.calibrateCameraExtended(
            list(object_mm), [s.points for s in used], hw[::-1], matrix, distortion, flags=flags, criteria=UNTIL
        )
    count = len(COEFFICIENTS[lens])
    calibration = Calibration(
        image_hw=hw,
        matrix=(float(solved[0, 0]), float(solved[1, 1]), float(solved[0, 2]), float(solved[1, 2])),
        distortion=tuple(float(k) for k in bent.ravel()[:count]),
        lens="fisheye" if lens == "fisheye" else "pinhole",
        serial=serial,
    )
    poses = tuple(
        (np.asarray(r, np.float64).ravel(), np.asarray(t, np.float64).ravel())
        for r, t in zip(rotations, translations, strict=True)
    )
    if deviations is None:  # OpenCV gives none for a fisheye lens
        return Fit(calibration, poses, _deviations(object_mm, used, calibration, poses))
    return Fit(calibration, poses, tuple(float(d) for d in deviations.ravel()[: 4 + count]))


def _deviations(
    object_mm: Sequence[Floats],
    used: Sequence[Sighting],
    calibration: Calibration,
    poses: Sequence[tuple[Doubles, Doubles]],
) -> tuple[float, ...]:
    """Of the camera's parameters, from the least squares' normal matrix with the poses eliminated (Schur)."""
    count = 4 + len(calibration.distortion)
    normal, square, equations = np.zeros((count, count)), 0.0, 0
    for mm, sighting, (rotation, translation) in zip(object_mm, used, poses, strict=True):
        pixels, by_pose, by_camera = projected(mm, calibration, rotation, translation)
        free = by_camera - by_pose @ np.linalg.lstsq(by_pose, by_camera, rcond=None)[0]
        normal += free.T @ free
        square += float(((sighting.points - pixels) ** 2).sum())
        equations += len(by_pose)
    variance = square / (equations - count - 6 * len(poses))
    return tuple(np.sqrt(variance * np.diag(np.linalg.pinv(normal))).tolist())


def views_of(used: Sequence[Sighting], board: Board, fit: Fit) -> tuple[SolvedView, ...]:
    return tuple(view_of(s, board, fit.calibration, *pose) for s, pose in zip(used, fit.poses, strict=True))


def view_of(
    sighting: Sighting, board: Board, calibration: Calibration, rotation: Doubles, translation: Doubles
) -> SolvedView:
    pixels = projected(object_points(board)[sighting.ids], calibration, rotation, translation)[0]
    residuals = sighting.points.astype(np.float64) - pixels
    return SolvedView(
        sighting=sighting,
        rotation=(float(rotation[0]), float(rotation[1]), float(rotation[2])),
        translation_mm=(float(translation[0]), float(translation[1]), float(translation[2])),
        residuals=residuals,
        rms_px=rms(residuals),
        tilt_deg=math.degrees(math.acos(min(1.0, abs(float(cv2.Rodrigues(rotation)[0][2, 2]))))),
    )


def rms_of(views: Sequence[SolvedView]) -> float:
    return rms(np.concatenate([view.residuals for view in views]))


def rms(residuals: Doubles) -> float:
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))
