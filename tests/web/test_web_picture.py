"""Pictures from strangers: what is taken, what is refused before it is unpacked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import PixelFormat
from edge_inspector.web.picture import unpack, unpack_all
from edge_inspector.web.problems import Refused

cv2.setNumThreads(1)
GRAY = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9)
COLOUR = np.dstack([GRAY, GRAY[::-1], 255 - GRAY])
DEEP = GRAY.astype(np.uint16) * 70


def encoded(pixels: npt.NDArray[Any], kind: str = ".png") -> bytes:
    return cv2.imencode(kind, pixels)[1].tobytes()


def png(width: int, height: int, data: bytes = b"", bits: int = 8, color: int = 0) -> bytes:
    """A PNG of our own, whose header says what we like."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("pixels", "asked", "given_format"),
    [
        (GRAY, None, "Mono8"),
        (GRAY, "Mono8", "Mono8"),
        (GRAY, "BayerRG8", "BayerRG8"),
        (COLOUR, None, "BGR8"),
        (COLOUR, "BGR8", "BGR8"),
        (DEEP, None, "Mono12"),
        (DEEP, "BayerGB12", "BayerGB12"),
    ],
)
def test_pixels_come_out_as_they_were(
    pixels: npt.NDArray[Any], asked: PixelFormat | None, given_format: PixelFormat
) -> None:
    taken = unpack("top", encoded(pixels), 1.0, asked)
    assert taken.pixel_format == given_format
    assert taken.pixels.dtype == pixels.dtype
    assert np.array_equal(taken.pixels, pixels)
    assert taken.pixels.flags.c_contiguous


def test_what_is_transparent_is_left_out() -> None:
    taken = unpack("top", encoded(np.dstack([COLOUR, np.full_like(GRAY, 7)])), 1.0, None)
    assert np.array_equal(taken.pixels, COLOUR)
    gray_alpha = png(2, 1, b"\x00" + bytes([10, 255, 20, 0]), color=4)
    assert unpack("top", gray_alpha, 1.0, None).pixels.shape[:2] == (1, 2)


def test_a_jpeg_is_taken_as_it_lies_whatever_it_says_about_its_rotation() -> None:
    plain = encoded(COLOUR, ".jpg")
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    taken = unpack("top", turned, 1.0, None)
    assert taken.pixels.shape == (6, 9, 3)
    assert np.array_equal(taken.pixels, unpack("top", plain, 1.0, None).pixels)


REFUSED: dict[str, tuple[Callable[[], bytes], PixelFormat | None, int, str]] = {
    "no picture": (lambda: b"hello", None, 415, "PNG or JPEG"),
    "nothing": (lambda: b"", None, 415, "PNG or JPEG"),
    "another format": (lambda: encoded(COLOUR, ".bmp"), None, 415, "PNG or JPEG"),
    "a header alone": (lambda: encoded(GRAY)[:20], None, 415, "damaged PNG"),
    "a PNG without its end": (lambda: encoded(GRAY)[:-40], None, 415, "damaged PNG"),
    "a JPEG without a frame": (lambda: encoded(COLOUR, ".jpg")[:20], None, 415, "damaged JPEG"),
    "no pixels": (lambda: png(0, 5), None, 415, "damaged PNG"),
    "a bomb of 4 gigapixels": (lambda: png(65_000, 65_000), None, 413, "65000 x 65000 pixels"),
    "a bomb in one line": (lambda: png(2**31 - 1, 1), None, 413, "pixels"),
    "just too many": (lambda: png(1001, 1000), None, 413, "at most 1 megapixels"),
    "16 bits": (lambda: encoded(DEEP * 20), None, 422, "expected 12 bits"),
    "16-bit colours": (lambda: encoded(COLOUR.astype(np.uint16)), None, 422, "16-bit colours"),
    "8 bits as 12": (lambda: encoded(GRAY), "Mono12", 422, "gray with 8 bits"),
    "12 bits as 8": (lambda: encoded(DEEP), "BayerRG8", 422, "gray with 12 bits"),
    "colours as gray": (lambda: encoded(COLOUR), "BayerRG8", 422, "coloured"),
    "gray as colours": (lambda: encoded(GRAY), "BGR8", 422, "gray"),
    "colours turned round": (lambda: encoded(COLOUR), "RGB8", 422, "expected BGR8"),
}


@pytest.mark.parametrize(("content", "asked", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_its_reason(
    content: Callable[[], bytes], asked: PixelFormat | None, status: int, words: str
) -> None:
    with pytest.raises(Refused, match="top: ") as refused:
        unpack("top", content(), 1.0, asked)
    assert refused.value.status_code == status
    assert words in refused.value.detail


@pytest.mark.parametrize("color", [2, 3, 4, 6])
def test_16_bit_colours_are_refused_before_they_are_unpacked(color: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(Refused, match="16-bit colours"):
        unpack("top", png(10, 10, bits=16, color=color), 1.0, None)


def test_many_pictures_have_no_more_pixels_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    together = {name: png(1000, 400) for name in ("top", "left", "right")}
    with monkeypatch.context() as patched:
        patched.setattr(cv2, "imdecode", lambda *_: pytest.fail("unpacked"))
        with pytest.raises(Refused, match=r"top: 1000 x 400, left: .* at most 1 megapixels together") as refused:
            unpack_all(together, 1.0, None)
    assert refused.value.status_code == 413
    taken = unpack_all({"top": encoded(GRAY), "left": encoded(COLOUR)}, 108e-6, None)
    assert {name: one.pixel_format for name, one in taken.items()} == {"top": "Mono8", "left": "BGR8"}


@pytest.mark.parametrize("kind", [".png", ".jpg"])
@given(data=st.data())
@settings(max_examples=60)
def test_whatever_comes_is_unpacked_or_refused(kind: str, data: st.DataObject) -> None:
    good = bytearray(encoded(COLOUR, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(3, len(good) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(good[: data.draw(st.integers(0, len(good)))]) + data.draw(st.binary(max_size=12))
    status, pixels = 0, 0
    try:
        pixels = int(np.prod(unpack("top", content, 0.01, None).pixels.shape[:2]))
    except Refused as refused:
        status = refused.status_code
    assert 0 < pixels <= 10_000 or status in (413, 415, 422)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_after_the_first_of_a_jpeg_are_survived(rest: bytes) -> None:
    with pytest.raises(Refused):
        unpack("top", b"\xff\xd8\xff" + rest, 1.0, None)
