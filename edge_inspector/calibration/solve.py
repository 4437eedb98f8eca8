"""From sightings of a board to a camera: solve, drop outliers, and say how far the result can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge_inspector.calibration.boards import board_text, object_points
from edge_inspector.calibration.coverage import coverage, folds
from edge_inspector.calibration.fit import (
    COEFFICIENTS,
    FEWEST_POINTS,
    CalibrationRefused,
    Culprit,
    Fit,
    fit_from_anywhere,
    fit_to,
    rms,
    rms_of,
    view_of,
    views_of,
)
from edge_inspector.calibration.projection import pose_of
from edge_inspector.calibration.records import Board, Doubles, Dropped, LensChoice, Sighting, Solution, SolvedView

FEWEST_VIEWS: Mapping[LensChoice, int] = {"pinhole": 5, "rational": 8, "fisheye": 6}
"""Three tilted views determine a pinhole; the rest is for the distortion, an outlier, and a view to hold out."""
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
    views = views_of(used, board, fit)
    _check_determined(views, fit, lens)
    hw = used[0].image_hw
    seen = coverage(views, hw)
    return Solution(
        calibration=fit.calibration,
        lens=lens,
        board=board,
        views=views,
        dropped=(*dropped, *outliers),
        rms_px=rms_of(views),
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
) -> tuple[list[Sighting], Fit, list[Dropped]]:
    """The worst view is left out and all is solved again, until none stands out: a bad view makes others look bad."""
    used, dropped = list(usable), list[Dropped]()
    most = math.floor(len(usable) * MOST_OUTLIERS)
    while True:
        n = len(dropped)
        _check_enough(used, lens, [*unusable, *dropped])
        progress("solving", n, n + 1)
        try:
            fit = fit_from_anywhere(used, board, lens, serial)
        except Culprit as exc:
            worst, reason = exc.sighting, f"with it the {lens} solve fails, without it it does not"
        else:
            errors = np.array([view.rms_px for view in views_of(used, board, fit)])
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


def _check_determined(views: Sequence[SolvedView], fit: Fit, lens: LensChoice) -> None:
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
    fit: Fit,
    progress: Callable[[str, int, int], None],
) -> float:
    """RMS over views that the solve did not see; of such a view only the pose is taken from it."""
    parts = list(_parts(len(used), FEWEST_VIEWS[lens]))
    residuals = []
    for n, part in enumerate(parts):
        progress("leaving views out", n, len(parts))
        rest = [s for i, s in enumerate(used) if i not in part]
        try:
            camera = fit_to(rest, board, lens, "", fit.calibration).calibration
        except CalibrationRefused as exc:
            names = ", ".join(used[i].name for i in part)
            raise CalibrationRefused(
                f"without {names} the other views cannot be solved ({exc}); take more views like these"
            ) from exc
        for sighting in (used[i] for i in part):
            pose = pose_of(object_points(board)[sighting.ids], sighting.points, camera)
            residuals.append(view_of(sighting, board, camera, *pose).residuals)
    progress("leaving views out", len(parts), len(parts))
    return rms(np.concatenate(residuals)) if residuals else math.nan


def _parts(views: int, fewest: int) -> Iterator[range]:
    """Every k-th view of k; one at a time where a larger part would leave too few, none where even that does."""
    folds = FOLDS if views - math.ceil(views / FOLDS) >= fewest else views
    if views > fewest:
        yield from (range(first, views, folds) for first in range(folds))


def _size(sighting: Sighting) -> str:
    return f"{sighting.image_hw[1]}x{sighting.image_hw[0]}"


def _listed(dropped: Sequence[Dropped]) -> str:
    return "".join(f"; dropped {one.name}: {one.reason}" for one in dropped)
