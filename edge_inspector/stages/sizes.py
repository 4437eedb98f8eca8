"""How large what a model found is, in pixels and on the inspection plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Floats, Homography, Measure, Region
from edge_inspector.stages.geometry import plane_mm

Doubles = npt.NDArray[np.float64]


def box_sizes(xyxy: Floats, measure: Measure, plane: Homography | None) -> Doubles:
    """(n,) the largest that each of the (n,4) boxes in undistorted full-image pixels can hold.

    The length is its diagonal, the width its shorter side, the area its own. On the plane a box is a quadrilateral:
    the length is its longest diagonal or side, the width the shorter of the two lines that join the middles of opposite
    sides. ValueError for mm without a plane.
    """
    boxes = xyxy.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    if measure in ("length_px", "width_px", "area_px2"):
        sizes: Doubles = (
            sides.prod(axis=1)
            if measure == "area_px2"
            else np.hypot(*sides.T)
            if measure == "length_px"
            else sides.min(axis=1)
        )
        return sizes
    x1, y1, x2, y2 = boxes.T
    if measure == "width_mm":
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        left, top, right, bottom = _quadrilaterals(((x1, y), (x, y1), (x2, y), (x, y2)), plane)
        across, down = np.linalg.norm(right - left, axis=1), np.linalg.norm(bottom - top, axis=1)
        shorter: Doubles = np.minimum(across, down)
        return shorter
    corners = _corners(boxes, plane)
    if measure == "area_mm2":
        return _polygon_areas(corners.transpose(1, 0, 2))
    apart = np.linalg.norm(corners[:, None] - corners, axis=3)
    longest: Doubles = apart.max(axis=(0, 1))
    return longest


def outline_size(region: Region, measure: Measure, plane: Homography | None) -> float:
    """Length and width are the sides of the smallest rectangle around it. ValueError for mm without a plane."""
    if measure == "area_px2":
        return region.area_px
    outline = region.outline.astype(np.float64)
    if measure in ("length_px", "width_px"):
        return _rectangle(outline, measure == "length_px")
    on_plane = _on_plane(outline, plane)
    if measure == "area_mm2":
        # holes are in neither polygon: what is left of the area is the same share of both
        in_mm, in_px = _polygon_areas(np.stack([on_plane, outline])).tolist()
        if in_px < 1:  # drawn as a line, which has no area: the scale at its middle
            middle = outline.mean(axis=0)
            pixel = np.concatenate([middle - 0.5, middle + 0.5])[None]
            in_mm, in_px = float(_polygon_areas(_corners(pixel, plane).transpose(1, 0, 2))[0]), 1.0
        return float(in_mm * region.area_px / in_px)
    return _rectangle(on_plane, measure == "length_mm")


def _corners(boxes: Doubles, plane: Homography | None) -> Doubles:
    """(4,n,2) mm of the corners of (n,4) boxes, one after the other around them."""
    x1, y1, x2, y2 = boxes.T
    return _quadrilaterals(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), plane)


def _quadrilaterals(points: Sequence[tuple[Doubles, Doubles]], plane: Homography | None) -> Doubles:
    """(4,n,2) mm of the x (n,) and y (n,) of four points of each box."""
    stacked = np.array(points).transpose(0, 2, 1)
    on_plane: Doubles = _on_plane(stacked.reshape(-1, 2), plane).reshape(stacked.shape)
    return on_plane


def _on_plane(points: Doubles, plane: Homography | None) -> Doubles:
    """Outlines and boxes speak of the edges of pixels, a homography of their centres: half a pixel further."""
    if plane is None:
        raise ValueError("a size in mm of a picture without an inspection plane")
    return plane_mm(cast("Sequence[tuple[float, float]]", points - 0.5), plane)


def _rectangle(outline: Doubles, longer: bool) -> float:
    """A side of the smallest rectangle around a polygon; its numbers are made small first, to keep their digits."""
    sides = cv2.minAreaRect((outline - outline.mean(axis=0)).astype(np.float32))[1]
    return float(max(sides) if longer else min(sides))


def _polygon_areas(polygons: Doubles) -> Doubles:
    """(n,) of the (n,k,2) polygons."""
    x, y = np.moveaxis(polygons - polygons[:, :1], 2, 0)
    areas: Doubles = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    return areas
