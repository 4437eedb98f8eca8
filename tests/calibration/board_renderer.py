"""A test tool: pictures of calibration boards through a camera of which everything is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.calibration.boards import CIRCLE_DIAMETER, charuco_board, object_points, size_mm
from edge_inspector.calibration.records import Board
from edge_inspector.datatypes import Calibration

Doubles = npt.NDArray[np.float64]
Pattern = Callable[[Doubles, Doubles], npt.NDArray[Any]]
"""mm on the board -> whether there is ink, or paper."""

SAMPLES = 24  # of a pixel: an edge is right to a twenty-fourth of one
INSIDE_PX = 5
FAR = 1e9  # mm: of a ray that does not meet the board's plane
INK, PAPER, TABLE = 25.0, 225.0, 110.0


@dataclass(frozen=True)
class Pose:
    """Where the board lies, as OpenCV says it: Rodrigues vector and mm, from board to camera."""

    rotation: tuple[float, float, float]
    translation_mm: tuple[float, float, float]


def pose(rotation: npt.ArrayLike, translation_mm: npt.ArrayLike) -> Pose:
    """From a 3x3 rotation and a translation."""
    a, b, c = np.ravel(cv2.Rodrigues(np.asarray(rotation, np.float64))[0]).tolist()
    x, y, z = np.ravel(translation_mm).tolist()
    return Pose((a, b, c), (x, y, z))


def camera(calibration: Calibration) -> tuple[Doubles, Doubles]:
    """OpenCV's matrix and coefficients."""
    fx, fy, cx, cy = calibration.matrix
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(calibration.distortion)


def project(points_mm: npt.NDArray[np.floating], calibration: Calibration, pose: Pose) -> Doubles:
    """(n,3) mm on the board -> (n,2) pixels."""
    matrix, distortion = camera(calibration)
    how = cv2.fisheye.projectPoints if calibration.lens == "fisheye" else cv2.projectPoints
    rotation, translation = np.array(pose.rotation, np.float64), np.array(pose.translation_mm, np.float64)
    points = np.asarray(points_mm, np.float64).reshape(-1, 1, 3)
    return np.asarray(how(points, rotation, translation, matrix, distortion)[0], np.float64).reshape(-1, 2)


def render(
    board: Board, calibration: Calibration, pose: Pose, blur_px: float = 0.8, noise: float = 0.0, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """The board on a table, uint8 HxW: each pixel is the mean of its square, whose middle is its coordinate.

    `blur_px` is the sigma of the lens, `noise` that of the sensor in gray values.
    """
    x, y = _board_mm(calibration, pose)
    inked, on_paper = PATTERNS[board.kind](board), _paper(board)
    near = cv2.dilate(on_paper(x, y).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    steps = [[np.gradient(v, axis=axis)[near] for v in (x, y)] for axis in (1, 0)]
    total = np.zeros(np.count_nonzero(near))
    for right, down in _offsets():
        # within one pixel a ray's way over the board is straight: the lens bends over hundreds of pixels
        px, py = (v[near] + right * sx + down * sy for v, sx, sy in zip((x, y), *steps, strict=True))
        total += np.where(on_paper(px, py), np.where(inked(px, py), INK, PAPER), TABLE)
    picture: npt.NDArray[Any] = np.full(x.shape, TABLE)
    picture[near] = total / SAMPLES
    if blur_px:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    if noise:
        picture = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def poses(board: Board, calibration: Calibration, count: int, fill: float = 0.65) -> Iterator[Pose]:
    """`count` poses that lead the whole board over the picture, tilted by 20 to 45 degrees to all sides.

    `fill` is the share of the picture's width or height that the board takes, whichever it reaches first.
    """
    height, width = calibration.image_hw
    board_mm = np.array(size_mm(board))
    fx, fy = calibration.matrix[:2]
    away = max(board_mm[0] * fx / width, board_mm[1] * fy / height) / fill
    middle = object_points(board).mean(axis=0).astype(np.float64)
    points, found = object_points(board), 0
    for n in itertools.count():
        candidate = _pose(n, middle, away, fill, calibration)
        seen = project(points, calibration, candidate)
        if (seen > INSIDE_PX).all() and (seen < (width - INSIDE_PX, height - INSIDE_PX)).all():
            yield candidate
            found += 1
        if found == count:
            return


def _pose(n: int, middle: Doubles, away: float, fill: float, calibration: Calibration) -> Pose:
    height, width = calibration.image_hw
    around, tilt = np.radians(137.5 * n), np.radians(20 + 25 * (n % 4) / 3)  # the golden angle repeats no direction
    tilted = cv2.Rodrigues(tilt * np.array([np.cos(around), np.sin(around), 0.0]))[0]
    rotation = cv2.Rodrigues(np.array([0, 0, np.radians(40 * np.sin(1.7 * n))]))[0] @ tilted
    # about as far from the middle of the picture as the board still fits in
    share = (1 - fill) / 2 * 0.95
    seen = np.array([[width * (0.5 + share * np.cos(2.4 * n)), height * (0.5 + share * np.sin(2.4 * n))]])
    ray = rays_of(seen[None], calibration)[0, 0]
    translation = np.array([*ray, 1.0]) * away * (1.05 + 0.2 * (n % 3)) - rotation @ middle
    return pose(rotation, translation)


def _offsets() -> Iterator[tuple[float, float]]:
    """Evenly spread over the pixel, and no two at the same x or y, so that an edge along a row is smooth too."""
    for n in range(SAMPLES):
        yield (n + 0.5) / SAMPLES - 0.5, (n * 0.6180339887 + 0.5 / SAMPLES) % 1 - 0.5


def _board_mm(calibration: Calibration, pose: Pose) -> tuple[Doubles, Doubles]:
    """Where the ray of each pixel's middle meets the board, (h,w) mm each."""
    u, v = _pixel_rays(calibration)
    rotation = cv2.Rodrigues(np.array(pose.rotation, np.float64))[0]
    # board (x, y, 1) -> camera; a ray is the same up to its length, so the inverse takes rays to the board
    back = np.linalg.inv(np.column_stack([rotation[:, 0], rotation[:, 1], np.array(pose.translation_mm)]))
    x, y, w = (back[row, 0] * u + back[row, 1] * v + back[row, 2] for row in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(w > 0, x / w, FAR), np.where(w > 0, y / w, FAR)


@lru_cache(maxsize=4)
def _pixel_rays(calibration: Calibration) -> tuple[Doubles, Doubles]:
    height, width = calibration.image_hw
    rays = rays_of(np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float64), calibration)
    return rays[..., 0], rays[..., 1]


def rays_of(pixels: Doubles, calibration: Calibration) -> Doubles:
    """(h,w,2) pixels -> x/z and y/z of their rays, by OpenCV's own inverse run until it stands still."""
    matrix, distortion = camera(calibration)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 200, 1e-12)
    flat = pixels.reshape(-1, 1, 2)
    if calibration.lens == "fisheye":
        rays = cv2.fisheye.undistortPoints(flat, matrix, distortion, criteria=until)
    elif hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
        rays = cv2.undistortPointsIter(flat, matrix, distortion, None, None, until)
    else:
        rays = cv2.undistortPoints(flat, matrix, distortion, criteria=until)
    return np.asarray(rays, np.float64).reshape(pixels.shape)


def _paper(board: Board) -> Pattern:
    """The sheet: the printed area with a margin of one pitch, in coordinates whose origin is the first point."""
    left, top = _origin(board)
    width, height = size_mm(board)
    pitch = board.pitch_mm
    return lambda x, y: (
        (abs(x + left - width / 2) < width / 2 + pitch) & (abs(y + top - height / 2) < height / 2 + pitch)
    )


def _origin(board: Board) -> tuple[float, float]:
    """How far the first point lies from the upper left corner of the printed area, mm."""
    if board.kind == "circles":
        return (CIRCLE_DIAMETER / 2 * board.pitch_mm,) * 2
    return (board.pitch_mm,) * 2


def _chessboard(board: Board) -> Pattern:
    def inked(x: Doubles, y: Doubles) -> npt.NDArray[Any]:
        column, row = np.floor(x / board.pitch_mm) + 1, np.floor(y / board.pitch_mm) + 1
        inside = (column >= 0) & (column <= board.columns) & (row >= 0) & (row <= board.rows)
        return np.asarray(inside & ((column + row) % 2 == 0))

    return inked


def _circles(board: Board) -> Pattern:
    def inked(x: Doubles, y: Doubles) -> npt.NDArray[Any]:
        row = np.clip(np.rint(y / board.pitch_mm), 0, board.rows - 1)
        column = np.clip(np.rint((x / board.pitch_mm - row % 2) / 2), 0, board.columns - 1)
        away = np.hypot(x - (2 * column + row % 2) * board.pitch_mm, y - row * board.pitch_mm)
        return np.asarray(away < CIRCLE_DIAMETER / 2 * board.pitch_mm)

    return inked


def _charuco(board: Board) -> Pattern:
    """Black squares, and in the white ones the markers' modules, from OpenCV's own list of where they are."""
    squares = charuco_board(board)
    dictionary = squares.getDictionary()
    modules = dictionary.markerSize + 2
    ink = np.zeros((board.rows, board.columns, modules, modules), bool)
    white = np.zeros((board.rows, board.columns), bool)
    for number, corners in zip(np.ravel(squares.getIds()), squares.getObjPoints(), strict=True):
        column, row = (int(v) for v in np.asarray(corners)[:, :2].mean(axis=0) // board.pitch_mm)
        ink[row, column] = cv2.aruco.generateImageMarker(dictionary, int(number), modules, borderBits=1) == 0
        white[row, column] = True
    margin = (board.pitch_mm - board.marker_mm) / 2

    def inked(x: Doubles, y: Doubles) -> npt.NDArray[Any]:
        x, y = x + board.pitch_mm, y + board.pitch_mm
        column, row = (np.floor(v / board.pitch_mm).astype(int) for v in (x, y))
        inside = (column >= 0) & (column < board.columns) & (row >= 0) & (row < board.rows)
        column, row = np.clip(column, 0, board.columns - 1), np.clip(row, 0, board.rows - 1)
        across = (
            (x - column * board.pitch_mm - margin) / board.marker_mm * modules,
            (y - row * board.pitch_mm - margin) / board.marker_mm * modules,
        )
        i, j = (np.floor(v).astype(int) for v in across)
        in_marker = (i >= 0) & (i < modules) & (j >= 0) & (j < modules)
        bit = ink[row, column, np.clip(j, 0, modules - 1), np.clip(i, 0, modules - 1)]
        return inside & np.where(white[row, column], in_marker & bit, True)

    return inked


PATTERNS: dict[str, Callable[[Board], Pattern]] = {"chessboard": _chessboard, "circles": _circles, "charuco": _charuco}
