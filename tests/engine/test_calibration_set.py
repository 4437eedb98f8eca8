from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_inspector.engine.calibration_set import calibration_hash, pictures, read_frame
from edge_inspector.errors import ConfigError


def write_gray(path: Path, value: int) -> Path:
    cv2.imwrite(str(path), np.full((4, 6), value, np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for value in range(5):
        write_gray(made / f"{value}.png", 40 * value)
    return made


def test_names_times_and_copies_to_another_folder_do_not_change_the_hash(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, other / f"{9 - number}.PNG")
        os.utime(other / f"{9 - number}.PNG", (number, number))
    assert calibration_hash(other) == calibration_hash(folder)


def test_pictures_come_in_the_order_of_their_content_whatever_their_names(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, other / f"{9 - number}.png")
    assert [p.read_bytes() for p in pictures(other)] == [p.read_bytes() for p in pictures(folder)]


def test_another_pixel_a_further_picture_or_one_twice_is_another_set(folder: Path) -> None:
    before = calibration_hash(folder)
    write_gray(folder / "0.png", 1)
    changed = calibration_hash(folder)
    write_gray(folder / "5.png", 200)
    more = calibration_hash(folder)
    shutil.copy(folder / "5.png", folder / "6.png")
    assert len({before, changed, more, calibration_hash(folder)}) == 4


def test_what_is_no_picture_by_its_name_is_left_out(folder: Path) -> None:
    before = calibration_hash(folder)
    (folder / "notes.txt").write_text("line 3")
    (folder / ".hidden.png").write_bytes(b"thumbnail")
    (folder / "more").mkdir()
    assert (calibration_hash(folder), len(pictures(folder))) == (before, 5)


@pytest.mark.parametrize(("name", "expected"), [("missing", "cannot be read"), ("empty", "holds no picture")])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=expected):
        pictures(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "kind", "pixel_format"), [((4, 6), np.uint8, "Mono8"), ((4, 6, 3), np.uint8, "BGR8")]
)
def test_a_picture_becomes_a_frame_as_of_a_camera(
    tmp_path: Path, shape: tuple[int, ...], kind: type, pixel_format: str
) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    frame = read_frame(tmp_path / "a.png")
    assert frame.pixel_format == pixel_format
    np.testing.assert_array_equal(frame.pixels, pixels)


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [((4, 6), np.uint16, "uint16"), ((4, 6, 4), np.uint8, r"\(4, 6, 4\)"), ((0,), np.uint8, "not a picture")],
)
def test_a_file_that_the_station_would_not_deliver_is_named(
    tmp_path: Path, shape: tuple[int, ...], kind: type, expected: str
) -> None:
    path = tmp_path / "odd.png"
    if shape == (0,):
        path.write_bytes(b"GIF89a")
    else:
        cv2.imwrite(str(path), np.zeros(shape, kind))
    with pytest.raises(ConfigError, match=rf"odd\.png.*{expected}"):
        read_frame(path)
