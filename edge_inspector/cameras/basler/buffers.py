"""pylon's buffers: how pixels lie in them, and how they are numbered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import PixelFormat
from edge_inspector.errors import FrameError

NO_BLOCK_ID = 2**64 - 1
"""pylon's BlockID of a buffer that has none, and of a device that gives none, as the emulator of pypylon 4.

0 means the same on a GigE camera; USB and the emulator begin with it."""

Pixels = npt.NDArray[Any]


def _layout(name: str) -> tuple[type[np.generic], int]:
    return (np.uint16 if name.endswith("12") else np.uint8, 3 if name in ("BGR8", "RGB8") else 1)


SAMPLES: Mapping[PixelFormat, tuple[type[np.generic], int]] = {name: _layout(name) for name in get_args(PixelFormat)}
"""Sample type and samples a pixel. Mono12 and Bayer..12 are the unpacked ones: 16 bits, the upper four empty."""
PACKED: Mapping[str, PixelFormat] = {"BGR8Packed": "BGR8", "RGB8Packed": "RGB8"}
"""What older cameras and the emulator call BGR8 and RGB8: the same bytes. (Mono12Packed is not Mono12.)"""


def known_format(name: str) -> PixelFormat | None:
    """Our name of a camera's PixelFormat; None = it is none of ours."""
    name = PACKED.get(name, name)
    return next((known for known in SAMPLES if known == name), None)


def unpadded(view: memoryview, hw: tuple[int, int], sample: np.dtype[Any], samples: int, padding_bytes: int) -> Pixels:
    """HxW or HxWx`samples` on the same memory, without the padding behind each row. FrameError when it is too short."""
    height, width = hw
    pixel_bytes = samples * sample.itemsize
    stride = width * pixel_bytes + padding_bytes
    expected = height * stride - padding_bytes
    if view.nbytes < expected:
        raise FrameError(f"{view.nbytes} bytes of pixels, expected {expected}")
    shape, strides = (height, width, samples), (stride, pixel_bytes, sample.itemsize)
    pixels: Pixels = np.ndarray(shape, sample, view, 0, strides)
    return pixels[:, :, 0] if samples == 1 else pixels


def continued(previous: int, block_id: int) -> int:
    """`block_id` carried on past 65535, after which GigE Vision 1 goes back to 1; longer ids come out as they are."""
    return block_id + 65535 * max(0, round((previous - block_id) / 65535))


class BlockIds:
    """One number for each buffer of an opened camera, rising over wraps and restarts; a gap is a lost picture."""

    def __init__(self) -> None:
        self._last = -1
        self._offset = 0
        self._fresh = True
        self._numbered = False
        self._unnumbered = 0

    def restart(self) -> None:
        """Grabbing begins again, and with it the camera's count; what is lost just then leaves no gap."""
        self._fresh = True

    def following(self, block_id: int, skipped: int) -> tuple[int | None, int]:
        """The number of the next buffer, and how many were lost before it; `skipped` is what pylon itself replaced.

        None: this buffer has no id, though the camera numbers them; a failed one may come so. Of a camera that numbers
        none we count what comes: failed buffers and those that pylon replaced still leave a gap.
        """
        has_none = block_id == NO_BLOCK_ID or (block_id == 0 and not self._fresh)
        if has_none and self._numbered:
            self._unnumbered += 1
            return None, 0
        if has_none:
            number = self._last + 1 + skipped
        elif self._fresh:
            self._offset = 0 if self._last < 0 else self._last + 1 + skipped - block_id
            number = block_id + self._offset
        else:
            number = continued(self._last - self._offset, block_id) + self._offset
        lost = skipped if self._fresh else max(0, number - self._last - 1 - self._unnumbered)
        self._numbered = self._numbered or block_id not in (0, NO_BLOCK_ID)
        self._fresh, self._unnumbered = False, 0
        self._last = max(self._last, number)
        return number, lost
