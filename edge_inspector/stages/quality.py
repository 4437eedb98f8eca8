"""Whether a picture is worth judging, and whether it is the same one again."""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import PixelFormat
from edge_inspector.settings import PictureGate

Picture: TypeAlias = npt.NDArray[Any]

FULL_SCALE_8 = 255
FULL_SCALE_12 = 4095
SAMPLED_BYTES = 160_000
"""Read of each picture for brightness and fingerprint: 67 rows of a 5 MP mono picture, 0.04 ms."""
FEWEST_ROWS = 16
CENTRE_PX = 512
"""Side of the part in the middle in which sharpness is measured: a Laplacian of all 5 MP would cost 15 ms."""


def fault(pixels: Picture, pixel_format: PixelFormat, gate: PictureGate) -> str:
    """Why the gate refuses the picture, with the figures; empty = it is fit. `gate.identical` is the caller's.

    Brightness and saturation are those of evenly spaced rows, each sample (pixel, colour or filter cell) by itself.
    """
    if not pixels.size:
        return f"the picture is empty ({pixels.shape}); check the camera's width and height"
    full_scale = FULL_SCALE_12 if pixel_format.endswith("12") else FULL_SCALE_8
    samples = _spaced_rows(pixels).reshape(-1)
    brightness = float(cv2.mean(samples)[0]) / full_scale
    if brightness < gate.min_brightness:
        return (
            f"mean {_percent(brightness)} of full scale, expected at least {_percent(gate.min_brightness)} "
            "(gate.min_brightness): lens cap, light, exposure?"
        )
    saturated = np.count_nonzero(samples >= full_scale) / samples.size
    if saturated > gate.max_saturated:
        return (
            f"{_percent(saturated)} at full scale, expected at most {_percent(gate.max_saturated)} "
            "(gate.max_saturated): exposure, gain, stray light?"
        )
    if gate.min_sharpness > 0 and (seen := sharpness(pixels, pixel_format)) < gate.min_sharpness:
        return (
            f"sharpness {seen:.3g} (variance of the Laplacian), expected at least {gate.min_sharpness:g} "
            "(gate.min_sharpness): focus, dirt on the lens, motion?"
        )
    return ""


def sharpness(pixels: Picture, pixel_format: PixelFormat) -> float:
    """Variance of the Laplacian of the middle in 8-bit gray; it depends on the scene as much as on the lens.

    The cells of a Bayer filter are averaged two by two first, or the filter itself would be the sharpest thing seen.
    """
    rows, columns = (_middle(side) for side in pixels.shape[:2])
    part = np.ascontiguousarray(pixels[rows, columns])
    if pixel_format.endswith("12"):
        part = (part >> 4).astype(np.uint8)
    if pixel_format.startswith("Bayer"):
        part = cv2.resize(part, tuple(max(1, side // 2) for side in part.shape[1::-1]), interpolation=cv2.INTER_AREA)
    elif part.ndim == 3:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY if pixel_format == "RGB8" else cv2.COLOR_BGR2GRAY)
    deviation = cv2.meanStdDev(cv2.Laplacian(part, cv2.CV_16S))[1]
    return float(deviation[0, 0]) ** 2


def fingerprint(pixels: Picture) -> int:
    """A number that is the same for two pictures that are pixel for pixel the same.

    CRC-32 of evenly spaced rows. A live sensor's noise changes thousands of the samples from picture to picture, so
    that two live pictures agree only by a collision of the CRC, once in 4e9: at ten a second, once in 13 years.
    """
    return zlib.crc32(_spaced_rows(pixels).tobytes(), zlib.crc32(repr((pixels.shape, pixels.dtype.str)).encode()))


def _spaced_rows(pixels: Picture) -> Picture:
    """About SAMPLED_BYTES from top to bottom; an odd step, so that both rows of a Bayer filter have a say."""
    if not pixels.size:
        return pixels
    height = pixels.shape[0]
    wanted = max(FEWEST_ROWS, SAMPLED_BYTES * height // pixels.nbytes)
    step = max(1, height // wanted)
    return np.ascontiguousarray(pixels[:: step - 1 + step % 2])


def _middle(side: int) -> slice:
    start = max(0, (side - CENTRE_PX) // 2)
    return slice(start, start + CENTRE_PX)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
