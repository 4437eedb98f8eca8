"""Calibration boards to print: PDF drawings at true scale."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_inspector.calibration.boards import CIRCLE_DIAMETER, board_text, charuco_board, object_points, size_mm
from edge_inspector.calibration.plots import needed
from edge_inspector.calibration.records import Board, Doubles
from edge_inspector.errors import ConfigError

PAPERS_MM = {
    "A5": (148.0, 210.0),
    "Letter": (215.9, 279.4),
    "A4": (210.0, 297.0),
    "Legal": (215.9, 355.6),
    "Tabloid": (279.4, 431.8),
    "A3": (297.0, 420.0),
    "A2": (420.0, 594.0),
    "A1": (594.0, 841.0),
    "A0": (841.0, 1189.0),
}
"""Width and height upright, from small to large (ISO 216, ANSI)."""
ISO = ("A5", "A4", "A3", "A2", "A1", "A0")
MARGIN_MM = 7.0
"""What office printers leave white (most need 4 to 6.4 mm), and the quiet zone that detectors want."""
STRIP_MM = 20.0
"""Below the board: the ruler and what the board is."""
RULER_MM = 100.0
MM_PER_INCH = 25.4


@dataclass(frozen=True)
class Place:
    """Where a board lies on a sheet, mm from the sheet's lower left corner: `left`, `top` are its upper left corner."""

    sheet_mm: tuple[float, float]
    left: float
    top: float


def place(board: Board, paper: str) -> Place:
    """Upright where that fits, otherwise on its side. ConfigError says which paper would do."""
    known = {name.lower(): name for name in PAPERS_MM}
    if paper.lower() not in known:
        raise ConfigError(f"paper {paper!r} is not known; expected one of {', '.join(PAPERS_MM)}")
    asked = known[paper.lower()]
    found = _fitting(board, PAPERS_MM[asked])
    if found is None:
        width, height = size_mm(board)
        alike = [name for name in PAPERS_MM if (name in ISO) == (asked in ISO)]
        large_enough = [name for name in (*alike, *PAPERS_MM) if _fitting(board, PAPERS_MM[name])]
        remedy = f"it fits on {large_enough[0]}" if large_enough else "no paper up to A0 is large enough"
        raise ConfigError(
            f"board {board_text(board)} is {width:g} x {height:g} mm; with {MARGIN_MM:g} mm margin and the ruler it"
            f" does not fit on {asked}: {remedy}, or choose a smaller pitch"
        )
    return found


def board_pdf(board: Board, paper: str) -> bytes:
    """One page in vectors. ConfigError when the board does not fit or matplotlib is missing."""
    needed("matplotlib")
    from matplotlib.figure import Figure

    placed = place(board, paper)
    width, height = placed.sheet_mm
    figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH), frameon=False)
    sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    sheet.set_axis_off()
    sheet.add_patch(_ink(board, placed))
    _draw_strip(sheet, board, width)
    written = io.BytesIO()
    figure.savefig(written, format="pdf", metadata={"Title": board_text(board), "CreationDate": None})
    return written.getvalue()


def _fitting(board: Board, upright_mm: tuple[float, float]) -> Place | None:
    wide, high = size_mm(board)
    for sheet in (upright_mm, upright_mm[::-1]):
        free = (sheet[0] - 2 * MARGIN_MM, sheet[1] - 2 * MARGIN_MM - STRIP_MM)
        if max(wide, RULER_MM) <= free[0] and high <= free[1]:
            return Place(sheet, (sheet[0] - wide) / 2, sheet[1] - MARGIN_MM - (free[1] - high) / 2)
    return None


def _ink(board: Board, placed: Place) -> Any:
    """All that is black, as one path: between shapes that were filled one by one a viewer shows hairlines."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    origin = (placed.left, placed.top)
    if board.kind == "circles":
        radius = CIRCLE_DIAMETER / 2 * board.pitch_mm
        centres = object_points(board)[:, :2] * (1, -1) + origin + (radius, -radius)
        outlines = [Path.circle(centre, radius) for centre in centres]
    else:
        squares = _chess_squares(board) if board.kind == "chessboard" else _charuco_squares(board)
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
        outlines = [Path((np.array([x, y]) + corners * side) * (1, -1) + origin, closed=True) for x, y, side in squares]
    return PathPatch(Path.make_compound_path(*outlines), facecolor="black", linewidth=0)


def _chess_squares(board: Board) -> Iterator[tuple[float, float, float]]:
    """Left, top and side of each black square, mm from the board's upper left corner, which is black."""
    for row in range(board.rows + 1):
        for column in range(row % 2, board.columns + 1, 2):
            yield column * board.pitch_mm, row * board.pitch_mm, board.pitch_mm


def _charuco_squares(board: Board) -> Iterator[tuple[float, float, float]]:
    """The black squares of the board, which are those without a marker, and the black cells of the markers."""
    made = charuco_board(board)
    with_marker = set()
    for number, outline in zip(made.getIds().ravel(), made.getObjPoints(), strict=True):
        left, top = outline[0][:2].tolist()
        with_marker.add((int(top // board.pitch_mm), int(left // board.pitch_mm)))
        cells = _marker(made.getDictionary(), int(number))
        side = board.marker_mm / len(cells)
        yield from ((left + column * side, top + row * side, side) for row, column in np.argwhere(cells == 0))
    for row, column in np.ndindex(board.rows, board.columns):
        if (row, column) not in with_marker:
            yield column * board.pitch_mm, row * board.pitch_mm, board.pitch_mm


def _marker(dictionary: Any, number: int) -> Doubles:
    """(n,n) cells of a marker, its black border included; 0 is black."""
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, number, dictionary.markerSize + 2), np.float64)


def _draw_strip(sheet: Any, board: Board, width: float) -> None:
    left, ruler = (width - RULER_MM) / 2, MARGIN_MM + 9
    thin = 0.2 * 72 / MM_PER_INCH  # mm in points
    sheet.plot([left, left + RULER_MM], [ruler, ruler], color="black", linewidth=thin, solid_capstyle="butt")
    for mm in range(0, int(RULER_MM) + 1, 5):
        tick = 3.0 if mm % 50 == 0 else 2.0 if mm % 10 == 0 else 1.2
        at = left + mm
        sheet.plot([at, at], [ruler, ruler + tick], color="black", linewidth=thin, solid_capstyle="butt")
    for mm in (0, 50, 100):
        sheet.text(left + mm, ruler + 3.5, f"{mm} mm", fontsize=6, ha="center", va="bottom")
    middle = {"ha": "center", "va": "baseline"}
    sheet.text(width / 2, MARGIN_MM + 4.6, f"--board {board_text(board)}", fontsize=7, family="monospace", **middle)
    sheet.text(width / 2, MARGIN_MM + 1, _said(board), fontsize=5.5, **middle)


def _said(board: Board) -> str:
    spans = {"chessboard": "a square", "charuco": "a square", "circles": "from row to row"}
    return (
        f"Print at 100 %, not fitted to the page: the ruler must be 100 mm, {spans[board.kind]} {board.pitch_mm:g} mm."
        " Glue it flat on glass or metal."
    )
