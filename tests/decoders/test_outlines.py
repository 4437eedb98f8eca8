from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_inspector.decoders.outlines import blobs, outlined
from edge_inspector.stages.nms import LIMIT_PER_CLASS


def mask(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows]).view(np.uint8)


@pytest.mark.parametrize(
    ("rows", "corners", "area"),
    [
        pytest.param(["#"], {(0, 0), (1, 0), (1, 1), (0, 1)}, 1, id="one pixel is a square of its four edges"),
        pytest.param(["....", ".##."], {(1, 1), (3, 1), (3, 2), (1, 2)}, 2, id="a line lies where its pixels lie"),
        pytest.param(["###", "#.#", "###"], {(0, 0), (3, 0), (3, 3), (0, 3)}, 8, id="a hole counts in the area only"),
        pytest.param(["##.#", "##.."], {(0, 0), (2, 0), (2, 2), (0, 2)}, 5, id="the largest part is outlined"),
    ],
)
def test_an_outline_runs_along_pixel_edges(rows: list[str], corners: set[tuple[float, float]], area: float) -> None:
    region = outlined(mask(*rows), 0, 0)
    assert region is not None
    assert {tuple(corner) for corner in region.outline.tolist()} == corners
    assert region.area_px == area


def test_pixels_that_meet_in_a_corner_are_one_part() -> None:
    region = outlined(mask("#..", ".#.", "..#"), 0, 0)
    assert region is not None
    assert (region.outline.min(axis=0).tolist(), region.outline.max(axis=0).tolist()) == ([0, 0], [3, 3])


def test_an_outline_is_moved_and_enlarged_to_the_input() -> None:
    region = outlined(mask(".#", ".."), 10, 20, px=4)
    assert region is not None
    assert region.outline.dtype == np.float32
    assert {tuple(corner) for corner in region.outline.tolist()} == {(14, 20), (18, 20), (18, 24), (14, 24)}
    assert region.area_px == 16


def test_an_empty_mask_has_no_outline() -> None:
    assert outlined(mask("...", "..."), 0, 0) is None


def test_the_outline_of_a_disc_has_its_area_within_the_corners_that_it_cuts() -> None:
    y, x = np.indices((60, 60)) + 0.5
    disc = (np.hypot(x - 30, y - 30) <= 20).view(np.uint8)
    region = outlined(disc, 0, 0)
    assert region is not None
    assert region.area_px == disc.sum()
    assert cv2.contourArea(region.outline) == pytest.approx(disc.sum(), rel=0.02)


def test_blobs_come_highest_peak_first_with_their_own_pixels() -> None:
    values = np.array([[0.6, 0.0, 0.7, 0.9], [0.0, 0.0, 0.0, 0.8], [0.5, 0.5, 0.0, 0.0]], np.float32)
    first, second, third = blobs(values, values >= 0.5, 1)
    assert (first.x, first.y, first.width, first.height, first.area) == (2, 0, 2, 2, 3)
    assert first.peak == np.float32(0.9)
    assert first.mask.tolist() == [[1, 1], [0, 1]]
    assert (second.x, second.y, second.peak) == (0, 0, np.float32(0.6))
    assert (third.area, third.peak) == (2, 0.5)


def test_where_nothing_is_inside_there_are_no_blobs() -> None:
    assert blobs(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool), 1) == []


def test_small_blobs_are_left_out() -> None:
    values = np.array([[0.9, 0.0, 0.5, 0.5]], np.float32)
    assert [blob.x for blob in blobs(values, values >= 0.5, 2)] == [2]


def test_of_very_many_blobs_the_highest_are_kept() -> None:
    values = np.zeros((60, 60), np.float32)
    values[::2, ::2] = 0.5 + np.arange(900).reshape(30, 30) / 2000
    found = blobs(values, values > 0, 1)
    assert len(found) == LIMIT_PER_CLASS
    assert [blob.peak for blob in found] == sorted(values[values > 0].tolist(), reverse=True)[:LIMIT_PER_CLASS]
