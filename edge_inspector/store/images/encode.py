"""From a camera's pixels to the bytes of a file, and what the file says of itself."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import PixelFormat, SavedImage
from edge_inspector.stages.prepare import LAYOUTS

Pixels = npt.NDArray[Any]
Format = Literal["png", "jpeg"]
SUFFIX: dict[Format, str] = {"png": "png", "jpeg": "jpg"}

Content: TypeAlias = tuple[memoryview, ...]
"""The pieces of a file: nobody copies megabytes while other threads wait for the interpreter."""

_PNG = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"edge-inspector\0"
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
"""Noise of a sensor compresses no better at higher levels: half a millisecond more each kilobyte for nothing."""
_JPEG_START, _JPEG_COMMENT = b"\xff\xd8", b"\xff\xfe"
_NOT_IN_FILE = ("path", "sha256", "size_bytes")


class NotAPicture(ValueError):
    """Pixels that are not what their format says; the message says what they are."""


def check(pixels: Pixels, pixel_format: PixelFormat) -> None:
    """NotAPicture: a damaged frame, of which nobody knows what it would show."""
    layout = LAYOUTS.get(pixel_format)
    channels = pixels.shape[2:] if layout and layout.dimensions == 3 else (3,)
    if (
        not layout
        or pixels.ndim != layout.dimensions
        or channels != (3,)
        or pixels.dtype != layout.dtype
        or not pixels.size
    ):
        raise NotAPicture(f"a {pixel_format} picture of shape {pixels.shape}, {pixels.dtype}")


def lossless(pixels: Pixels, pixel_format: PixelFormat) -> memoryview:
    """A PNG that holds these pixels bit by bit: a raw mosaic and 12-bit pixels as gray, colours in their order."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixel_format == "RGB8" else pixels
    return _encoded(".png", ordered, _PNG_OPTIONS)


def for_people(picture: Pixels, form: Format, quality: int) -> memoryview:
    """An 8-bit gray or BGR picture."""
    if form == "png":
        return _encoded(".png", picture, _PNG_OPTIONS)
    return _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def developed(pixels: Pixels, pixel_format: PixelFormat) -> Pixels:
    """8 bits, gray or BGR, as a person sees it."""
    layout = LAYOUTS[pixel_format]
    eight = pixels if pixels.dtype == np.uint8 else np.minimum(pixels >> 4, 255).astype(np.uint8)
    if layout.mosaic:
        return cv2.cvtColor(eight, layout.mosaic["bgr"])
    return cv2.cvtColor(eight, cv2.COLOR_RGB2BGR) if layout.order == "rgb" else eight


def labelled(content: memoryview, image: SavedImage) -> Content:
    """The same picture with all that the ledger says of it in a text chunk (PNG) or comment (JPEG)."""
    facts = {name: value for name, value in asdict(image).items() if name not in _NOT_IN_FILE}
    text = json.dumps(facts, separators=(",", ":")).encode()
    if content[: len(_PNG)] == _PNG:
        at = len(_PNG) + 25  # after IHDR: length, name, 13 bytes, CRC
        label = _chunk(b"tEXt", _KEYWORD + text)
    else:
        at = len(_JPEG_START)
        label = _JPEG_COMMENT + struct.pack(">H", len(_KEYWORD + text) + 2) + _KEYWORD + text
    return content[:at], memoryview(label), content[at:]


def label_of(content: bytes) -> dict[str, Any] | None:
    """What `labelled` wrote, None = the file is damaged or not ours."""
    try:
        texts = _png_texts(content) if content.startswith(_PNG) else _jpeg_comments(content)
        found = next((text for text in texts if text.startswith(_KEYWORD)), None)
        label = None if found is None else json.loads(found[len(_KEYWORD) :])
    except (struct.error, ValueError):
        return None
    return label if isinstance(label, dict) else None


def _encoded(suffix: str, picture: Pixels, options: list[int]) -> memoryview:
    done, content = cv2.imencode(suffix, picture, options)
    if not done:
        raise NotAPicture(f"OpenCV writes no {suffix} of shape {picture.shape}, {picture.dtype}")
    return content.data


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_texts(content: bytes) -> Iterator[bytes]:
    """Of a PNG that is whole: each chunk has its check sum, the last one is there."""
    at, texts, name = len(_PNG), [], b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", content, at + 8 + length)
        if crc != zlib.crc32(name + data):
            raise ValueError(f"chunk {name!r} is damaged")
        if name == b"tEXt":
            texts.append(data)
        at += 12 + length
    return iter(texts)


def _jpeg_comments(content: bytes) -> Iterator[bytes]:
    """Of a JPEG that has its end."""
    if not content.startswith(_JPEG_START) or not content.endswith(b"\xff\xd9"):
        raise ValueError("not a whole JPEG")
    at, comments = 2, []
    while content[at : at + 2] == _JPEG_COMMENT:
        (length,) = struct.unpack_from(">H", content, at + 2)
        comments.append(content[at + 4 : at + 2 + length])
        at += 2 + length
    return iter(comments)
