"""From sightings of a board to a camera: solve, drop outliers, and say how far the result can be trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge_inspector.calibration.boards import board_text, object_points
from edge_inspector.calibration.coverage import coverage, folds
from edge_inspector.calibration.projection import camera_matrix, pose_of, projected
from edge_inspector.calibration.records import Board, Doubles, Dropped, LensChoice, Sighting, Solution, SolvedView
from edge_inspector.datatypes import Calibration, Floats
from edge_inspector.errors import ConfigError

FEWEST_VIEWS: Mapping[LensChoice, int] = {"pinhole": 5, "rational": 8, "fisheye": 6}
"""Three tilted views determine a pinhole; the rest is for the distortion, an outlier, and a view to hold out."""
FEWEST_POINTS = 6
"""In one view: a pose has six unknowns, six points give twelve equations."""
COEFFICIENTS: Mapping[LensChoice, tuple[str, ...]] = {
    "pinhole": ("k1", "k2", "p1", "p2", "k3"),
    "rational": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
FOLDS = 5
OUTLIER_MADS = 5.0
"""A view is dropped above median + this many deviations (1.48 MAD), above twice the median and above the floor."""
OUTLIER_FLOOR_PX = 0.3
MOST_OUTLIERS = 1 / 3
"""Of the views: when more do not fit, it is no longer clear who is wrong."""
LEAST_SPREAD_DEG = 10.0
"""Between the two views that are tilted most differently; parallel boards leave the focal length open."""
LARGEST_DEVIATION = 0.01
"""Standard deviation of a focal length, as a part of it."""
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
class _Fit:
    """What one solve gave: a pose (rotation, mm) a view, standard deviations in the order of the parameters."""

    calibration: Calibration
    poses: tuple[tuple[Doubles, Doubles], ...]
    deviations: tuple[float, ...]


class _Culprit(Exception):
    """The one view with which the solve fails."""

    def __init__(self, sighting: Sighting) -> None:
        super().__init__(sighting.name)
        self.sighting = sighting


def solve(
    sightings: Sequence[Sighting],
    board: Board,
    lens: LensChoice,
    serial: str,
    progress: Callable[[str, int, int], None],
    made_utc: str,
) -> Solution:
    """Solve for the camera that took these views of `board`; the same views in the same order give the same answer.

    `progress` is called with what is being done, how much of it is done and how much there is. CalibrationRefused
    says why these views cannot do it.
    """
    _check_sizes(sightings)
    usable, dropped = _usable(sightings, board)
    used, fit, outliers = _without_outliers(usable, board, lens, serial, progress, dropped)
    views = _views(used, board, fit)
    _check_determined(views, fit, lens)
    hw = used[0].image_hw
    seen = coverage(views, hw)
    return Solution(
        calibration=fit.calibration,
        lens=lens,
        board=board,
        views=views,
        dropped=(*dropped, *outliers),
        rms_px=_rms_of(views),
        held_out_px=_held_out(used, board, lens, fit, progress),
        deviations=dict(zip(("fx", "fy", "cx", "cy", *COEFFICIENTS[lens]), fit.deviations, strict=True)),
        coverage=replace(seen, advice=(*seen.advice, *folds(fit.calibration))),
        made_utc=made_utc,
    )


def _check_sizes(sightings: Sequence[Sighting]) -> None:
    if not sightings:
        raise CalibrationRefused(
            "the board was found in none of the pictures; compare --board with the printed board (inner corners of a "
            "chessboard, squares of a charuco, circles), and take pictures that are sharp and show it whole"
        )
    first = sightings[0]
    for other in sightings:
        if other.image_hw != first.image_hw:
            raise CalibrationRefused(
                f"{first.name} is {_size(first)} and {other.name} is {_size(other)}; "
                "a calibration is for one picture size: leave the others out"
            )


def _usable(sightings: Sequence[Sighting], board: Board) -> tuple[list[Sighting], list[Dropped]]:
    """Without the views of which no pose can be had."""
    used, dropped = [], []
    for sighting in sightings:
        points = object_points(board)[sighting.ids][:, :2]
        if len(points) < FEWEST_POINTS:
            dropped.append(
                Dropped(sighting.name, f"{len(points)} points of the board, at least {FEWEST_POINTS} needed")
            )
        elif np.linalg.matrix_rank(points - points[0]) < 2:
            dropped.append(Dropped(sighting.name, f"its {len(points)} points lie on one line of the board"))
        else:
            used.append(sighting)
    return used, dropped


def _without_outliers(
    usable: Sequence[Sighting],
    board: Board,
    lens: LensChoice,
    serial: str,
    progress: Callable[[str, int, int], None],
    unusable: Sequence[Dropped],
) -> tuple[list[Sighting], _Fit, list[Dropped]]:
    """The worst view is left out and all is solved again, until none stands out: a bad view makes others look bad."""
    used, dropped = list(usable), list[Dropped]()
    most = math.floor(len(usable) * MOST_OUTLIERS)
    while True:
        n = len(dropped)
        _check_enough(used, lens, [*unusable, *dropped])
        progress("solving", n, n + 1)
        try:
            fit = _fit_from_anywhere(used, board, lens, serial)
        except _Culprit as exc:
            worst, reason = exc.sighting, f"with it the {lens} solve fails, without it it does not"
        else:
            errors = np.array([view.rms_px for view in _views(used, board, fit)])
            limit = _limit(errors)
            if errors.max() <= limit:
                progress("solving", n + 1, n + 1)
                return used, fit, dropped
            worst = used[int(errors.argmax())]
            reason = f"reprojection error {errors.max():.2f} px RMS, the other views allow {limit:.2f} px"
        if n == most:
            raise CalibrationRefused(
                f"{most + 1} of {len(usable)} views do not fit the others, the last {worst.name} ({reason})"
                f"{_listed(dropped)}; is the board flat, is it the same one in all pictures, is {board_text(board)} "
                f"what is printed, and is {lens} the lens?"
            )
        dropped.append(Dropped(worst.name, reason))
        used = [sighting for sighting in used if sighting is not worst]


def _limit(errors: Doubles) -> float:
    median = float(np.median(errors))
    deviation = 1.4826 * float(np.median(abs(errors - median)))
    return max(OUTLIER_FLOOR_PX, 2 * median, median + OUTLIER_MADS * deviation)


def _check_enough(used: Sequence[Sighting], lens: LensChoice, dropped: Sequence[Dropped]) -> None:
    fewest = FEWEST_VIEWS[lens]
    if len(used) < fewest:
        raise CalibrationRefused(
            f"{len(used)} usable views of the board, a {lens} lens needs at least {fewest} "
            f"(15 or more are better){_listed(dropped)}; take more pictures, each with the board elsewhere and tilted"
        )


def _fit_from_anywhere(used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str) -> _Fit:
    """A solve from OpenCV's first guess, and where that fails from what all views but one say.

    The fisheye solver's guess is too far off for a view near the rim of the picture, and a bad view makes it complain
    of another one. Raises _Culprit when one view is too many, CalibrationRefused when it is more than one.
    """
    try:
        return _fit(used, board, lens, serial, None)
    except CalibrationRefused:
        fits = list(_fits_without_one(used, board, lens, serial))
        if not fits:
            raise
    _, worst, calibration = min(fits, key=lambda one: one[0])
    try:
        return _fit(used, board, lens, serial, calibration)
    except CalibrationRefused as exc:
        raise _Culprit(used[worst]) from exc


def _fits_without_one(
    used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str
) -> Iterator[tuple[float, int, Calibration]]:
    """RMS, the view that was left out, and the camera, for each view without which there is a solution."""
    for n in range(len(used)):
        rest = [*used[:n], *used[n + 1 :]]
        try:
            fit = _fit(rest, board, lens, serial, None)
        except CalibrationRefused:
            continue
        yield _rms_of(_views(rest, board, fit)), n, fit.calibration


def _fit(used: Sequence[Sighting], board: Board, lens: LensChoice, serial: str, start: Calibration | None) -> _Fit:
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
) -> _Fit:
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
        return _Fit(calibration, poses, _deviations(object_mm, used, calibration, poses))
    return _Fit(calibration, poses, tuple(float(d) for d in deviations.ravel()[: 4 + count]))


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


def _views(used: Sequence[Sighting], board: Board, fit: _Fit) -> tuple[SolvedView, ...]:
    return tuple(_view(s, board, fit.calibration, *pose) for s, pose in zip(used, fit.poses, strict=True))


def _view(
    sighting: Sighting, board: Board, calibration: Calibration, rotation: Doubles, translation: Doubles
) -> SolvedView:
    pixels = projected(object_points(board)[sighting.ids], calibration, rotation, translation)[0]
    residuals = sighting.points.astype(np.float64) - pixels
    return SolvedView(
        sighting=sighting,
        rotation=(float(rotation[0]), float(rotation[1]), float(rotation[2])),
        translation_mm=(float(translation[0]), float(translation[1]), float(translation[2])),
        residuals=residuals,
        rms_px=_rms(residuals),
        tilt_deg=math.degrees(math.acos(min(1.0, abs(float(cv2.Rodrigues(rotation)[0][2, 2]))))),
    )


def _check_determined(views: Sequence[SolvedView], fit: _Fit, lens: LensChoice) -> None:
    normals = np.array([cv2.Rodrigues(np.array(view.rotation))[0][:, 2] for view in views])
    spread = math.degrees(math.acos(min(1.0, float(abs(normals @ normals.T).min()))))
    if spread < LEAST_SPREAD_DEG:
        raise CalibrationRefused(
            f"the board lies almost the same way in all {len(views)} views (their tilts differ by {spread:.1f} degrees "
            f"at most, at least {LEAST_SPREAD_DEG:g} needed), which leaves the focal length open; take views with the "
            "board tilted by 20 to 40 degrees to the left, right, front and back"
        )
    for name, value, deviation in zip(("fx", "fy"), fit.calibration.matrix, fit.deviations, strict=False):
        if not deviation <= LARGEST_DEVIATION * value:
            raise CalibrationRefused(
                f"the views leave the focal length open: {name} = {value:.1f} px with a standard deviation of "
                f"{deviation:.1f} px, at most {LARGEST_DEVIATION:.0%} expected; take views with the board tilted by "
                "20 to 40 degrees, larger in the picture, or choose a lens with fewer coefficients"
            )


def _held_out(
    used: Sequence[Sighting],
    board: Board,
    lens: LensChoice,
    fit: _Fit,
    progress: Callable[[str, int, int], None],
) -> float:
    """RMS over views that the solve did not see; of such a view only the pose is taken from it."""
    parts = list(_parts(len(used), FEWEST_VIEWS[lens]))
    residuals = []
    for n, part in enumerate(parts):
        progress("leaving views out", n, len(parts))
        rest = [s for i, s in enumerate(used) if i not in part]
        try:
            camera = _fit(rest, board, lens, "", fit.calibration).calibration
        except CalibrationRefused as exc:
            names = ", ".join(used[i].name for i in part)
            raise CalibrationRefused(
                f"without {names} the other views cannot be solved ({exc}); take more views like these"
            ) from exc
        for sighting in (used[i] for i in part):
            pose = pose_of(object_points(board)[sighting.ids], sighting.points, camera)
            residuals.append(_view(sighting, board, camera, *pose).residuals)
    progress("leaving views out", len(parts), len(parts))
    return _rms(np.concatenate(residuals)) if residuals else math.nan


def _parts(views: int, fewest: int) -> Iterator[range]:
    """Every k-th view of k; one at a time where a larger part would leave too few, none where even that does."""
    folds = FOLDS if views - math.ceil(views / FOLDS) >= fewest else views
    if views > fewest:
        yield from (range(first, views, folds) for first in range(folds))


def _rms_of(views: Sequence[SolvedView]) -> float:
    return _rms(np.concatenate([view.residuals for view in views]))


def _rms(residuals: Doubles) -> float:
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))


def _size(sighting: Sighting) -> str:
    return f"{sighting.image_hw[1]}x{sighting.image_hw[0]}"


def _listed(dropped: Sequence[Dropped]) -> str:
    return "".join(f"; dropped {one.name}: {one.reason}" for one in dropped)
