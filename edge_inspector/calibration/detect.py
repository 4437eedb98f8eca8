"""Find a calibration board in a picture, to a small part of a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.calibration.boards import charuco_board, point_count
from edge_inspector.calibration.records import Board, Picture, Sighting
from edge_inspector.datatypes import Floats, PixelFormat
from edge_inspector.errors import ConfigError

Gray = npt.NDArray[np.uint8]

FEWEST_CHARUCO = 6
"""Corners of a partial view that are worth using: a pose has six unknowns, six corners give twelve equations."""
SUBPIX_SHARE = 0.3  # of the shortest distance between neighbours: the window must not touch the next corner
SUBPIX_HALF_PX = (2, 11)
FINDING_SIDE_PX = 1000
"""Boards are found in pictures of at most this size, and measured in the whole one: large ones take too long."""
SMALLEST_SPOT_PX = 20.0
"""Area: a circle five pixels across."""
MOST_SPOTS = 4  # times as many as the board has: sorting the grains of a rough surface takes minutes
SPOT_EDGE = 0.2  # of the way from paper to ink: what is lighter is noise
UNTIL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-4)

_TO_GRAY: Mapping[PixelFormat, int] = {
    "BGR8": cv2.COLOR_BGR2GRAY,
    "RGB8": cv2.COLOR_RGB2GRAY,
    "BayerRG8": cv2.COLOR_BayerRGGB2GRAY,
    "BayerGB8": cv2.COLOR_BayerGBRG2GRAY,
    "BayerGR8": cv2.COLOR_BayerGRBG2GRAY,
    "BayerBG8": cv2.COLOR_BayerBGGR2GRAY,
    "BayerRG12": cv2.COLOR_BayerRGGB2GRAY,
    "BayerGB12": cv2.COLOR_BayerGBRG2GRAY,
    "BayerGR12": cv2.COLOR_BayerGRBG2GRAY,
    "BayerBG12": cv2.COLOR_BayerBGGR2GRAY,
}


def as_gray(pixels: Picture, pixel_format: PixelFormat) -> Gray:
    """HxW uint8 of a camera's picture. ConfigError: the pixels are not what the format says."""
    colour = pixel_format in ("BGR8", "RGB8")
    dtype = np.uint16 if pixel_format.endswith("12") else np.uint8
    if pixels.dtype != dtype or pixels.ndim != (3 if colour else 2) or (colour and pixels.shape[2] != 3):
        raise ConfigError(
            f"a {pixel_format} picture came as {pixels.dtype} {pixels.shape}, expected {np.dtype(dtype).name} "
            f"height x width{' x 3' if colour else ''}; correct pixel_format"
        )
    if dtype == np.uint16:
        pixels = np.minimum(pixels >> 4, 255).astype(np.uint8)
    code = _TO_GRAY.get(pixel_format)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code))


def find_board(gray: Gray, board: Board, name: str) -> Sighting | None:
    """The board in one picture (uint8 HxW); None = it is not there, or too little of it.

    The same corner of the board is point 0 in every picture, wherever its pattern allows to tell.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8:
        raise ValueError(f"find_board got {gray.dtype} {gray.shape}, expected uint8 height x width: see as_gray")
    if board.kind == "charuco":
        found = _charuco(gray, board)
    else:
        points = _chessboard(gray, board) if board.kind == "chessboard" else _circles(gray, board)
        found = None if points is None else (np.arange(len(points), dtype=np.int64), points)
    if found is None:
        return None
    ids, points = found
    return Sighting(name, (gray.shape[0], gray.shape[1]), ids, points)


def _chessboard(gray: Gray, board: Board) -> Floats | None:
    size, (small, scale) = (board.columns, board.rows), _reduced(gray)
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE
    # without the fast check, a picture of rough metal without a board takes minutes
    found, corners = cv2.findChessboardCorners(
        small, size, flags=flags | cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_FAST_CHECK
    )
    if not found:  # finds boards in worse light; it comes second because it is ten times slower where both find one
        found, corners = cv2.findChessboardCornersSB(small, size, flags=flags)
    if not found:
        return None
    grid = _refined(gray, _enlarged(corners, scale).reshape(board.rows, board.columns, 2))
    turns = (0, 1, 2, 3) if board.rows == board.columns else (0, 2)
    return _upright([_right_handed(np.rot90(grid, turn)) for turn in turns], gray)


def _reduced(gray: Gray) -> tuple[Gray, float]:
    """The picture with at most `FINDING_SIDE_PX` a side, and how many of its pixels one of that is."""
    scale = max(1.0, max(gray.shape) / FINDING_SIDE_PX)
    if scale == 1.0:
        return gray, scale
    wh = (round(gray.shape[1] / scale), round(gray.shape[0] / scale))
    return np.asarray(cv2.resize(gray, wh, interpolation=cv2.INTER_AREA), np.uint8), scale


def _enlarged(points: npt.ArrayLike, scale: float) -> Floats:
    """A pixel's coordinate is its middle: the edges of both pictures lie at -0.5."""
    return _floats((_floats(points) + 0.5) * scale - 0.5)


def _refined(gray: Gray, grid: Floats) -> Floats:
    gaps = [np.linalg.norm(np.diff(grid, axis=axis), axis=2).min() for axis in (0, 1)]
    half = int(np.clip(SUBPIX_SHARE * min(gaps), *SUBPIX_HALF_PX))
    flat = np.ascontiguousarray(grid.reshape(-1, 1, 2), np.float32)
    return _floats(cv2.cornerSubPix(gray, flat, (half, half), (-1, -1), UNTIL)).reshape(grid.shape)


def _right_handed(grid: Floats) -> Floats:
    """The columns' order such that the board is seen from its front: rows go down where columns go right."""
    right, down = (grid[:, -1] - grid[:, 0]).mean(axis=0), (grid[-1] - grid[0]).mean(axis=0)
    return grid if right[0] * down[1] - right[1] * down[0] > 0 else grid[:, ::-1]


def _upright(grids: Sequence[Floats], gray: Gray) -> Floats:
    """Of the ways to count a chessboard: begin at a black corner; where colours do not tell, upper left."""
    black = [grid for grid in grids if _begins_black(grid, gray)] or grids
    return _upper_left(black)


def _begins_black(grid: Floats, gray: Gray) -> bool:
    """Whether the squares of the first one's colour are the darker ones."""
    middles = np.rint((grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4).astype(int)
    x, y = (np.clip(middles[..., axis], 0, gray.shape[1 - axis] - 1) for axis in (0, 1))
    odd = np.indices(x.shape).sum(axis=0) % 2 == 1
    return bool(gray[y, x][~odd].mean() < gray[y, x][odd].mean())


def _upper_left(grids: Sequence[Floats]) -> Floats:
    return np.asarray(min(grids, key=lambda grid: float(grid[0, 0].sum()))).reshape(-1, 2)


def _charuco(gray: Gray, board: Board) -> tuple[npt.NDArray[np.int64], Floats] | None:
    corners, ids, _, _ = cv2.aruco.CharucoDetector(charuco_board(board)).detectBoard(gray)
    if ids is None or len(ids) < FEWEST_CHARUCO:
        return None
    return np.asarray(ids, np.int64).ravel(), _floats(corners).reshape(-1, 2)


def _circles(gray: Gray, board: Board) -> Floats | None:
    """Centres of the dark spots, or of the light ones on a dark board.

    The middle of a spot's picture is not quite the picture of its middle. Measured on rendered boards of 800x600: 0.05
    px, nearly the same for all spots of a view, and less than 0.05 % of the focal length.
    """
    small, scale = _reduced(gray)
    even = cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX)
    detector = _blob_detector(small.size / point_count(board))
    for picture in (even, cv2.bitwise_not(even)):
        spots = cv2.KeyPoint.convert(detector.detect(picture))
        if not point_count(board) <= len(spots) <= MOST_SPOTS * point_count(board):
            continue
        for how in (cv2.CALIB_CB_CLUSTERING, 0):  # clustering bears more tilt, the other one more clutter
            found, centres = cv2.findCirclesGrid(  # type: ignore[call-overload]  # its hints do not know points
                np.reshape(spots, (-1, 1, 2)),
                (board.columns, board.rows),
                flags=cv2.CALIB_CB_ASYMMETRIC_GRID | how,
                blobDetector=None,
                parameters=cv2.CirclesGridFinderParameters(),
            )
            if found:
                grid = _centred(gray, _enlarged(centres, scale)).reshape(board.rows, board.columns, 2)
                # an even number of rows looks the same upside down
                return _upper_left([grid, grid[::-1, ::-1]] if board.rows % 2 == 0 else [grid])
    return None


def _centred(gray: Gray, points: npt.NDArray[np.float32]) -> Floats:
    """Each spot's centre of gravity, in a window that reaches half-way to the next spot."""
    points = points.reshape(-1, 2)
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(away, np.inf)
    return _floats([_centre(gray, point, gap / 2) for point, gap in zip(points, away.min(axis=0), strict=True)])


def _centre(gray: Gray, point: npt.NDArray[np.float32], reach: float) -> tuple[float, float]:
    left, top = (max(0, math.ceil(v - reach)) for v in point)
    window = gray[top : math.floor(point[1] + reach) + 1, left : math.floor(point[0] + reach) + 1].astype(np.float64)
    y, x = np.indices(window.shape)
    inside = np.hypot(x + left - point[0], y + top - point[1]) <= reach
    paper = float(np.median(window[inside & (np.hypot(x + left - point[0], y + top - point[1]) > 0.8 * reach)]))
    ink = float(window[round(float(point[1])) - top, round(float(point[0])) - left])
    weight = np.where(inside, np.clip((window - paper) / (ink - paper) - SPOT_EDGE, 0, 1), 0)
    return float((weight * x).sum() / weight.sum()) + left, float((weight * y).sum() / weight.sum()) + top


def _blob_detector(largest_px: float) -> cv2.SimpleBlobDetector:
    """Spots of any size: up to the share of the picture that each can have at most, in px of area."""
    wanted = cv2.SimpleBlobDetector.Params()
    wanted.minArea, wanted.maxArea = SMALLEST_SPOT_PX, largest_px
    wanted.minDistBetweenBlobs = SMALLEST_SPOT_PX**0.5
    wanted.minConvexity = 0.8  # the edge of a spot of few pixels is jagged
    return cv2.SimpleBlobDetector.create(wanted)


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, np.float32)
