"""Pictures from strangers: looked at before they are unpacked, because a few bytes can unpack to gigabytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import PixelFormat
from edge_inspector.web.problems import Refused

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BITS, _PNG_COLOURS, _PNG_GRAY = 24, 25, 0  # where its header says them
_JPEG = b"\xff\xd8\xff"
_SIDE = 65_500  # px; OpenCV's remap takes no more than 32767, JPEG no more than this
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # start-of-frame markers
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_TWELVE_BITS = 4096


@dataclass(frozen=True)
class Unpacked:
    """HxW or HxWx3, C-contiguous, uint8 or uint16, as a camera would have given them."""

    pixels: npt.NDArray[Any]
    pixel_format: PixelFormat


def unpack_all(pictures: Mapping[str, bytes], max_mpx: float, pixel_format: PixelFormat | None) -> dict[str, Unpacked]:
    """The pictures of one request, by camera, which may have `max_mpx` together. Refused as by `unpack`."""
    sizes = {name: _size(name, content) for name, content in pictures.items()}
    if sum(height * width for height, width in sizes.values()) > max_mpx * 1e6:
        found = ", ".join(f"{name}: {width} x {height}" for name, (height, width) in sizes.items())
        raise Refused(413, f"{found} pixels; expected at most {max_mpx:g} megapixels together")
    return {name: unpack(name, content, max_mpx, pixel_format) for name, content in pictures.items()}


def unpack(name: str, content: bytes, max_mpx: float, pixel_format: PixelFormat | None) -> Unpacked:
    """A PNG or JPEG. `pixel_format` says what gray pixels are: Mono8 (default) or a Bayer pattern, 8 or 12 bits.

    Refused: 415 no PNG or JPEG, or damaged; 413 too many pixels; 422 the pixels are not of that format.
    """
    height, width = _size(name, content)
    if max(height, width) > _SIDE or height * width > max_mpx * 1e6:
        raise Refused(413, f"{name}: {width} x {height} pixels; expected at most {max_mpx:g} megapixels")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (height, width):
        raise _damaged(name, content)
    if pixels.ndim == 3:  # transparent parts have no meaning here
        pixels = pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
    return Unpacked(np.ascontiguousarray(pixels), _format_of(name, pixels, pixel_format))


def _format_of(name: str, pixels: npt.NDArray[Any], asked: PixelFormat | None) -> PixelFormat:
    gray, deep = pixels.ndim == 2, pixels.dtype == np.uint16
    if deep and int(pixels.max()) >= _TWELVE_BITS:
        raise Refused(422, f"{name}: 16-bit values up to {int(pixels.max())}; expected 12 bits, 0 to 4095")
    usual: PixelFormat = ("Mono12" if deep else "Mono8") if gray else "BGR8"
    given = asked or usual
    fits = gray and given.endswith("12" if deep else "8") and given not in ("BGR8", "RGB8")
    if given != usual and not fits:
        what = f"{'gray' if gray else 'coloured'} with {'12' if deep else '8'} bits"
        raise Refused(422, f"{name}: pixel_format = {given}, but the picture is {what}; expected {usual}")
    return given


def _size(name: str, content: bytes) -> tuple[int, int]:
    """Height and width, px, out of the header. Refused: 415, or 422 when it would unpack to what nobody wants."""
    if content.startswith(_PNG):
        size = _png_size(content)
        if size is not None and content[_PNG_BITS] == 16 and content[_PNG_COLOURS] != _PNG_GRAY:
            raise Refused(422, f"{name}: a picture of 16-bit colours; expected 8 bits, or gray")
    elif content.startswith(_JPEG):
        size = _jpeg_size(content)
    else:
        raise Refused(415, f"{name}: expected a PNG or JPEG picture")
    if size is None:
        raise _damaged(name, content)
    return size


def _damaged(name: str, content: bytes) -> Refused:
    return Refused(415, f"{name}: a damaged {'PNG' if content.startswith(_PNG) else 'JPEG'} picture")


def _png_size(content: bytes) -> tuple[int, int] | None:
    """Height and width of the header, which must come first."""
    if len(content) < 33 or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    return (height, width) if width and height else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Height and width of the first frame header."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or marker in _ALONE:  # 0xFF: filling
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack(">H", content[at + 2 : at + 4])[0]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return (height, width) if width and height else None
        at += 2 + max(2, length)
    return None
