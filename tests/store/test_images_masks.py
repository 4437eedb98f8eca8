"""Masks in the camera's own pixels: what is hidden stays hidden, whatever the lens does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images_rig import box

from edge_inspector.datatypes import Calibration
from edge_inspector.store.images.masks import Polygon, mask_of

HW = (240, 320)
LENSES = {
    "barrel": Calibration(HW, (250.0, 250.0, 160.0, 120.0), (-0.3, 0.09, 0.0, 0.0)),
    "pincushion": Calibration(HW, (250.0, 250.0, 155.0, 125.0), (0.2, 0.0, 0.001, -0.001)),
    "rational": Calibration(HW, (250.0, 250.0, 160.0, 120.0), (0.5, 0.2, 0.0, 0.0, 0.01, 0.8, 0.3, 0.02)),
    "fisheye": Calibration(HW, (160.0, 160.0, 160.0, 120.0), (-0.02, 0.003, 0.0, 0.0), "fisheye"),
}


def straightened(picture: np.ndarray, lens: Calibration) -> np.ndarray:
    """By OpenCV alone; the nearest of the camera's pixels."""
    fx, fy, cx, cy = lens.matrix
    matrix, distortion = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(lens.distortion)
    if lens.lens == "fisheye":
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, distortion, np.eye(3), matrix, HW[::-1], cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, HW[::-1], cv2.CV_32FC1)
    return cv2.remap(picture, *maps, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES.keys())
@settings(max_examples=25)
@given(x=st.integers(0, 300), y=st.integers(0, 220), width=st.integers(1, 200), height=st.integers(1, 200))
def test_nothing_of_a_masked_box_is_seen_in_the_straightened_picture(
    lens: Calibration, x: int, y: int, width: int, height: int
) -> None:
    white = np.full(HW, 255, np.uint8)
    white[mask_of(HW, [box(x, y, width, height)], lens)] = 0
    seen = straightened(white, lens)
    assert not seen[y : y + height, x : x + width].any()


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES.keys())
@pytest.mark.parametrize("thin", [box(1, 1, 1, 1), box(0, 3, 320, 1), box(2, 0, 1, 240), box(317, 237, 2, 2)])
def test_what_is_thinner_than_the_lens_is_stretched_is_hidden_too(lens: Calibration, thin: Polygon) -> None:
    """In the corners of a wide lens one pixel of the camera becomes many."""
    white = np.full(HW, 255, np.uint8)
    white[mask_of(HW, [thin], lens)] = 0
    wanted = np.zeros(HW, bool)
    (left, top), (right, bottom) = np.array(thin, int).min(axis=0), np.array(thin, int).max(axis=0)
    wanted[top:bottom, left:right] = True
    assert not straightened(white, lens)[wanted].any()


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES.keys())
def test_little_more_than_the_box_is_hidden(lens: Calibration) -> None:
    white = np.full(HW, 255, np.uint8)
    white[mask_of(HW, [box(100, 80, 60, 50)], lens)] = 0
    seen = straightened(white, lens)
    outside = np.ones(HW, bool)
    outside[74:136, 94:166] = False
    shown = straightened(np.full(HW, 255, np.uint8), lens)
    np.testing.assert_array_equal(seen[outside], shown[outside])


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES.keys())
def test_what_lies_beyond_the_edge_of_the_straightened_picture_goes_with_the_edge(lens: Calibration) -> None:
    left = mask_of(HW, [box(0, 0, 40, 240)], lens)
    assert left[:, 0].all(), "the camera sees further to the left than the straightened picture"
    assert not left[:, 250:].any()
    assert mask_of(HW, [box(0, 0, 320, 240)], lens).all()


def test_where_the_lens_model_does_not_hold_all_is_hidden() -> None:
    folded = Calibration(
        HW, (100.0, 100.0, 160.0, 120.0), (-0.6, 0.0, 0.0, 0.0)
    )  # radius turns back inside the picture
    mask = mask_of(HW, [box(150, 110, 20, 20)], folded)
    assert mask[0, 0]
    assert mask[239, 319]
    assert mask[120, 160]
    assert not mask[120, 190]


@pytest.mark.parametrize(
    ("shape", "inside", "outside"),
    [
        pytest.param(box(10, 20, 5, 4), [(20, 10), (23, 14)], [(17, 10), (20, 7), (27, 10), (20, 18)], id="box"),
        pytest.param(box(315, 235, 999, 999), [(239, 319), (235, 315)], [(230, 310)], id="over the edge"),
        pytest.param(
            ((100, 100), (200, 100), (200, 200)),
            [(101, 110), (150, 199), (198, 199)],
            [(150, 120), (99, 97)],
            id="triangle",
        ),
        pytest.param(
            ((-50, -50), (60, -50), (60, 60), (-50, 60)),
            [(0, 0), (59, 59)],
            [(64, 20), (20, 64)],
            id="corners outside the picture",
        ),
        pytest.param(
            ((0, 0), (100, 0), (50, 40), (100, 100), (0, 100)),
            [(5, 90), (90, 85), (40, 40)],
            [(50, 90)],
            id="with a dent",
        ),
    ],
)
def test_shapes_without_a_lens(shape: Polygon, inside: list[tuple[int, int]], outside: list[tuple[int, int]]) -> None:
    mask = mask_of(HW, [shape], None)
    assert [at for at in inside if not mask[at]] == []
    assert [at for at in outside if mask[at]] == []


def test_several_shapes_add_up_also_where_they_overlap() -> None:
    mask = mask_of(HW, [box(10, 10, 50, 50), box(30, 30, 50, 50)], None)
    assert mask[40, 40]
    assert mask[12, 12]
    assert mask[78, 78]
    assert not mask[12, 78]


def test_a_picture_that_has_not_the_size_of_the_calibration_is_hidden_as_a_whole() -> None:
    """A camera that came back with another region: its part is UNDEFINED, and kept; where the mask belongs is open."""
    assert mask_of((100, 100), [box(10, 10, 20, 20)], LENSES["barrel"]).all()


@pytest.mark.parametrize("hw", [(1, 1), (7, 9), (257, 513)])
def test_every_size_of_picture_has_a_mask(hw: tuple[int, int]) -> None:
    lens = Calibration(hw, (300.0, 300.0, hw[1] / 2, hw[0] / 2), (-0.1, 0.0, 0.0, 0.0))
    assert mask_of(hw, [box(0, 0, 1, 1)], lens)[0, 0]
    assert mask_of(hw, [box(0, 0, 1, 1)], lens).shape == hw
