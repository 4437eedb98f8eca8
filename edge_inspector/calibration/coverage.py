"""Where the board has been, and in words where it has not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.calibration.projection import projected
from edge_inspector.calibration.records import Coverage, Doubles, SolvedView
from edge_inspector.datatypes import Calibration

TILTED_DEG = 15.0
"""From here on a view says something about the focal length."""
SIDES = ("on the left", "on the right", "above", "below")
THIRDS = (
    ("the upper left corner", "the upper edge", "the upper right corner"),
    ("the left edge", "the middle", "the right edge"),
    ("the lower left corner", "the lower edge", "the lower right corner"),
)
FOLD_STEPS = 24
"""Samples a side; the distortion of a lens has no finer structure."""


def coverage(
    views: Sequence[SolvedView], hw: tuple[int, int], grid: tuple[int, int] = (6, 8), quarters: int = 2
) -> Coverage:
    """Corners of all views in each of `grid` (rows, columns) cells of a picture of `hw`, and what is missing.

    A ninth of the picture is reached when so many of its `quarters` hold a corner.
    """
    points = np.concatenate([view.sighting.points for view in views])
    cells = _counted(points, hw, grid)
    return Coverage(
        cells=cells,
        share=float((cells > 0).mean()),
        tilts_deg=tuple(view.tilt_deg for view in views),
        advice=(*_missing_places(_counted(points, hw, (6, 6)), quarters), *_missing_tilts(views)),
    )


def folds(calibration: Calibration) -> tuple[str, ...]:
    """Advice where the distortion that was found is not one-to-one.

    A polynomial turns the picture back on itself somewhere; where no view reaches, that can be inside the picture.
    """
    height, width = calibration.image_hw
    fx, fy, cx, cy = calibration.matrix
    u, v = np.meshgrid(np.linspace(-0.5, width - 0.5, FOLD_STEPS), np.linspace(-0.5, height - 0.5, FOLD_STEPS))
    rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(u.shape)], axis=-1)
    bent = projected(rays.reshape(-1, 3), calibration, np.zeros(3), np.zeros(3))[0].reshape(FOLD_STEPS, FOLD_STEPS, 2)
    right, down = np.diff(bent, axis=1)[:-1], np.diff(bent, axis=0)[:, :-1]
    turned = np.argwhere(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] <= 0)
    if not len(turned):
        return ()
    names = dict.fromkeys(THIRDS[row][column] for row, column in turned * 3 // (FOLD_STEPS - 1))
    return (
        f"the distortion found turns the picture inside out in {_and(list(names))}: take views of the board there, "
        "or a lens model with fewer coefficients",
    )


def _counted(points: npt.NDArray[np.float32], hw: tuple[int, int], grid: tuple[int, int]) -> npt.NDArray[np.int64]:
    """A pixel's coordinate is its middle, so the picture begins at -0.5."""
    edges = [np.linspace(-0.5, side - 0.5, parts + 1) for side, parts in zip(hw, grid, strict=True)]
    return np.histogram2d(points[:, 1], points[:, 0], bins=edges)[0].astype(np.int64)


def _missing_places(cells: npt.NDArray[np.int64], quarters: int) -> Iterator[str]:
    """`cells` (6,6): four to each ninth of the picture."""
    reached = (cells > 0).reshape(3, 2, 3, 2).sum(axis=(1, 3))
    names = [THIRDS[row][column] for row, column in np.argwhere(reached < quarters)]
    if names:
        yield f"no view reaches {_and(names)}"


def _missing_tilts(views: Sequence[SolvedView]) -> Iterator[str]:
    normals: Doubles = np.array([cv2.Rodrigues(np.array(view.rotation))[0][:, 2] for view in views])
    normals *= np.where(normals[:, 2:] < 0, -1, 1)
    least = math.sin(math.radians(TILTED_DEG / 2))  # of a diagonal tilt each side gets a part
    # on a plane 1/z grows with nx x + ny y, so the board is nearer on the right where nx > 0
    reached = [(normals[:, 0] < -least), (normals[:, 0] > least), (normals[:, 1] < -least), (normals[:, 1] > least)]
    missing = [side for side, views_there in zip(SIDES, reached, strict=True) if not views_there.any()]
    tilted = sum(view.tilt_deg >= TILTED_DEG for view in views)
    if missing:
        yield f"in no view the board comes nearer {_and(missing)}: tilt it that way by 20 to 40 degrees"
    if tilted * 2 < len(views):
        yield f"only {tilted} of {len(views)} views are tilted by {TILTED_DEG:g} degrees or more: tilt the board more"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
