"""Calibration boards: from their text on a command line to the points on them."""

from __future__ import annotations

import math
import re
from typing import Any

import cv2
import numpy as np

from edge_inspector.calibration.records import Board, BoardKind
from edge_inspector.datatypes import Floats
from edge_inspector.errors import ConfigError

EXAMPLES: dict[BoardKind, str] = {
    "chessboard": "chessboard:9x6:25mm",
    "charuco": "charuco:5x7:30mm:22mm:DICT_6X6_250",
    "circles": "circles:4x11:20mm",
}
FEWEST: dict[BoardKind, int] = {"chessboard": 3, "charuco": 3, "circles": 3}
FEWEST_POINTS: dict[BoardKind, int] = {"chessboard": 9, "charuco": 6, "circles": 15}
"""Of the whole board: OpenCV does not find smaller ones for sure (circles of 3x4: in none of four clean pictures)."""
MOST = 100  # points a side: more cannot be told apart in a picture, and a slip of the keyboard should not eat memory
LONGEST_MM = 10_000.0
CIRCLE_DIAMETER = 0.7  # of the pitch; neighbours on the diagonal are 1.41 pitches apart


def parse_board(text: str) -> Board:
    """`chessboard:9x6:25mm` (inner corners), `charuco:5x7:30mm:22mm:DICT_6X6_250` (squares) or `circles:4x11:20mm`.

    ConfigError names the part that is wrong and shows an example.
    """
    kind, *parts = text.strip().split(":")
    if kind not in EXAMPLES:
        shown = ", ".join(EXAMPLES.values())
        raise ConfigError(f"board {text!r:.80}: kind {kind!r:.40} is not known; expected one like {shown}")
    wanted = EXAMPLES[kind].split(":")[1:]
    if len(parts) != len(wanted):
        raise _wrong(text, kind, f"{len(parts)} parts after the kind", f"{len(wanted)}")
    columns, rows = _counts(text, kind, parts[0])
    pitch_mm = _millimetres(text, kind, parts[1])
    if kind != "charuco":
        return Board(kind, columns, rows, pitch_mm)
    marker_mm = _millimetres(text, kind, parts[2])
    if marker_mm >= pitch_mm:
        raise _wrong(text, kind, f"marker {parts[2]!r}", f"less than the square's {pitch_mm:g}mm")
    board = Board(kind, columns, rows, pitch_mm, marker_mm, _dictionary_name(text, parts[3]))
    markers, held = columns * rows // 2, len(_dictionary(board).bytesList)
    if markers > held:
        raise _wrong(
            text, kind, f"{columns}x{rows} squares need {markers} markers", f"at most {board.dictionary}'s {held}"
        )
    return board


def board_text(board: Board) -> str:
    """What `parse_board` reads."""
    text = f"{board.kind}:{board.columns}x{board.rows}:{board.pitch_mm!r}mm".replace(".0mm", "mm")
    if board.kind == "charuco":
        text += f":{board.marker_mm!r}mm".replace(".0mm", "mm") + f":{board.dictionary}"
    return text


def object_points(board: Board) -> Floats:
    """(n,3) mm on the board, z = 0, the first at the origin: x runs along a row, y from row to row."""
    columns, rows = _grid(board)
    row, column = np.divmod(np.arange(columns * rows), columns)
    x = 2 * column + row % 2 if board.kind == "circles" else column
    return (np.stack([x, row, np.zeros(len(row))], axis=1) * board.pitch_mm).astype(np.float32)


def point_count(board: Board) -> int:
    """How many points a whole view of the board has."""
    columns, rows = _grid(board)
    return columns * rows


def size_mm(board: Board) -> tuple[float, float]:
    """Width and height of what is printed, without the white margin around it."""
    if board.kind == "chessboard":
        return ((board.columns + 1) * board.pitch_mm, (board.rows + 1) * board.pitch_mm)
    if board.kind == "charuco":
        return (board.columns * board.pitch_mm, board.rows * board.pitch_mm)
    across = 2 * board.columns - 1 if board.rows > 1 else 2 * (board.columns - 1)
    return (
        (across + CIRCLE_DIAMETER) * board.pitch_mm,
        (board.rows - 1 + CIRCLE_DIAMETER) * board.pitch_mm,
    )


def charuco_board(board: Board) -> Any:
    """OpenCV's `cv2.aruco.CharucoBoard`, in mm."""
    return cv2.aruco.CharucoBoard((board.columns, board.rows), board.pitch_mm, board.marker_mm, _dictionary(board))


def _grid(board: Board) -> tuple[int, int]:
    """Columns and rows of the points that are measured."""
    if board.kind == "charuco":
        return (board.columns - 1, board.rows - 1)
    return (board.columns, board.rows)


def _counts(text: str, kind: BoardKind, part: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", part, re.ASCII)
    if not match:
        raise _wrong(text, kind, f"size {part!r:.40}", "columns x rows such as 9x6")
    columns, rows = int(match[1]), int(match[2])
    fewest = FEWEST[kind]
    if not (fewest <= columns <= MOST and fewest <= rows <= MOST):
        raise _wrong(text, kind, f"size {part!r}", f"{fewest} to {MOST} columns and rows")
    points = (columns - 1) * (rows - 1) if kind == "charuco" else columns * rows
    if points < FEWEST_POINTS[kind]:
        raise _wrong(text, kind, f"size {part!r} with {points} points", f"at least {FEWEST_POINTS[kind]} points")
    return columns, rows


def _millimetres(text: str, kind: BoardKind, part: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)mm", part, re.ASCII)
    value = float(match[1]) if match else math.nan
    if not 0 < value <= LONGEST_MM:
        raise _wrong(text, kind, f"length {part!r:.40}", f"millimetres above 0 and up to {LONGEST_MM:g} such as 25mm")
    return value


def _dictionary_name(text: str, part: str) -> str:
    known = sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_"))
    if part not in known:
        raise _wrong(text, "charuco", f"dictionary {part!r:.40}", f"one of {', '.join(known)}")
    return part


def _dictionary(board: Board) -> Any:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))


def _wrong(text: str, kind: BoardKind, what: str, expected: str) -> ConfigError:
    return ConfigError(f"board {text!r:.80}: {what}, expected {expected}; an example: {EXAMPLES[kind]}")
