"""How far a calibration can be trusted: its parameters' covariance, what that moves in a picture, straight lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_inspector.calibration.boards import object_points
from edge_inspector.calibration.projection import projected, undistorted
from edge_inspector.calibration.records import Board, Doubles, PlaneFit, Sighting, Solution
from edge_inspector.datatypes import Calibration

LEAST_ON_A_LINE = 3
"""Points from which a row of the board says something about straightness."""


@dataclass(frozen=True)
class Straightness:
    """How far the board's points lie beside the straight line through their row or column: RMS and worst, pixels.

    NaN for a board whose rows are too short to tell.
    """

    rms_px: float
    worst_px: float


@dataclass(frozen=True)
class Budget:
    """Expected error, one standard deviation, in pixels: see `expected_error_px`.

    `covered_px` is the worst at any point at which the board was seen, `corner_px` at the worst corner of the picture.
    `plane_mm` is the worst on the inspection plane where the board lay, the plane's own error added in squares; NaN
    without a plane.
    """

    centre_px: float
    covered_px: float
    corner_px: float
    plane_mm: float


def budget(solution: Solution, plane: PlaneFit | None) -> Budget:
    """What rms and deviations come to, where it matters."""
    height, width = solution.calibration.image_hw
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    seen = _seen(solution)
    error = expected_error_px(solution, np.array([[width / 2, height / 2], *corners, *seen], np.float64))
    on_plane_mm = float("nan")
    if plane is not None:
        worst = float(expected_error_px(solution, plane.sighting.points.astype(np.float64)).max())
        on_plane_mm = float(np.hypot(worst * plane.mm_per_px, plane.rms_mm))
    return Budget(float(error[0]), float(error[5:].max()), float(error[1:5].max()), on_plane_mm)


def expected_error_px(solution: Solution, pixels: Doubles) -> Doubles:
    """(n,2) pixels of the picture -> (n,) one standard deviation of where their rays come out, pixels.

    Less what a small turn of the whole camera would take up: nobody can tell that from the camera's pose, as mrcal's
    projection uncertainty explains (https://mrcal.secretsauce.net/uncertainty.html).
    """
    calibration = solution.calibration
    seen_inner, seen_turn = _by_lens_and_turn(_seen(solution), calibration)
    taken_up = np.linalg.lstsq(seen_turn, seen_inner, rcond=None)[0]
    inner, turn = _by_lens_and_turn(pixels, calibration)
    blocks = (inner - turn @ taken_up).reshape(len(pixels), 2, -1)
    variance = np.einsum("nij,jk,nik->n", blocks, covariance(solution), blocks)
    return np.sqrt(np.asarray(variance, np.float64))


def covariance(solution: Solution) -> Doubles:
    """Of fx, fy, cx, cy and the distortion, in the order of the calibration; the views' poses are free.

    The deviations alone would not do: k1, k2 and k3 err together and mostly cancel. From the Gauss-Newton normal
    equations, poses taken out by the Schur complement (Triggs et al., Bundle Adjustment, 2000, section 6.1).
    """
    calibration, board = solution.calibration, object_points(solution.board)
    free = 4 + len(calibration.distortion)
    normal, squares, equations = np.zeros((free, free)), 0.0, 0
    for view in solution.views:
        rotation, translation = np.array(view.rotation), np.array(view.translation_mm)
        _, by_pose, by_camera = projected(board[view.sighting.ids], calibration, rotation, translation)
        rest = by_camera - by_pose @ np.linalg.lstsq(by_pose, by_camera, rcond=None)[0]
        normal += rest.T @ rest
        squares += float((view.residuals**2).sum())
        equations += view.residuals.size
    variance = squares / (equations - free - 6 * len(solution.views))
    return np.asarray(variance * np.linalg.pinv(normal, hermitian=True), np.float64)


def straightness(solution: Solution) -> tuple[Straightness, Straightness]:
    """Of the rows and columns of the board in all views: as the camera saw them, and undistorted."""
    return (
        _straightness([line for view in solution.views for line in lines(view.sighting, solution.board)]),
        _straightness(
            [
                undistorted(line, solution.calibration)
                for view in solution.views
                for line in lines(view.sighting, solution.board)
            ]
        ),
    )


def lines(sighting: Sighting, board: Board) -> Iterator[Doubles]:
    """The points (n,2) that lie on one straight line of the board, row by row and column by column, in order."""
    points = object_points(board)[sighting.ids]
    for along, across in ((0, 1), (1, 0)):
        for place in np.unique(points[:, across].round(6)):
            index = np.flatnonzero(np.isclose(points[:, across], place))
            if len(index) >= LEAST_ON_A_LINE:
                yield sighting.points[index[np.argsort(points[index, along])]].astype(np.float64)


def distorted(undistorted_px: Doubles, calibration: Calibration) -> Doubles:
    """(n,2) pixels of the undistorted picture -> (n,2) pixels of the camera's picture."""
    return projected(_rays(undistorted_px, calibration), calibration, np.zeros(3), np.zeros(3))[0]


def _seen(solution: Solution) -> Doubles:
    """(n,2) every measured point of every view."""
    points: Doubles = np.concatenate([view.sighting.points for view in solution.views]).astype(np.float64)
    return points


def _by_lens_and_turn(pixels: Doubles, calibration: Calibration) -> tuple[Doubles, Doubles]:
    """Jacobians of where the rays of these pixels come out: (2n, 4 + distortion) and (2n, 3) by a turn."""
    rays = _rays(undistorted(pixels, calibration), calibration)
    _, by_pose, by_camera = projected(rays, calibration, np.zeros(3), np.zeros(3))
    return by_camera, by_pose[:, :3]


def _rays(undistorted_px: Doubles, calibration: Calibration) -> Doubles:
    """(n,2) pixels of the undistorted picture -> (n,3) their rays, z = 1."""
    fx, fy, cx, cy = calibration.matrix
    return np.column_stack([(undistorted_px - (cx, cy)) / (fx, fy), np.ones(len(undistorted_px))])


def _straightness(found: list[Doubles]) -> Straightness:
    beside = np.concatenate([_beside(line) for line in found]) if found else np.array([np.nan])
    return Straightness(float(np.sqrt((beside**2).mean())), float(np.abs(beside).max()))


def _beside(line: Doubles) -> Doubles:
    """(n,) distances from the line of least squares."""
    centred = line - line.mean(axis=0)
    across = np.linalg.svd(centred, full_matrices=False)[2][1]
    distances: Doubles = centred @ across
    return distances
