"""The picture gate: black, saturated, out of focus, frozen; and what a picture is that none of these is."""

from __future__ import annotations

from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from edge_inspector.datatypes import PixelFormat
from edge_inspector.settings import PictureGate
from edge_inspector.stages.quality import fault, fingerprint, sharpness

cv2.setNumThreads(1)
Picture = npt.NDArray[Any]
FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
HW = (1200, 1920)


def filled(pixel_format: PixelFormat, value8: float, hw: tuple[int, int] = HW) -> Picture:
    """Of one brightness, told in 8 bit."""
    if pixel_format.endswith("12"):
        return np.full(hw, round(value8 * 4095 / 255), np.uint16)
    return np.full((*hw, 3) if pixel_format in ("BGR8", "RGB8") else hw, round(value8), np.uint8)


def scene(pixel_format: PixelFormat, blur_px: float = 0.0) -> Picture:
    """Dark and light squares, of which the filter sees each colour at another brightness."""
    rows, columns = np.indices(HW) // 24
    gray = np.where((rows + columns) % 2, 200, 40).astype(np.uint8)
    if blur_px:
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), blur_px), np.uint8)
    if pixel_format in ("BGR8", "RGB8"):
        return np.stack([gray, gray // 2, gray // 4], axis=2)
    if pixel_format.startswith("Bayer"):
        gray = gray.copy()
        gray[::2, 1::2] //= 2
        gray[1::2, ::2] //= 2
        gray[1::2, 1::2] //= 4
    return gray.astype(np.uint16) << 4 if pixel_format.endswith("12") else gray


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_normal_picture_is_fit_and_is_left_as_it_was(pixel_format: PixelFormat) -> None:
    picture = scene(pixel_format)
    before = picture.copy()
    picture.flags.writeable = False
    assert fault(picture, pixel_format, PictureGate(min_sharpness=1.0)) == ""
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_black_picture_is_refused_with_its_figures(pixel_format: PixelFormat) -> None:
    assert fault(filled(pixel_format, 0), pixel_format, PictureGate()) == (
        "mean 0 % of full scale, expected at least 0.4 % (gate.min_brightness): lens cap, light, exposure?"
    )


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_saturated_picture_is_refused_with_its_figures(pixel_format: PixelFormat) -> None:
    assert fault(filled(pixel_format, 255), pixel_format, PictureGate()) == (
        "100 % at full scale, expected at most 98 % (gate.max_saturated): exposure, gain, stray light?"
    )


@pytest.mark.parametrize(
    ("value", "pixel_format", "gate", "expected"),
    [
        pytest.param(26, "Mono8", PictureGate(min_brightness=0.1), "", id="26 of 255 is 10.2 %"),
        pytest.param(25, "Mono8", PictureGate(min_brightness=0.1), "mean 9.8 %", id="25 of 255 is 9.8 %"),
        pytest.param(410, "Mono12", PictureGate(min_brightness=0.1), "", id="410 of 4095 is 10.01 %"),
        pytest.param(409, "BayerRG12", PictureGate(min_brightness=0.1), "mean 9.99 %", id="409 of 4095 is 9.99 %"),
        pytest.param(4094, "Mono12", PictureGate(max_saturated=0), "", id="one below full scale"),
        pytest.param(255, "Mono12", PictureGate(max_saturated=0), "", id="8-bit white is dark in 12 bit"),
        pytest.param(0, "Mono8", PictureGate(min_brightness=0), "", id="black is allowed"),
        pytest.param(255, "Mono8", PictureGate(max_saturated=1), "", id="white is allowed"),
    ],
)
def test_full_scale_is_that_of_the_format(
    value: int, pixel_format: PixelFormat, gate: PictureGate, expected: str
) -> None:
    picture = np.full(HW, value, np.uint16 if pixel_format.endswith("12") else np.uint8)
    told = fault(picture, pixel_format, gate)
    assert told.startswith(expected)
    assert bool(told) == bool(expected)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_saturated_part_is_measured_from_top_to_bottom(share: float) -> None:
    picture = filled("Mono8", 100)
    picture[: round(HW[0] * share)] = 255
    assert fault(picture, "Mono8", PictureGate(max_saturated=share - 0.03)) != ""
    assert fault(picture, "Mono8", PictureGate(max_saturated=share + 0.03)) == ""


@pytest.mark.parametrize("first_row", [0, 1])
def test_both_rows_of_a_bayer_filter_are_seen(first_row: int) -> None:
    picture = np.zeros((2048, 2448), np.uint8)
    picture[first_row::2] = 100
    assert fault(picture, "BayerRG8", PictureGate(min_brightness=0.18)) == ""
    assert fault(picture, "BayerRG8", PictureGate(min_brightness=0.21)) != ""


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_picture_out_of_focus_is_refused_and_the_sharp_one_is_not(pixel_format: PixelFormat) -> None:
    sharp, blurred = (sharpness(scene(pixel_format, blur), pixel_format) for blur in (0.0, 4.0))
    assert sharp > 20 * blurred
    gate = PictureGate(min_sharpness=sharp / 2)
    assert fault(scene(pixel_format), pixel_format, gate) == ""
    told = fault(scene(pixel_format, 4.0), pixel_format, gate)
    assert told.startswith(f"sharpness {blurred:.3g} (variance of the Laplacian), expected at least {sharp / 2:g} ")


def test_focus_is_not_looked_at_unless_asked() -> None:
    assert fault(scene("Mono8", 20.0), "Mono8", PictureGate()) == ""


def test_the_colours_of_a_filter_are_not_taken_for_sharpness() -> None:
    flat_red = np.zeros(HW, np.uint8)
    flat_red[::2, ::2] = 200
    assert sharpness(flat_red, "BayerRG8") == 0
    assert sharpness(flat_red, "Mono8") > 1000


def test_12_bit_and_8_bit_of_the_same_scene_are_equally_sharp() -> None:
    assert sharpness(scene("Mono12"), "Mono12") == sharpness(scene("Mono8"), "Mono8")


def test_sharpness_is_opencvs_variance_of_the_laplacian_of_the_middle() -> None:
    picture = np.random.default_rng(7).integers(0, 256, (700, 900), np.uint8)
    middle = picture[94:606, 194:706]
    assert sharpness(picture, "Mono8") == pytest.approx(float(cv2.Laplacian(middle, cv2.CV_64F).var()))


@pytest.mark.parametrize("shape", [(0, 0), (0, 1920), (1200, 0), (0, 5, 3)])
def test_an_empty_picture_is_refused(shape: tuple[int, ...]) -> None:
    assert fault(np.zeros(shape, np.uint8), "Mono8", PictureGate()).startswith(f"the picture is empty ({shape})")
    assert fingerprint(np.zeros(shape, np.uint8)) == fingerprint(np.ones(shape, np.uint8))


@given(
    picture=st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    pixel_format=st.sampled_from([f for f in FORMATS if not f.startswith(("BGR", "RGB"))]),
    sharp=st.sampled_from([0.0, 1e-9]),
)
def test_small_pictures_of_every_size_get_a_word(
    picture: npt.NDArray[np.uint8], pixel_format: PixelFormat, sharp: float
) -> None:
    pixels = picture.astype(np.uint16) << 4 if pixel_format.endswith("12") else picture
    told = fault(pixels, pixel_format, PictureGate(min_brightness=0.2, min_sharpness=sharp))
    full_scale = 4095 if pixel_format.endswith("12") else 255
    mean = float(pixels.mean()) / full_scale
    if abs(mean - 0.2) > 1e-6:
        assert told.startswith("mean ") == (mean < 0.2)  # all rows of so small a picture are read
    assert fingerprint(pixels) == fingerprint(pixels.copy())


@given(
    picture=st_numpy.arrays(np.uint8, (12, 16)),
    at=st.tuples(st.integers(0, 11), st.integers(0, 15)),
    by=st.integers(1, 255),
)
def test_one_changed_pixel_of_a_row_that_is_read_changes_the_fingerprint(
    picture: npt.NDArray[np.uint8], at: tuple[int, int], by: int
) -> None:
    changed = picture.copy()
    changed[at] ^= by
    assert fingerprint(changed) != fingerprint(picture)


@pytest.mark.parametrize("hw", [(480, 640), (2048, 2448), (6000, 8000)])
def test_a_frozen_picture_is_known_and_the_faintest_noise_is_not_taken_for_one(hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(20261122)
    still = np.full(hw, 100, np.uint8)
    seen = {fingerprint(still), fingerprint(still.copy())}
    assert len(seen) == 1
    for _ in range(5):  # one pixel in a thousand, by one
        live = still.copy()
        live.reshape(-1)[rng.integers(0, still.size, still.size // 1000)] += 1
        seen.add(fingerprint(live))
    assert len(seen) == 6


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    data = np.arange(240, dtype=np.uint8)
    prints = {fingerprint(data.reshape(shape)) for shape in ((10, 24), (24, 10), (10, 8, 3))}
    assert len(prints | {fingerprint(data.view(np.uint16).reshape(10, 12))}) == 4


def test_a_cut_out_of_a_larger_picture_has_the_fingerprint_of_its_copy() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (64, 80), np.uint8)
    assert fingerprint(picture[8:40, 4:44]) == fingerprint(picture[8:40, 4:44].copy())
