"""What the demo films comes back straight: the truth stays true through lens and undistortion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_inspector.datatypes import InputSpec, PreparePlan
from edge_inspector.demo.boards import draw_board
from edge_inspector.demo.filming import FRAME_HW, LENS, DemoPicture, film, from_coco, generated
from edge_inspector.errors import ConfigError
from edge_inspector.stages.prepare import prepare

NONE = np.zeros((0, 4), np.float32)
NO_CLASS = np.zeros(0, np.int64)


def test_the_station_sees_the_board_as_it_was_drawn(tmp_path: Path) -> None:
    board = cv2.GaussianBlur(draw_board(np.random.default_rng(3), 640, 4).picture, (0, 0), 2)
    cv2.imwrite(str(tmp_path / "board.png"), board)
    filmed, roi = film([DemoPicture(tmp_path / "board.png", NONE, NO_CLASS)], tmp_path / "frames")
    frame = cv2.imread(str(filmed[0].frame), cv2.IMREAD_GRAYSCALE)
    assert frame is not None
    assert frame.shape == FRAME_HW
    plan = PreparePlan(InputSpec(640, 640, "gray", 1.0, (0.0,), (1.0,), 0), roi, LENS)
    seen = prepare(frame, "Mono8", plan).pixels[0, 0]
    straight = np.abs(seen - board.astype(np.float32))
    bent = np.abs(frame[roi.y : roi.y + 640, roi.x : roi.x + 640].astype(np.float32) - board)
    assert straight.mean() < 3
    assert straight.mean() < bent.mean() / 5


def test_boxes_move_with_the_board_into_the_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 200), np.uint8))
    box = np.array([[1, 2, 30, 40]], np.float32)
    filmed, roi = film([DemoPicture(tmp_path / "a.png", box, np.array([0]))], tmp_path / "frames")
    assert (roi.x, roi.y, roi.width, roi.height) == (380, 350, 200, 100)
    assert filmed[0].xyxy.tolist() == [[381, 352, 410, 390]]


def test_generated_parts_are_reproducible_and_two_of_five_are_bad(tmp_path: Path) -> None:
    first, again = generated(tmp_path / "a", 10, 7), generated(tmp_path / "b", 10, 7)
    assert [p.good for p in first].count(False) == 4
    for one, other in zip(first, again, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.xyxy.tolist() == other.xyxy.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "not usable", id="no JSON"),
        pytest.param("[]", "not usable", id="not an object"),
        pytest.param('{"images": [], "annotations": []}', "not usable", id="no categories"),
        pytest.param(
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cat"}],'
            ' "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]}',
            "open, short",
            id="other classes",
        ),
    ],
)
def test_a_truth_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        from_coco([tmp_path], tmp_path / "truth.json")


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    pictures = []
    for name, side in (("a.png", 64), ("b.png", 65)):
        cv2.imwrite(str(tmp_path / name), np.zeros((side, side), np.uint8))
        pictures.append(DemoPicture(tmp_path / name, NONE, NO_CLASS))
    with pytest.raises(ConfigError, match=r"b\.png is 65x65; the demo expects 64x64"):
        film(pictures, tmp_path / "frames")
