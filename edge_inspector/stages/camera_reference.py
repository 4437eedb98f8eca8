"""What a camera saw when its recipe was set up: several pictures of good parts become one reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import PixelFormat
from edge_inspector.errors import FrameError
from edge_inspector.stages.prepare import LAYOUTS

Gray: TypeAlias = npt.NDArray[np.uint8]

FEWEST = 5
"""Pictures of a reference: with fewer nobody can tell what a part changes in its picture from what stays."""
MOST = 50
SMALLEST_PX = 64
_ROWS = 64
_Z95 = 1.6449


@dataclass(frozen=True)
class Spread:
    """How far single pictures are from the reference: `spread_of` what the parts and the light do.

    `shift_px` of the position along one axis, `focus` and `brightness` as shares, `blocks` of each block's brightness
    against the picture's, row by row.
    """

    shift_px: float
    focus: float
    brightness: float
    blocks: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """Three 8-bit gray pictures (h,w): each pixel's lowest, middle and highest value.

    `focus` is the energy of the edges in each block of the single pictures, as `Eye` measures it, 0 = too few edges;
    empty = too few in all of them.
    """

    low: Gray
    median: Gray
    high: Gray
    focus: tuple[float, ...]
    spread: Spread

    def __post_init__(self) -> None:
        if not self.low.shape == self.median.shape == self.high.shape or self.median.ndim != 2:
            shapes = f"{self.low.shape}, {self.median.shape}, {self.high.shape}"
            raise ValueError(f"Reference of pictures of {shapes}, expected three of the same (h, w)")


def gray8(pixels: npt.NDArray[Any], pixel_format: PixelFormat) -> Gray:
    """A camera's picture in 8-bit gray, at full size. FrameError: the pixels are not what the format says."""
    layout = LAYOUTS.get(pixel_format)
    if layout is None or pixels.ndim != layout.dimensions or pixels.dtype != layout.dtype:
        raise FrameError(f"a picture of {pixels.dtype} {pixels.shape} is not {pixel_format}; set the camera anew")
    if min(pixels.shape[:2]) < SMALLEST_PX:
        raise FrameError(f"the picture is {pixels.shape[1]}x{pixels.shape[0]}, expected {SMALLEST_PX} px at the least")
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 4).astype(np.uint8)
    if layout.mosaic is not None:
        eight = cv2.cvtColor(eight, layout.mosaic["gray"])
    elif eight.ndim == 3:
        eight = cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY if layout.order == "rgb" else cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(eight, np.uint8)


def envelope(pictures: Sequence[Gray]) -> tuple[Gray, Gray, Gray]:
    """Each pixel's lowest, middle and highest value; all pictures have one size."""
    low, median, high = (np.empty_like(pictures[0]) for _ in range(3))
    middle = len(pictures) // 2
    for top in range(0, pictures[0].shape[0], _ROWS):  # in strips: a sorted stack of all would need a lot of memory
        rows = slice(top, top + _ROWS)
        stack = np.sort(np.stack([picture[rows] for picture in pictures]), axis=0)
        low[rows], median[rows], high[rows] = stack[0], stack[middle], stack[-1]
    return low, median, high


def spread_of(values: npt.ArrayLike) -> float:
    """The standard deviation that values may have come from, at the most: its 95 % upper bound, for few are known.

    Of a normal distribution, with the chi-square by Wilson and Hilferty (1931).
    """
    array = np.asarray(values, np.float64)
    free = array.size - 1
    part = 2 / (9 * free)
    least = (1 - part - _Z95 * math.sqrt(part)) ** 3
    return float(array.std(ddof=1) / math.sqrt(least))
