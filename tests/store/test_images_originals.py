"""Stored originals read again: the camera's own pixels, or an error that names the file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from images_rig import frame, pixels_of, settings, verdict

from edge_inspector.datatypes import Frame, PixelFormat
from edge_inspector.errors import FrameError
from edge_inspector.store.images.darkroom import Darkroom
from edge_inspector.store.images.files import write
from edge_inspector.store.images.originals import read_original
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.waiting import Task
from edge_inspector.store.reading import StoredImage

FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)


def stored(folder: Path, taken: Frame, **changes: Any) -> StoredImage:
    room = Darkroom(settings(**changes), {"top": None})
    ((image, content),) = room.prints(Task(verdict(3), (Wanted("original", ("rejects",), 1),), taken, 1))
    write(folder, image.path, content)
    return StoredImage(**asdict(image), id=1, removed_utc=None)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_every_pixel_of_a_lossless_original_comes_back_in_its_format(tmp_path: Path, pixel_format: PixelFormat) -> None:
    taken = frame(pixels_of(pixel_format), pixel_format)
    again = read_original(tmp_path, stored(tmp_path, taken))
    np.testing.assert_array_equal(again.pixels, taken.pixels)
    assert again.pixels.dtype == taken.pixels.dtype
    assert (again.camera, again.frame_id, again.pixel_format) == (taken.camera, taken.frame_id, pixel_format)


def test_a_jpeg_is_read_as_what_it_shows(tmp_path: Path) -> None:
    taken = frame(np.full((48, 64, 3), (200, 100, 20), np.uint8), "RGB8")
    again = read_original(tmp_path, stored(tmp_path, taken, originals={"format": "jpeg"}))
    assert again.pixel_format == "BGR8"
    assert np.abs(again.pixels.astype(int) - (20, 100, 200)).max() < 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "../away.png"}, "outside"),
        ({"path": "rejects/none.png"}, "is not in"),
        ({"path": "rejects"}, "cannot be read"),
        ({"sha256": "0" * 64}, "not the file that was stored"),
        ({"pixel_format": "BGR8"}, "is a BGR8 picture of shape"),
        ({"image_hw": (64, 48)}, "booked as"),
    ],
)
def test_what_is_not_what_was_stored_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    image = replace(stored(tmp_path, frame()), **changes)
    with pytest.raises(FrameError, match=words) as refused:
        read_original(tmp_path, image)
    assert image.path in str(refused.value)


def test_a_link_in_the_image_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    image = stored(tmp_path / "images", frame())
    path = tmp_path / "images" / image.path
    path.rename(tmp_path / "moved.png")
    path.symlink_to(tmp_path / "moved.png")
    with pytest.raises(FrameError, match="outside"):
        read_original(tmp_path / "images", image)


def test_a_text_with_the_right_sum_is_no_picture(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "a.png").write_bytes(b"no picture")
    image = stored(tmp_path, frame())
    told = replace(image, path="a.png", sha256=hashlib.sha256(b"no picture").hexdigest(), size_bytes=10)
    with pytest.raises(FrameError, match="cannot be unpacked"):
        read_original(tmp_path, told)
