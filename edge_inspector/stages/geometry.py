"""From pixels to millimetres on the inspection plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Homography


def box_size_mm(box: tuple[float, float, float, float], homography: Homography) -> tuple[float, float]:
    """Width and height on the plane of a box x, y, width, height in undistorted full-image pixels.

    They are the lengths of the two lines that join the middles of opposite sides. The plane's horizon must not cross
    the box: see `sees_horizon`.
    """
    x, y, width, height = box
    # a box speaks of pixel edges, a homography of pixel centres
    x, y = x - 0.5, y - 0.5
    left, right = (x, y + height / 2), (x + width, y + height / 2)
    top, bottom = (x + width / 2, y), (x + width / 2, y + height)
    on_plane = plane_mm((left, right, top, bottom), homography)
    return float(np.linalg.norm(on_plane[1] - on_plane[0])), float(np.linalg.norm(on_plane[3] - on_plane[2]))


def plane_mm(points: Sequence[tuple[float, float]], homography: Homography) -> npt.NDArray[np.float64]:
    """(n,2) undistorted full-image pixels, a pixel's middle at whole numbers -> (n,2) mm on the plane."""
    projective = np.column_stack([points, np.ones(len(points))]) @ np.reshape(homography, (3, 3)).T
    on_plane: npt.NDArray[np.float64] = projective[:, :2] / projective[:, 2:]
    return on_plane


def sees_horizon(homography: Homography, hw: tuple[int, int]) -> bool:
    """Whether the line on which the plane is infinitely far away touches a picture of `hw`."""
    height, width = hw
    corners = np.array([(x, y, 1.0) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
    depths = corners @ np.asarray(homography[6:])
    return bool(depths.min() <= 0 <= depths.max())
