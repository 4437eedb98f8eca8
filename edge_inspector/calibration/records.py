"""What a calibration run is made of: boards, sightings of them, and what solving found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, Floats, Homography

BoardKind = Literal["chessboard", "charuco", "circles"]
LensChoice = Literal["pinhole", "rational", "fisheye"]
"""pinhole: k1 k2 p1 p2 k3; rational: k1..k6 p1 p2; fisheye: OpenCV's fisheye model with k1..k4."""
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Board:
    """A flat target. `columns` x `rows` counts inner corners (chessboard), squares (charuco) or circles (circles).

    `pitch_mm` is the side of a square, or for the asymmetric circles OpenCV's spacing (half the distance of two
    neighbours in a row). `marker_mm` and `dictionary` (OpenCV's name, DICT_6X6_250) are charuco's alone.
    """

    kind: BoardKind
    columns: int
    rows: int
    pitch_mm: float
    marker_mm: float = 0.0
    dictionary: str = ""


@dataclass(frozen=True)
class Sighting:
    """The board in one picture: `ids` (n,) are indices into the board's points, `points` (n,2) float32 pixels."""

    name: str
    image_hw: tuple[int, int]
    ids: npt.NDArray[np.int64]
    points: Floats


@dataclass(frozen=True)
class Dropped:
    """A picture that was not used, and why in words."""

    name: str
    reason: str


@dataclass(frozen=True)
class SolvedView:
    """One picture as it was used: the board's pose (Rodrigues vector, mm) and what is left over.

    `residuals` (n,2) are measured minus projected pixels, in the order of the sighting's points; `rms_px` their root
    mean square length. `tilt_deg` is the angle between the board's normal and the optical axis, 0..90.
    """

    sighting: Sighting
    rotation: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    residuals: Doubles
    rms_px: float
    tilt_deg: float


@dataclass(frozen=True)
class Coverage:
    """Where the board has been: `cells` (rows, columns) counts corners per cell of a grid over the picture.

    `share` is the part of the cells that holds any; `tilts_deg` one angle a view; `advice` says in words what is
    missing ("no view reaches the upper right corner"), empty = nothing.
    """

    cells: npt.NDArray[np.int64]
    share: float
    tilts_deg: tuple[float, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Solution:
    """A solved camera. `deviations` are standard deviations (px, or none for distortion) by parameter name.

    `rms_px` is over all points of all views that were used; `held_out_px` the RMS over views that were left out of the
    solve in turn (k-fold), NaN when there were too few views for that.
    """

    calibration: Calibration
    lens: LensChoice
    board: Board
    views: tuple[SolvedView, ...]
    dropped: tuple[Dropped, ...]
    rms_px: float
    held_out_px: float
    deviations: Mapping[str, float]
    coverage: Coverage
    made_utc: str


@dataclass(frozen=True)
class PlaneFit:
    """The inspection plane from one picture of the board lying on it.

    `mm_per_px` is the mean over the board; `rms_mm` the RMS of the board's points on the plane against where they are.
    """

    homography: Homography
    mm_per_px: float
    rms_mm: float
    sighting: Sighting


Picture = npt.NDArray[Any]
