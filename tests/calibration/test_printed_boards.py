"""Printed boards: at true scale by the PDF's own coordinates, and found in a raster of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_inspector.calibration.boards import EXAMPLES, board_text, object_points, parse_board, size_mm
from edge_inspector.calibration.detect import find_board
from edge_inspector.calibration.printed import MARGIN_MM, board_pdf, place
from edge_inspector.errors import ConfigError

POINTS_PER_MM = 72 / 25.4
DPI = 300
ALL = list(EXAMPLES.values())

pytest.importorskip("matplotlib", reason="boards are drawn by matplotlib, of the extra calibrate")


@cache
def drawn(text: str, paper: str = "A4") -> bytes:
    return board_pdf(parse_board(text), paper)


def drawing(pdf: bytes) -> str:
    """The page's own drawing commands."""
    streams = [zlib.decompress(packed) for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)]
    return next(text for text in (stream.decode("latin-1") for stream in streams) if "BT" in text)


def corners_mm(pdf: bytes) -> np.ndarray:
    """(n,2) every point to which a pen moves or draws a line, mm from the sheet's lower left corner."""
    found = re.findall(r"^([-\d.]+) ([-\d.]+) [ml]$", drawing(pdf), re.MULTILINE)
    return np.array(found, float) / POINTS_PER_MM


def sheet_mm(pdf: bytes) -> tuple[float, float]:
    match = re.search(rb"/MediaBox \[ ?([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+) ?\]", pdf)
    assert match
    left, bottom, right, top = (float(v) / POINTS_PER_MM for v in match.groups())
    assert (left, bottom) == (0, 0)
    return right, top


def test_the_sheet_is_the_papers_size_upright_or_on_its_side() -> None:
    assert sheet_mm(drawn(EXAMPLES["charuco"])) == pytest.approx((210, 297), abs=1e-3)
    assert sheet_mm(drawn(EXAMPLES["chessboard"], "a4")) == pytest.approx((297, 210), abs=1e-3)


def test_squares_of_a_chessboard_have_the_pitch_in_the_pdfs_own_coordinates() -> None:
    """5x4 inner corners, 12.5 mm: lines between squares at 0, 12.5, ... 75 mm across and to 62.5 mm down."""
    pdf = board_pdf(parse_board("chessboard:5x4:12.5mm"), "A4")
    placed = place(parse_board("chessboard:5x4:12.5mm"), "A4")
    inside = corners_mm(pdf)
    inside = inside[inside[:, 1] > placed.top - 62.6]
    assert np.unique((inside[:, 0] - placed.left).round(4)).tolist() == [12.5 * n for n in range(7)]
    assert np.unique((placed.top - inside[:, 1]).round(4)).tolist() == [12.5 * n for n in range(6)]


def test_markers_of_a_charuco_have_their_side_in_the_pdfs_own_coordinates() -> None:
    """30 mm squares, 22 mm markers of 8 x 8 cells: each begins 4 mm inside of its square, its lines 2.75 mm apart."""
    board = parse_board(EXAMPLES["charuco"])
    placed = place(board, "A4")
    points = corners_mm(drawn(board_text(board)))
    across = points[points[:, 1] > placed.top - 210.1][:, 0] - placed.left  # without the ruler
    second_square = across[(across > 30.1) & (across < 59.9)]
    assert np.unique(second_square.round(4)).tolist() == [34 + 2.75 * n for n in range(9)]


@pytest.mark.parametrize("text", ALL)
def test_the_ruler_is_100_mm_long(text: str) -> None:
    """The longest line of the strip below the board."""
    board = parse_board(text)
    placed = place(board, "A4")
    points = corners_mm(drawn(board_text(board)))
    strip = points[points[:, 1] < placed.top - size_mm(board)[1] - 0.1]
    assert np.ptp(strip[:, 0]) == pytest.approx(100, abs=1e-4)
    assert strip[:, 1].min() > MARGIN_MM


def test_the_same_board_gives_the_same_file() -> None:
    assert board_pdf(parse_board(EXAMPLES["charuco"]), "A4") == drawn(EXAMPLES["charuco"])


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    if shutil.which("pdftoppm") is None:
        pytest.skip("pdftoppm is not installed (Debian: poppler-utils)")
    return tmp_path / "board"


@pytest.mark.parametrize("text", [*ALL, "charuco:8x6:20mm:15mm:DICT_4X4_50", "chessboard:7x7:20mm"])
def test_a_printed_board_is_found_in_true_scale(text: str, raster: Path) -> None:
    """Poppler draws the page, the detector finds the board: its pitch is what a printer would print."""
    board = parse_board(text)
    raster.with_suffix(".pdf").write_bytes(drawn(board_text(board)))
    command = ["pdftoppm", "-r", str(DPI), "-gray", "-png", "-singlefile", f"{raster}.pdf", str(raster)]
    subprocess.run(command, check=True, timeout=60)
    gray = cv2.imread(f"{raster}.png", cv2.IMREAD_GRAYSCALE)
    sighting = find_board(gray, board, "raster")
    assert sighting is not None
    assert len(sighting.ids) == len(object_points(board))
    on_board = object_points(board)[sighting.ids, :2].astype(np.float64)
    to_pixels, _ = cv2.estimateAffinePartial2D(on_board, sighting.points)
    px_per_mm = float(np.hypot(to_pixels[0, 0], to_pixels[1, 0]))
    assert px_per_mm == pytest.approx(DPI / 25.4, rel=5e-4)
    errors = on_board @ to_pixels[:, :2].T + to_pixels[:, 2] - sighting.points
    assert np.abs(errors).max() < 0.5  # px: 0.04 mm


def test_the_text_for_the_command_line_is_on_the_page(raster: Path) -> None:
    board = parse_board(EXAMPLES["charuco"])
    raster.with_suffix(".pdf").write_bytes(drawn(board_text(board)))
    said = subprocess.run(
        ["pdftotext", f"{raster}.pdf", "-"], check=True, timeout=60, capture_output=True, text=True
    ).stdout
    assert f"--board {board_text(board)}" in said
    assert "100 mm" in said
    assert "Print at 100 %" in said


@pytest.mark.parametrize(
    ("text", "paper", "said"),
    [
        pytest.param("charuco:5x7:40mm:30mm:DICT_6X6_250", "A4", "200 x 280 mm.*fit on A4: it fits on A3", id="larger"),
        pytest.param("chessboard:9x6:25mm", "A5", "fit on A5: it fits on A4", id="the smallest that does"),
        pytest.param("chessboard:9x6:200mm", "A0", "no paper up to A0", id="none does"),
        pytest.param("chessboard:3x3:5mm", "A7", "paper 'A7' is not known; expected one of A5, Letter", id="unknown"),
    ],
)
def test_a_board_that_does_not_fit_is_refused_with_what_would(text: str, paper: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        board_pdf(parse_board(text), paper)


@pytest.mark.parametrize("paper", ["A5", "Letter", "A0"])
def test_nothing_is_drawn_into_the_printers_margin(paper: str) -> None:
    board = parse_board("chessboard:4x5:20mm")
    points = corners_mm(board_pdf(board, paper))
    width, height = place(board, paper).sheet_mm
    assert points.min() >= MARGIN_MM
    assert (points.max(axis=0) <= (width - MARGIN_MM, height - MARGIN_MM)).all()


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'edge-inspector\[calibrate\]'"):
        board_pdf(parse_board(EXAMPLES["charuco"]), "A4")
