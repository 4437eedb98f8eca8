"""Calibrating in front of the camera: which of its pictures are worth keeping, and what is still missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edge_inspector.calibration.boards import object_points
from edge_inspector.calibration.coverage import TILTED_DEG, coverage
from edge_inspector.calibration.detect import Gray, as_gray, find_board
from edge_inspector.calibration.projection import pose_of
from edge_inspector.calibration.records import Board, Sighting, SolvedView
from edge_inspector.datatypes import Calibration, Frame
from edge_inspector.errors import FrameError
from edge_inspector.interfaces import Camera

LEAST_MOVED = 0.08
"""Mean displacement of the corners against every kept view, in board sizes."""
LEAST_TURNED_DEG = 10.0
"""Or a tilt by as much: a board tilted by 20 degrees in place moves its corners by 0.03 board sizes only."""
WIDEST_EDGE_PX = 5.0
"""See `edge_width_px`. Sharp rendered boards of all kinds measured 2.4 to 3, moved by 9 px while exposed 6 to 9."""
WINDOW_PX = (3, 20)
"""Half of the square around a corner in which its edges are measured, at least and at most."""
USUAL_FOCAL = 1.2
"""In picture widths, for tilts before the lens is known: they need only be right to some degrees."""


@dataclass(frozen=True)
class Answer:
    """What became of one picture: `text` is for the person who holds the board."""

    kept: bool
    text: str


class Selection:
    """The views kept so far. Pure: pictures in, answers out."""

    def __init__(self, board: Board, wanted: int) -> None:
        self._views: list[SolvedView] = []
        self.missing: tuple[str, ...] = ()
        """What the kept views do not cover, in words; only meaningful once there is a view."""
        self._board = board
        self._wanted = wanted

    @property
    def kept(self) -> list[Sighting]:
        """In the order in which they were offered."""
        return [view.sighting for view in self._views]

    @property
    def complete(self) -> bool:
        """As many views as were wanted, and nothing missing."""
        return len(self._views) >= self._wanted and not self.missing

    def offer(self, sighting: Sighting | None, edge_px: float) -> Answer:
        """Keep a view that is sharp and differs from all others. `edge_px` is `edge_width_px` of its picture.

        Beyond the wanted number a view is kept only when it brings what is missing.
        """
        if sighting is None:
            return Answer(False, "no board in the picture")
        points = object_points(self._board)[sighting.ids]
        if np.linalg.matrix_rank(points - points[0]) < 2:
            return Answer(False, "only one row of the board in the picture")
        if edge_px > WIDEST_EDGE_PX:
            return Answer(
                False,
                f"blurred: edges {edge_px:.0f} px wide, at most {WIDEST_EDGE_PX:g}; hold still, shorten the exposure,"
                " or focus",
            )
        view = _roughly_solved(sighting, self._board)
        if not all(
            self._moved(sighting, v.sighting) >= LEAST_MOVED or _turned_deg(view, v) >= LEAST_TURNED_DEG
            for v in self._views
        ):
            return Answer(False, f"seen already; move or tilt the board; {self._still()}")
        missing = coverage([*self._views, view], sighting.image_hw, quarters=1).advice
        if len(self._views) >= self._wanted and not self._helps(view, missing):
            return Answer(False, f"brings nothing new; {self._still()}")
        self._views.append(view)
        self.missing = missing
        return Answer(True, f"kept {len(self._views)} of {self._wanted}; {self._still()}")

    def _helps(self, view: SolvedView, missing: tuple[str, ...]) -> bool:
        """Advice counts views ("only 3 of 8 are tilted"), so a flat view can change its words and mend nothing."""
        return len(missing) < len(self.missing) or (missing != self.missing and view.tilt_deg >= TILTED_DEG)

    def _still(self) -> str:
        return "; ".join(self.missing) or "all of the picture and all tilts are covered so far"

    def _moved(self, one: Sighting, other: Sighting) -> float:
        """Mean displacement of the points that both show, in units of the board's size in the picture."""
        _, here, there = np.intersect1d(one.ids, other.ids, assume_unique=True, return_indices=True)
        if len(here) == 0:
            return math.inf
        size = math.sqrt(cv2.contourArea(cv2.convexHull(other.points)))
        points = [one.points[here]]
        if self._board.kind == "chessboard":  # which may be found from either end
            points.append(points[0][::-1])
        return min(float(np.linalg.norm(p - other.points[there], axis=1).mean()) for p in points) / size


def edge_width_px(gray: Gray, sighting: Sighting) -> float:
    """How many pixels black needs to become white at the board's corners: in the worst of four directions, median.

    Motion blurs only the edges across it, so the sharpest edge of a corner says nothing.
    """
    points = sighting.points
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    half = int(np.clip(0.5 * np.median(apart.min(axis=1)), *WINDOW_PX))
    widths = []
    for x, y in np.rint(points).astype(int):
        window = gray[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].astype(np.float32)
        down, right = np.gradient(window)
        slopes = (right, down, (right + down) / math.sqrt(2), (right - down) / math.sqrt(2))
        steepest = min(float(np.abs(slope).max()) for slope in slopes)
        dark, bright = np.percentile(window, [5, 95])
        widths.append((bright - dark) / max(steepest, 1e-6))
    return float(np.median(widths))


def watch(
    camera: Camera,
    selection: Selection,
    board: Board,
    kept: Callable[[str, Gray], None],
    say: Callable[[str], None],
    timeout_s: float = 5.0,
) -> None:
    """Look through an open camera until the selection is complete, or for ever: the caller's Ctrl-C ends it.

    `kept` is called with the name and the gray picture of each view that is kept, `say` when there is something new
    to tell. CameraError: the camera is lost.
    """
    told = ""
    while not selection.complete:
        try:
            picture = _next_gray(camera, timeout_s)
            if picture is None:
                text = f"no picture came within {timeout_s:g} s ({camera.trigger_mode} trigger)"
            else:
                name = f"view-{len(selection.kept) + 1:03}.png"
                sighting = find_board(picture, board, name)
                answer = selection.offer(sighting, 0.0 if sighting is None else edge_width_px(picture, sighting))
                text = answer.text
                if answer.kept:
                    kept(name, picture)
        except FrameError as exc:
            text = str(exc)
        if text != told:
            say(text)
        told = text


def _next_gray(camera: Camera, timeout_s: float) -> Gray | None:
    if camera.trigger_mode == "software":
        camera.trigger()
    frame: Frame | None = camera.grab(timeout_s)
    if frame is None:
        return None
    try:
        return np.array(as_gray(frame.pixels, frame.pixel_format))  # its own: the buffer goes back
    finally:
        frame.release()


def _turned_deg(one: SolvedView, other: SolvedView) -> float:
    """The angle between the board's normals."""
    normals = [cv2.Rodrigues(np.array(view.rotation))[0][:, 2] for view in (one, other)]
    return math.degrees(math.acos(min(1.0, abs(float(normals[0] @ normals[1])))))


def _roughly_solved(sighting: Sighting, board: Board) -> SolvedView:
    """The view as a usual lens without distortion would explain it: its tilt is right to some degrees."""
    height, width = sighting.image_hw
    focal = USUAL_FOCAL * max(width, height)
    usual = Calibration(sighting.image_hw, (focal, focal, (width - 1) / 2, (height - 1) / 2), (0.0,) * 5)
    rotation, translation = pose_of(object_points(board)[sighting.ids], sighting.points, usual)
    tilt = math.degrees(math.acos(min(1.0, abs(float(cv2.Rodrigues(rotation)[0][2, 2])))))
    return SolvedView(
        sighting=sighting,
        rotation=(float(rotation[0]), float(rotation[1]), float(rotation[2])),
        translation_mm=(float(translation[0]), float(translation[1]), float(translation[2])),
        residuals=np.zeros((len(sighting.points), 2)),
        rms_px=0.0,
        tilt_deg=tilt,
    )
