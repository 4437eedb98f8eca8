"""Pictures from files: patterns, formats, and a reason for each that cannot be used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from board_renderer import poses, render

from edge_inspector.calibration.boards import parse_board
from edge_inspector.calibration.pictures import named, picture_files, read_gray, seen_in
from edge_inspector.datatypes import Calibration
from edge_inspector.errors import ConfigError

LENS = Calibration((480, 640), (560.0, 561.0, 322.3, 237.8), (-0.2, 0.06, 0.0008, -0.0005, 0.01))
BOARD = parse_board("chessboard:9x6:25mm")


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        pytest.param(["img*.png"], ["img1.png", "img2.png", "img10.png"], id="a pattern, 2 before 10"),
        pytest.param(["."], ["b.JPG", "img1.png", "img2.png", "img10.png"], id="a folder, its pictures only"),
        pytest.param(["b.JPG", "img1.png"], ["b.JPG", "img1.png"], id="files in the order given"),
        pytest.param(["img1.png", "img*.png"], ["img1.png", "img2.png", "img10.png"], id="each once"),
        pytest.param(["**/c.png"], ["sub/c.png"], id="a pattern that goes down"),
    ],
)
def test_patterns_folders_and_names_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: list[str], found: list[str]
) -> None:
    touched(tmp_path, "img10.png", "img2.png", "img1.png", "b.JPG", "notes.txt", "sub/c.png")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in picture_files(patterns)] == found


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    touched(tmp_path, "img[1].png")
    assert picture_files([str(tmp_path / "img[1].png")]) == [tmp_path / "img[1].png"]


def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "a.png")
    with pytest.raises(ConfigError, match=r"\*\.jpg': no picture is there"):
        picture_files([str(tmp_path / "a.png"), str(tmp_path / "*.jpg")])


RAMP = np.tile(np.arange(0, 256, dtype=np.uint8), (8, 1))


@pytest.mark.parametrize(
    ("suffix", "stored"),
    [
        pytest.param(".png", RAMP, id="8-bit gray"),
        pytest.param(".png", cv2.cvtColor(RAMP, cv2.COLOR_GRAY2BGR), id="colour"),
        pytest.param(".png", cv2.cvtColor(RAMP, cv2.COLOR_GRAY2BGRA), id="colour with transparency"),
        pytest.param(".png", RAMP.astype(np.uint16) << 4, id="12 bits in 16"),
        pytest.param(".tif", RAMP.astype(np.uint16) << 8, id="16 bits"),
    ],
)
def test_every_usual_format_becomes_the_same_gray(tmp_path: Path, suffix: str, stored: np.ndarray) -> None:
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), stored)
    assert np.array_equal(read_gray(path), RAMP)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty or not a picture", id="empty"),
        pytest.param(b"no picture", "is not a picture that OpenCV can read", id="text"),
        pytest.param(None, "cannot be read: No such file", id="absent"),
    ],
)
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"a.png: {said}"):
        read_gray(path)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), RAMP.astype(np.float32))
    with pytest.raises(ConfigError, match="float32 pixels, expected 8 or 16 bits"):
        read_gray(path)


def test_pictures_without_a_board_or_unreadable_are_dropped_with_the_reason(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), render(BOARD, LENS, next(poses(BOARD, LENS, 1))))
    cv2.imwrite(str(tmp_path / "2.png"), np.full(LENS.image_hw, 90, np.uint8))
    (tmp_path / "3.png").write_text("no picture")
    told: list[tuple[str, int, int]] = []
    sightings, dropped = seen_in(picture_files([str(tmp_path)]), BOARD, lambda *step: told.append(step))
    assert [(one.name, len(one.ids)) for one in sightings] == [("1.png", 54)]
    assert [one.name for one in dropped] == ["2.png", "3.png"]
    assert dropped[0].reason == "no chessboard:9x6:25mm found in it"
    assert "is not a picture" in dropped[1].reason
    assert told == [("finding the board", done, 3) for done in range(4)]


def test_files_of_the_same_name_are_told_apart_by_their_path() -> None:
    assert list(named([Path("a/1.png"), Path("b/1.png"), Path("b/2.png")])) == ["a/1.png", "b/1.png", "2.png"]
