from __future__ import annotations

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from board_renderer import Pose, project, rays_of, render
from hypothesis import given
from lenses import BARREL, FISHEYE, RATIONAL

from edge_inspector.calibration.boards import (
    board_text,
    charuco_board,
    object_points,
    parse_board,
    point_count,
    size_mm,
)
from edge_inspector.calibration.records import Board
from edge_inspector.datatypes import Calibration
from edge_inspector.errors import ConfigError

CHESSBOARD, CHARUCO, CIRCLES = "chessboard:9x6:25mm", "charuco:5x7:30mm:22mm:DICT_6X6_250", "circles:4x11:20.5mm"
STRAIGHT = Calibration((600, 800), (800.0, 800.0, 399.5, 299.5), (0.0,) * 5)


@pytest.mark.parametrize(
    ("text", "board", "points", "size"),
    [
        (CHESSBOARD, Board("chessboard", 9, 6, 25.0), 54, (250.0, 175.0)),
        (CHARUCO, Board("charuco", 5, 7, 30.0, 22.0, "DICT_6X6_250"), 24, (150.0, 210.0)),
        # spots of 0.7 pitches, eight half-steps across and ten down
        (CIRCLES, Board("circles", 4, 11, 20.5), 44, (7.7 * 20.5, 10.7 * 20.5)),
    ],
)
def test_a_board_is_what_its_text_says(text: str, board: Board, points: int, size: tuple[float, float]) -> None:
    assert parse_board(text) == board
    assert board_text(board) == text
    assert point_count(board) == len(object_points(board)) == points
    assert size_mm(board) == pytest.approx(size)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("", "kind ''", id="nothing"),
        pytest.param("chess:9x6:25mm", "kind 'chess'", id="another kind"),
        pytest.param("chessboard:9x6", "1 parts after the kind", id="no pitch"),
        pytest.param("chessboard:9x6:25mm:1", "3 parts after the kind", id="a part too many"),
        pytest.param("chessboard:9:25mm", "size '9'", id="no rows"),
        pytest.param("chessboard:2x6:25mm", "size '2x6'", id="too few columns"),
        pytest.param("chessboard:9x101:25mm", "size '9x101'", id="too many rows"),
        pytest.param("chessboard:9x6:25", "length '25'", id="no unit"),
        pytest.param("chessboard:9x6:2,5mm", "length '2,5mm'", id="a comma"),
        pytest.param("chessboard:9x6:0mm", "length '0mm'", id="no length"),
        pytest.param("chessboard:9x6:20000mm", "length '20000mm'", id="twenty metres"),
        pytest.param("chessboard:٩x6:25mm", "size '٩x6'", id="another script's digits"),
        pytest.param("charuco:5x7:22mm:30mm:DICT_6X6_250", "marker '30mm'", id="a marker larger than its square"),
        pytest.param("charuco:5x7:30mm:22mm:DICT_6X6", "dictionary 'DICT_6X6'", id="an unknown dictionary"),
        pytest.param("charuco:50x7:30mm:22mm:DICT_4X4_50", "need 175 markers", id="more markers than there are"),
    ],
)
def test_a_wrong_text_names_the_part_and_shows_an_example(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_board(text)
    assert part in str(caught.value)
    assert any(example in str(caught.value) for example in ("chessboard:9x6:25mm", CHARUCO))


@given(st.text(alphabet="chesboardcuilX_x0123456789:.m", max_size=40) | st.text())
def test_any_text_is_a_board_or_an_error_in_words(text: str) -> None:
    try:
        board = parse_board(text)
    except ConfigError:
        return
    assert parse_board(board_text(board)) == board


@given(st.sampled_from(["chessboard", "circles"]), st.integers(3, 100), st.integers(5, 100), st.integers(1, 10_000_000))
def test_a_board_survives_its_text(kind: str, columns: int, rows: int, microns: int) -> None:
    board = parse_board(f"{kind}:{columns}x{rows}:{microns / 1000:.3f}mm")
    assert parse_board(board_text(board)) == board


def test_charuco_points_are_those_of_opencv() -> None:
    board = parse_board(CHARUCO)
    theirs = np.asarray(charuco_board(board).getChessboardCorners())
    assert object_points(board) == pytest.approx(theirs - theirs[0])


def test_circle_points_are_those_of_opencvs_own_calibration_sample() -> None:
    points = object_points(parse_board(CIRCLES))
    sample = [((2 * column + row % 2) * 20.5, row * 20.5, 0) for row in range(11) for column in range(4)]
    assert points == pytest.approx(np.array(sample))


@pytest.mark.parametrize("calibration", [BARREL, RATIONAL, FISHEYE])
def test_the_renderers_rays_go_back_to_their_pixels(calibration: Calibration) -> None:
    pixels = np.dstack(np.meshgrid(np.arange(60.0, 800, 85), np.arange(40.0, 600, 65)))
    rays = rays_of(pixels, calibration).reshape(-1, 2)
    back = project(np.column_stack([rays, np.ones(len(rays))]), calibration, Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    assert back == pytest.approx(pixels.reshape(-1, 2), abs=1e-4)


def test_a_rendered_charuco_board_is_opencvs_own_drawing() -> None:
    """The test tool against an independent drawing: a frontal view at 2 px/mm, without lens blur."""
    board = parse_board("charuco:5x7:32mm:24mm:DICT_6X6_250")
    # 5 x 7 squares of 64 px; the first corner's middle between pixels, 144 px left and 160 px above the image's middle
    picture = render(board, STRAIGHT, Pose((0.0, 0.0, 0.0), (-48.0, -80.0, 400.0)), blur_px=0)
    theirs = np.asarray(charuco_board(board).generateImage((320, 448), marginSize=0, borderBits=1))
    left, top = 400 - 96 - 64, 300 - 160 - 64
    ours = picture[top : top + 448, left : left + 320]
    # nearest-pixel drawings differ on edges only
    inside = cv2.dilate(cv2.morphologyEx(theirs, cv2.MORPH_GRADIENT, np.ones((3, 3))), np.ones((3, 3))) == 0
    assert inside.mean() > 0.5
    assert ((ours > 125) == (theirs > 125))[inside].all()


def test_a_rendered_spot_has_its_weight_where_it_is_projected() -> None:
    """The test tool's half pixels: seen squarely, the centre of gravity is the centre."""
    board = parse_board("circles:4x11:20mm")
    pose = Pose((0.0, 0.0, 0.0), (-63.3, -99.7, 500.0))
    dark = 225.0 - render(board, STRAIGHT, pose, blur_px=0).astype(np.float64)
    for x, y in project(object_points(board), STRAIGHT, pose):
        left, top = round(x) - 18, round(y) - 18
        window = dark[top : top + 37, left : left + 37]
        rows, columns = np.indices(window.shape)
        weight = (window * columns).sum() / window.sum() + left, (window * rows).sum() / window.sum() + top
        assert weight == pytest.approx((x, y), abs=0.01)


@pytest.mark.parametrize("text", ["circles:3x4:20mm", "charuco:3x3:30mm:22mm:DICT_6X6_250"])
def test_a_board_too_small_to_be_found_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="points, expected at least"):
        parse_board(text)
