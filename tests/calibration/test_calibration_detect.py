from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from board_renderer import Pose, pose, poses, project, render
from lenses import BARREL

from edge_inspector.calibration.boards import object_points, parse_board
from edge_inspector.calibration.detect import as_gray, find_board
from edge_inspector.calibration.records import Board
from edge_inspector.datatypes import Calibration, PixelFormat
from edge_inspector.errors import ConfigError

CHESSBOARD, CHARUCO, CIRCLES = map(
    parse_board, ("chessboard:9x6:25mm", "charuco:7x5:30mm:22mm:DICT_6X6_250", "circles:4x11:20mm")
)
BOARDS = pytest.mark.parametrize("board", [CHESSBOARD, CHARUCO, CIRCLES], ids=lambda board: board.kind)


def pose_at(board: Board, roll_deg: float, away_mm: float, tilt_deg: float = 0.0) -> Pose:
    """The board's middle on the optical axis."""
    roll = cv2.Rodrigues(np.array([0, 0, np.radians(roll_deg)]))[0]
    rotation = roll @ cv2.Rodrigues(np.array([np.radians(tilt_deg), 0, 0]))[0]
    return pose(rotation, np.array([0, 0, away_mm]) - rotation @ object_points(board).mean(axis=0))


def errors_px(picture: np.ndarray, board: Board, camera: Calibration, pose: Pose) -> np.ndarray:
    sighting = find_board(picture, board, "a.png")
    assert sighting is not None
    assert (sighting.name, sighting.image_hw) == ("a.png", camera.image_hw)
    truth = project(object_points(board), camera, pose)[sighting.ids]
    return np.asarray(np.linalg.norm(sighting.points - truth, axis=1))


@BOARDS
@pytest.mark.parametrize("roll_deg", [5, 95, 185, 275])
def test_points_are_right_to_a_tenth_of_a_pixel_and_turn_with_the_board(board: Board, roll_deg: float) -> None:
    where = pose_at(board, roll_deg, 520, tilt_deg=20)
    errors = errors_px(render(board, BARREL, where, noise=2.0), board, BARREL, where)
    assert len(errors) == len(object_points(board))
    assert errors.mean() < 0.1
    assert errors.max() < 0.25


@BOARDS
@pytest.mark.parametrize(("hw", "away_mm"), [((300, 400), 380), ((1200, 1600), 450)])
def test_large_and_small_boards_are_found(board: Board, hw: tuple[int, int], away_mm: float) -> None:
    camera = Calibration(hw, (0.9 * hw[1], 0.9 * hw[1], hw[1] / 2 - 0.5, hw[0] / 2 - 0.5), (-0.1, 0.0, 0.0, 0.0))
    where = pose_at(board, 15, away_mm, tilt_deg=10)
    errors = errors_px(render(board, camera, where, noise=2.0), board, camera, where)
    assert len(errors) == len(object_points(board))
    assert errors.mean() < 0.15


@BOARDS
def test_a_dim_board_is_found(board: Board) -> None:
    where = pose_at(board, 10, 520, tilt_deg=15)
    dim = (render(board, BARREL, where).astype(np.float64) * 0.25 + 5).astype(np.uint8)
    assert errors_px(dim, board, BARREL, where).mean() < 0.15


def test_light_circles_on_a_dark_board_are_found() -> None:
    where = pose_at(CIRCLES, 10, 520, tilt_deg=15)
    assert errors_px(255 - render(CIRCLES, BARREL, where), CIRCLES, BARREL, where).mean() < 0.1


@pytest.mark.parametrize("text", ["chessboard:8x6:25mm", "chessboard:7x7:25mm", "circles:4x10:20mm"])
def test_a_board_that_looks_the_same_upside_down_begins_at_the_upper_left(text: str) -> None:
    board = parse_board(text)
    for roll_deg in (5, 185):
        picture = render(board, BARREL, pose_at(board, roll_deg, 520))
        sighting = find_board(picture, board, "a.png")
        assert sighting is not None
        assert sighting.points[0].sum() < sighting.points[-1].sum()


def test_part_of_a_charuco_board_is_used_with_the_right_numbers() -> None:
    where = pose_at(CHARUCO, 5, 520)
    picture = render(CHARUCO, BARREL, where)
    picture[:, 430:] = 110
    sighting = find_board(picture, CHARUCO, "half.png")
    assert sighting is not None
    assert 6 <= len(sighting.ids) < 24
    truth = project(object_points(CHARUCO), BARREL, where)[sighting.ids]
    assert np.linalg.norm(sighting.points - truth, axis=1).max() < 0.25


def test_too_small_a_part_of_a_charuco_board_is_no_sighting() -> None:
    picture = render(CHARUCO, BARREL, pose_at(CHARUCO, 0, 520))
    picture[:, 300:] = 110
    assert find_board(picture, CHARUCO, "corner.png") is None


@BOARDS
def test_a_picture_without_the_board_is_no_sighting(board: Board) -> None:
    other = CIRCLES if board.kind == "chessboard" else CHESSBOARD
    pictures = [
        np.full((600, 800), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (600, 800), np.uint8),
        render(other, BARREL, next(poses(other, BARREL, 1))),
    ]
    assert [find_board(picture, board, "a.png") for picture in pictures] == [None] * 3


@pytest.mark.parametrize("picture", [np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint16)])
def test_a_picture_that_is_not_gray_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 height x width: see as_gray"):
        find_board(picture, CHESSBOARD, "a.png")


RGB = (200, 100, 40)
LUMA = round(0.299 * RGB[0] + 0.587 * RGB[1] + 0.114 * RGB[2])


def shot(pixel_format: PixelFormat) -> np.ndarray:
    """A plain surface of the colour RGB, as a camera with that format sends it."""
    red, green, blue = RGB
    if pixel_format in ("BGR8", "RGB8"):
        return np.full((8, 8, 3), RGB if pixel_format == "RGB8" else RGB[::-1], np.uint8)
    if pixel_format.startswith("Mono"):
        cell = [[LUMA, LUMA], [LUMA, LUMA]]
    else:
        cell = {  # the first two pixels of the first row give the name
            "RG": [[red, green], [green, blue]],
            "GB": [[green, blue], [red, green]],
            "GR": [[green, red], [blue, green]],
            "BG": [[blue, green], [green, red]],
        }[pixel_format[5:7]]
    pixels = np.tile(np.array(cell, np.uint8), (4, 4))
    return pixels.astype(np.uint16) << 4 if pixel_format.endswith("12") else pixels


@pytest.mark.parametrize("pixel_format", get_args(PixelFormat))
def test_every_pixel_format_becomes_the_same_gray(pixel_format: PixelFormat) -> None:
    gray = as_gray(shot(pixel_format), pixel_format)
    assert gray.dtype == np.uint8
    assert gray.shape == (8, 8)
    assert abs(gray[2:-2, 2:-2].astype(int) - LUMA).max() <= 1


@pytest.mark.parametrize(("shown", "told"), [("BGR8", "Mono8"), ("Mono8", "Mono12"), ("Mono8", "RGB8")])
def test_pixels_of_another_format_are_refused(shown: PixelFormat, told: PixelFormat) -> None:
    with pytest.raises(ConfigError, match=f"a {told} picture came as .*correct pixel_format"):
        as_gray(shot(shown), told)


@pytest.mark.realdata
def test_all_24_corners_of_the_charuco_photo_are_found(real: Path) -> None:
    photo = as_gray(np.asarray(cv2.imread(str(real / "aruco_charuco" / "choriginal.jpg"))), "BGR8")
    board = parse_board("charuco:5x7:30mm:22mm:DICT_6X6_250")
    sighting = find_board(photo, board, "choriginal.jpg")
    assert sighting is not None
    assert sighting.ids.tolist() == list(range(24))
    # numbers and places belong together: a flat board under one homography, up to this lens' bending
    plane, _ = cv2.findHomography(object_points(board)[:, :2], sighting.points)
    ideal = cv2.perspectiveTransform(object_points(board)[:, None, :2], plane)[:, 0]
    assert np.linalg.norm(ideal - sighting.points, axis=1).max() < 2.0
