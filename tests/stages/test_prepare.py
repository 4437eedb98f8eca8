from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Calibration, Frame, InputSpec, PreparePlan, RawView, Roi, Tiling
from edge_inspector.errors import FrameError
from edge_inspector.stages.prepare import (
    EXACT_FROM,
    MAPS_KEPT,
    FusedMap,
    fits,
    fitted,
    fused_map,
    prepare,
    prepare_plain,
    raw_view,
)
from edge_inspector.stages.tiles import MOST_TILES, tile_windows

cv2.setNumThreads(1)

GRAY = InputSpec(64, 64, "gray", 1.0, (0.0,), (1.0,), 114)
RGB = InputSpec(64, 64, "rgb", 1.0, (0.0,) * 3, (1.0,) * 3, 114)
BGR = replace(RGB, color="bgr")
# barrel distortion: seen from the undistorted picture every pixel lies inside the camera's, so there is no border
BARREL = Calibration((120, 160), (150.0, 150.0, 80.2, 59.1), (-0.25, 0.05, 0.001, -0.0005, 0.0))
PINCUSHION = replace(BARREL, distortion=(0.4, 0.0, 0.0, 0.0, 0.0))
RATIONAL = replace(BARREL, distortion=(-0.2, 0.04, 0.001, -0.0005, 0.01, 0.05, 0.02, -0.01))
FISHEYE = Calibration((120, 160), (110.0, 110.0, 80.2, 59.1), (0.02, -0.01, 0.004, -0.001), "fisheye")


def smooth(hw: tuple[int, int], channels: int = 1) -> np.ndarray:
    """Slow waves: a picture on which any two good ways to resample agree."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float64)
    layers = [127 + 60 * np.sin(x / (hw[1] / 5) + c) + 60 * np.cos(y / (hw[0] / 4) - c) for c in range(channels)]
    return np.stack(layers, axis=2).squeeze().round().astype(np.uint8)


def matrix_of(calibration: Calibration) -> np.ndarray:
    fx, fy, cx, cy = calibration.matrix
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def test_a_picture_of_the_inputs_own_size_is_only_normalised() -> None:
    spec = InputSpec(2, 3, "gray", 0.5, (10.0,), (4.0,), 0)
    batch = prepare(np.array([[0, 20, 40], [60, 80, 255]], np.uint8), "Mono8", PreparePlan(spec))
    assert batch.pixels.dtype == np.float32
    assert batch.pixels.tolist() == [[[[-2.5, 0.0, 2.5], [5.0, 7.5, 29.375]]]]
    assert batch.bounds == Roi(0, 0, 3, 2)
    assert (batch.tiles[0].scale, batch.tiles[0].offset_x, batch.tiles[0].offset_y) == (1.0, 0.0, 0.0)


def test_a_wide_picture_is_padded_above_and_below() -> None:
    batch = prepare(np.full((32, 128), 200, np.uint8), "Mono8", PreparePlan(GRAY))
    rows = batch.pixels[0, 0]
    assert (rows[:24] == 114).all()
    assert (rows[24:40] == 200).all()
    assert (rows[40:] == 114).all()
    assert batch.tiles[0].undo(np.array([[0, 24, 64, 40]], np.float32)).tolist() == [[0, 0, 128, 32]]


def test_a_small_picture_is_enlarged() -> None:
    batch = prepare(np.full((16, 32), 9, np.uint8), "Mono8", PreparePlan(GRAY))
    assert (batch.pixels[0, 0, 16:48] == 9).all()
    assert batch.tiles[0].scale == 2.0


def test_boxes_of_a_roi_come_back_in_full_image_pixels() -> None:
    picture = np.zeros((100, 200), np.uint8)
    picture[30:62, 120:152] = 255
    batch = prepare(picture, "Mono8", PreparePlan(GRAY, Roi(120, 30, 32, 32)))
    assert (batch.pixels == 255).all()
    assert batch.bounds == Roi(120, 30, 32, 32)
    assert batch.tiles[0].undo(np.array([[0, 0, 64, 64]], np.float32)).tolist() == [[120, 30, 152, 62]]


@pytest.mark.parametrize("column", range(240, 248))
@pytest.mark.parametrize("calibration", [None, Calibration((512, 512), (500.0, 500.0, 256.0, 256.0), (0.0,) * 5)])
def test_a_scratch_one_pixel_wide_is_never_stepped_over(column: int, calibration: Calibration | None) -> None:
    scratched = np.zeros((512, 512), np.uint8)
    scratched[:, column] = 240
    batch = prepare(scratched, "Mono8", PreparePlan(GRAY, None, calibration))
    assert batch.pixels[0, 0, 32].tolist() == [0.0] * 30 + [30.0] + [0.0] * 33  # 240 / 8 in column 240 / 8


@pytest.mark.parametrize(
    ("pattern", "red_sites"),
    [
        ("BayerRG", (0, 0)),  # first row R G, second row G B
        ("BayerGR", (0, 1)),
        ("BayerGB", (1, 0)),
        ("BayerBG", (1, 1)),
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
def test_a_red_part_under_a_bayer_mosaic_is_red(pattern: str, red_sites: tuple[int, int], bits: int) -> None:
    mosaic = np.zeros((64, 64), np.uint8 if bits == 8 else np.uint16)
    mosaic[red_sites[0] :: 2, red_sites[1] :: 2] = 250 << (bits - 8)
    pixel_format, inner = f"{pattern}{bits}", (slice(8, -8), slice(8, -8))
    red, green, blue = (plane[inner] for plane in prepare(mosaic, pixel_format, PreparePlan(RGB)).pixels[0])
    assert (red == 250).all()
    assert (green == 0).all()
    assert (blue == 0).all()
    assert (prepare(mosaic, pixel_format, PreparePlan(BGR)).pixels[0, 2][inner] == 250).all()
    gray = prepare(mosaic, pixel_format, PreparePlan(GRAY)).pixels[0, 0][inner]
    assert gray.mean() == pytest.approx(250 * 0.299, abs=1)


@pytest.mark.parametrize(
    ("pixel_format", "spec", "expected"),
    [
        ("BGR8", BGR, [10, 20, 200]),
        ("BGR8", RGB, [200, 20, 10]),
        ("RGB8", RGB, [10, 20, 200]),
        ("RGB8", BGR, [200, 20, 10]),
        ("BGR8", GRAY, [73]),  # 0.114*10 + 0.587*20 + 0.299*200 = 72.68
        ("RGB8", GRAY, [38]),  # 0.299*10 + 0.587*20 + 0.114*200 = 37.53
    ],
)
@pytest.mark.parametrize("way", [prepare, prepare_plain])
def test_colours_reach_the_channel_that_the_model_expects(pixel_format, spec, expected, way) -> None:
    picture = np.full((64, 64, 3), (10, 20, 200), np.uint8)
    assert way(picture, pixel_format, PreparePlan(spec)).pixels[0, :, 5, 5].tolist() == expected


def test_each_channel_has_its_own_mean_and_std() -> None:
    spec = InputSpec(1, 1, "rgb", 1.0, (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), 0)
    assert prepare(np.full((1, 1), 11, np.uint8), "Mono8", PreparePlan(spec)).pixels.ravel().tolist() == [10, 4.5, 2]


def test_mono12_keeps_its_eight_upper_bits() -> None:
    picture = np.array([[0, 15, 16], [2047, 2048, 4095]], np.uint16)
    spec = InputSpec(2, 3, "gray", 1.0, (0.0,), (1.0,), 0)
    assert prepare(picture, "Mono12", PreparePlan(spec)).pixels.ravel().tolist() == [0, 0, 1, 127, 128, 255]


def test_mono12_is_padded_with_the_same_gray() -> None:
    batch = prepare(np.zeros((32, 64), np.uint16), "Mono12", PreparePlan(GRAY))
    assert batch.pixels[0, 0, 0, 0] == 114


@pytest.mark.parametrize("way", [prepare, prepare_plain])
@pytest.mark.parametrize("spec", [RGB, GRAY])
def test_a_12_bit_mosaic_is_the_8_bit_one_of_its_upper_bits(way, spec: InputSpec) -> None:
    deep = np.random.default_rng(0).integers(0, 4096, (120, 160), np.uint16)
    for plan in (PreparePlan(spec), PreparePlan(spec, Roi(11, 7, 101, 77), BARREL)):
        upper = way((deep >> 4).astype(np.uint8), "BayerGR8", plan)
        assert (way(deep, "BayerGR12", plan).pixels == upper.pixels).all()


@pytest.mark.parametrize("calibration", [None, BARREL])
@pytest.mark.parametrize("roi", [Roi(31, 22, 64, 64), Roi(50, 41, 33, 40), Roi(0, 0, 17, 12), Roi(127, 99, 33, 21)])
def test_a_region_of_a_mosaic_has_the_colours_that_the_whole_has_there(roi: Roi, calibration) -> None:
    mosaic = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    whole = cv2.cvtColor(mosaic, cv2.COLOR_BayerGBRG2BGR)
    plan = PreparePlan(RGB, roi, calibration)
    assert (prepare(mosaic, "BayerGB8", plan).pixels == prepare(whole, "BGR8", plan).pixels).all()


def test_the_fused_map_leaves_room_outside_the_camera_at_the_pad_value() -> None:
    picture = np.full((120, 160), 255, np.uint8)
    batch = prepare(picture, "Mono8", PreparePlan(replace(GRAY, width_px=160, height_px=120), None, PINCUSHION))
    assert batch.pixels[0, 0, 0, 0] == 114
    assert batch.pixels[0, 0, 60, 80] == 255


def test_with_a_calibration_nothing_outside_the_roi_is_seen() -> None:
    plan = PreparePlan(GRAY, Roi(20, 50, 96, 24), BARREL)
    batch = prepare(np.full((120, 160), 255, np.uint8), "Mono8", plan)
    assert (batch.pixels[0, 0, :24] == 114).all()
    assert (batch.pixels[0, 0, 24:40] == 255).all()
    assert (batch.pixels[0, 0, 40:] == 114).all()


def test_a_roi_of_which_the_camera_sees_nothing_is_padding() -> None:
    pincushion = replace(BARREL, distortion=(9.0, 0.0, 0.0, 0.0, 0.0))
    batch = prepare(np.full((120, 160), 255, np.uint8), "Mono8", PreparePlan(GRAY, Roi(0, 0, 9, 9), pincushion))
    assert (batch.pixels == 114).all()


PLANS = [
    pytest.param(PreparePlan(replace(GRAY, width_px=160, height_px=120), None, BARREL), id="same size"),
    pytest.param(PreparePlan(GRAY, None, BARREL), id="shrunk"),
    pytest.param(PreparePlan(replace(GRAY, width_px=320, height_px=320), None, BARREL), id="enlarged"),
    pytest.param(PreparePlan(replace(GRAY, width_px=33, height_px=31), None, BARREL), id="odd, halved once"),
    pytest.param(PreparePlan(GRAY, Roi(11, 7, 101, 77), BARREL), id="roi"),
    pytest.param(PreparePlan(GRAY, Roi(11, 7, 101, 77)), id="roi without calibration"),
    pytest.param(PreparePlan(GRAY, Roi(11, 7, 101, 77), RATIONAL), id="rational"),
    pytest.param(PreparePlan(replace(GRAY, width_px=160, height_px=120), None, FISHEYE), id="fisheye, same size"),
    pytest.param(PreparePlan(GRAY, Roi(11, 7, 101, 77), FISHEYE), id="fisheye, roi"),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12", "BGR8"])
def test_the_fused_way_agrees_with_the_plain_chain_on_a_smooth_picture(plan: PreparePlan, pixel_format: str) -> None:
    picture = smooth((120, 160), 3 if pixel_format == "BGR8" else 1)
    if pixel_format == "Mono12":
        picture = picture.astype(np.uint16) << 4
    fused, plain = prepare(picture, pixel_format, plan), prepare_plain(picture, pixel_format, plan)
    assert fused.tiles == plain.tiles
    assert fused.bounds == plain.bounds
    apart = np.abs(fused.pixels - plain.pixels)
    assert apart.mean() < 0.6
    assert np.percentile(apart, 99) <= 3


@pytest.mark.parametrize("calibration", [BARREL, RATIONAL, FISHEYE], ids=["pinhole", "rational", "fisheye"])
def test_the_fused_way_at_the_cameras_own_size_is_opencvs_undistort(calibration: Calibration) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    batch = prepare(picture, "Mono8", PreparePlan(replace(GRAY, width_px=160, height_px=120), None, calibration))
    matrix, distortion = matrix_of(calibration), np.array(calibration.distortion)
    if calibration.lens == "fisheye":
        expected = cv2.fisheye.undistortImage(picture, matrix, distortion, Knew=matrix)
    else:
        expected = cv2.undistort(picture, matrix, distortion)
    inner = (slice(2, -2), slice(2, -2))
    assert (batch.pixels[0, 0][inner] == expected[inner]).mean() > 0.99
    assert (batch.pixels[0, 0][inner] == picture[inner]).mean() < 0.1


def test_a_dot_is_found_where_the_letterbox_says() -> None:
    """Centre of gravity of a soft dot, through undistortion, ROI, scale and offset: half pixels would show."""
    y, x = np.mgrid[:120, :160]
    plan = PreparePlan(replace(GRAY, width_px=48, height_px=48, pad_value=0), Roi(20, 10, 90, 90), BARREL)
    seen = np.array([[[85.0, 40.0]]])  # where the camera has it, in pixel centres
    dot = (250 * np.exp(-((x - 85) ** 2 + (y - 40) ** 2) / 18)).astype(np.uint8)
    matrix = matrix_of(BARREL)
    ((true_x, true_y),) = cv2.undistortPoints(seen, matrix, np.array(BARREL.distortion), P=matrix)[0] + 0.5
    batch = prepare(dot, "Mono8", plan)
    weight = batch.pixels[0, 0]
    v, u = np.mgrid[:48, :48] + 0.5
    found_x, found_y = (weight * u).sum() / weight.sum(), (weight * v).sum() / weight.sum()
    box = batch.tiles[0].undo(np.array([[found_x, found_y, found_x, found_y]], np.float32))[0]
    assert box[0] == pytest.approx(true_x, abs=0.1)
    assert box[1] == pytest.approx(true_y, abs=0.1)


@st.composite
def plans(draw, largest_px: int) -> PreparePlan:
    """Any camera and lens that one can buy, any ROI, an input of up to 96 pixels a side."""
    width, height = (draw(st.integers(64, largest_px)) for _ in "xy")
    lens, limits = draw(
        st.sampled_from(
            [
                ("pinhole", (0.3, 0.1, 0.002, 0.002, 0.02)),
                ("pinhole", (0.3, 0.1, 0.002, 0.002, 0.02, 0.1, 0.05, 0.02)),
                ("fisheye", (0.05, 0.02, 0.005, 0.002)),
            ]
        )
    )
    focal = draw(st.floats(0.8, 2.5)) * max(width, height)
    calibration = Calibration(
        (height, width),
        (focal, focal * draw(st.floats(0.99, 1.01)), width * draw(st.floats(0.45, 0.55)), height * 0.5),
        tuple(draw(st.floats(-limit, limit)) for limit in limits),
        lens,
    )
    x, y = draw(st.integers(0, width - 33)), draw(st.integers(0, height - 33))
    roi = draw(st.sampled_from([None, Roi(x, y, draw(st.integers(32, width - x)), draw(st.integers(32, height - y)))]))
    side = st.integers(24, 96)
    return PreparePlan(replace(GRAY, width_px=draw(side), height_px=draw(side)), roi, calibration)


def places(plan: PreparePlan) -> tuple[FusedMap, np.ndarray, np.ndarray]:
    """The fused map; where it looks in the camera's picture, (n,2); where a box on that input pixel comes back, (n,2).

    Both in pixel centres. These are all the places that it has: remap evaluates a map at its entries only.
    """
    fit = fitted(plan, plan.calibration.image_hw)
    fused = fused_map(plan.calibration, fit)
    origin, cell = np.array([fused.source.x, fused.source.y]), 2**fused.halvings
    first, second = fused.maps
    if fused.halvings >= EXACT_FROM:
        place = np.stack([first, second], axis=2)
    else:
        place = first + np.stack([second & 31, second >> 5], axis=2) / 32
    looked_at = origin + (place + 0.5) * cell - 0.5
    v, u = np.mgrid[: fit.content.height, : fit.content.width]
    u, v = u.ravel() + fit.content.x + 0.5, v.ravel() + fit.content.y + 0.5
    undone = fit.letterbox.undo(np.stack([u, v, u, v], axis=1).astype(np.float32))[:, :2] - 0.5
    looked_at = looked_at.reshape(-1, 2)
    seen = ((looked_at > 0) & (looked_at < np.array(plan.calibration.image_hw[::-1]) - 1)).all(axis=1)
    assume(seen.any())
    return fused, looked_at[seen], undone[seen].astype(np.float64)


def bent(calibration: Calibration, points: np.ndarray) -> np.ndarray:
    """Undistorted to camera pixels, (n,2), by OpenCV's projection."""
    matrix, distortion = matrix_of(calibration), np.array(calibration.distortion)
    rays = np.column_stack([(points - matrix[:2, 2]) / matrix.diagonal()[:2], np.ones(len(points))])[:, None]
    project = cv2.fisheye.projectPoints if calibration.lens == "fisheye" else cv2.projectPoints
    return project(rays, np.zeros(3), np.zeros(3), matrix, distortion)[0].reshape(-1, 2)


def straightened(calibration: Calibration, points: np.ndarray) -> np.ndarray:
    """Camera to undistorted pixels, (n,2), by OpenCV's iteration."""
    matrix, distortion = matrix_of(calibration), np.array(calibration.distortion)
    undistort = cv2.fisheye.undistortPoints if calibration.lens == "fisheye" else cv2.undistortPoints
    enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-9)
    return undistort(points[:, None], matrix, distortion, P=matrix, criteria=enough).reshape(-1, 2)


@settings(deadline=None)
@given(plan=plans(largest_px=4000))
def test_the_fused_map_looks_where_the_lens_bends_to_within_a_32nd_of_a_pixel(plan: PreparePlan) -> None:
    """Half of the fixed-point step, for any camera: 0.016 or 0.031 camera pixels after 0 or 1 halvings, then floats."""
    fused, looked_at, undone = places(plan)
    fixed_point = 2**fused.halvings / 64 if fused.halvings < EXACT_FROM else 0.0
    assert np.abs(looked_at - bent(plan.calibration, undone)).max() <= fixed_point + 0.003  # float32 has 24 bits


@settings(deadline=None)
@given(plan=plans(largest_px=200))
def test_a_point_of_the_cameras_picture_comes_back_to_a_20th_of_a_pixel_of_the_undistorted(plan: PreparePlan) -> None:
    """Where the lens packs less than 1.5 pixels into one along each axis, shear included."""
    _, looked_at, undone = places(plan)
    truth = straightened(plan.calibration, looked_at)
    step = 0.5
    across, down = ((bent(plan.calibration, undone + np.array(d) * step) - looked_at) / step for d in ((1, 0), (0, 1)))
    spanned = np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]).clip(1e-3)
    packed = np.maximum(np.abs(down).sum(axis=1), np.abs(across).sum(axis=1)) / spanned
    plain = packed < 1.5
    assume(plain.any())
    assert np.abs(truth - undone)[plain].max() <= 0.05


@settings(max_examples=60, deadline=None)
@given(
    wh=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    at=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    side=st.sampled_from([32, 33, 64]),
)
def test_the_letterbox_undoes_itself_and_no_edge_is_off_by_more_than_half_an_input_pixel(wh, at, side) -> None:
    spec = replace(GRAY, width_px=side, height_px=side)
    roi = Roi(*at, *wh)
    batch = prepare(np.full((350, 350), 200, np.uint8), "Mono8", PreparePlan(spec, roi))
    (letterbox,) = batch.tiles
    rows, columns = np.nonzero(batch.pixels[0, 0] == 200)
    content = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    edges = np.array([roi.x, roi.y, roi.x + roi.width, roi.y + roi.height])
    # a strip thinner than one input pixel still gets one
    assert np.abs(letterbox.undo(content)[0] - edges).max() * letterbox.scale <= 0.5 + 1e-3
    offset = np.array([letterbox.offset_x, letterbox.offset_y] * 2)
    assert letterbox.undo((edges[None] * letterbox.scale + offset).astype(np.float32))[0] == pytest.approx(
        edges, abs=1e-4 / letterbox.scale + 1e-3
    )


TILED = Tiling(40, 30, 10)


@pytest.mark.parametrize("calibration", [None, BARREL, FISHEYE], ids=["no lens", "pinhole", "fisheye"])
@pytest.mark.parametrize(
    ("roi", "side"),
    [(None, 40), (Roi(11, 7, 101, 77), 17), (Roi(11, 7, 101, 77), 64)],
    ids=["same size", "roi, shrunk", "roi, enlarged"],
)
@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12", "BGR8", "BayerGB8", "BayerRG12"])
@pytest.mark.parametrize("way", [prepare, prepare_plain])
def test_each_tile_is_bit_for_bit_what_its_window_alone_gives(way, pixel_format, side: int, roi, calibration) -> None:
    shape, deep = (120, 160, 3) if pixel_format == "BGR8" else (120, 160), pixel_format.endswith("12")
    picture = np.random.default_rng(0).integers(0, 4096 if deep else 256, shape, np.uint16 if deep else np.uint8)
    plan = PreparePlan(replace(RGB, width_px=side, height_px=side), roi, calibration, TILED)
    batch = way(picture, pixel_format, plan)
    bounds = roi or Roi(0, 0, 160, 120)
    assert batch.bounds == bounds
    assert batch.windows == tile_windows(bounds, TILED)
    assert len(batch.windows) == (5 * 6 if roi is None else 4 * 4)
    for i, window in enumerate(batch.windows):
        alone = way(picture, pixel_format, replace(plan, roi=window, tiling=None))
        assert batch.tiles[i] == alone.tiles[0]
        assert (batch.pixels[i] == alone.pixels[0]).all()


@pytest.mark.parametrize("calibration", [None, BARREL])
@pytest.mark.parametrize("way", [prepare, prepare_plain])
def test_a_picture_no_larger_than_a_tile_is_prepared_as_without_tiles(way, calibration) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    plan = PreparePlan(RGB, None, calibration)
    tiled, whole = (way(picture, "BayerRG8", p) for p in (replace(plan, tiling=Tiling(160, 120, 8)), plan))
    assert (tiled.pixels == whole.pixels).all()
    assert (tiled.tiles, tiled.bounds, tiled.windows) == (whole.tiles, whole.bounds, whole.windows)


@pytest.mark.parametrize("calibration", [None, BARREL])
def test_a_box_in_any_tile_comes_back_to_the_place_of_its_thing(calibration) -> None:
    picture = np.zeros((120, 160), np.uint8)
    cv2.circle(picture, (84, 52), 3, 255, -1)
    seen = 0
    batch = prepare(picture, "Mono8", PreparePlan(replace(GRAY, pad_value=0), None, calibration, TILED))
    seen_at = np.array([[84.0, 52.0]])
    ((x, y),) = (seen_at if calibration is None else straightened(calibration, seen_at)) + 0.5
    for pixels, letterbox, window in zip(batch.pixels[:, 0], batch.tiles, batch.windows, strict=True):
        if not (window.x + 5 < x < window.x + window.width - 5 and window.y + 5 < y < window.y + window.height - 5):
            continue
        weight, (v, u) = pixels / pixels.sum(), np.mgrid[:64, :64] + 0.5
        box = letterbox.undo(np.array([[(weight * u).sum(), (weight * v).sum()] * 2], np.float32))[0]
        assert box[:2] == pytest.approx((x, y), abs=0.3)
        seen += 1
    assert seen


@pytest.mark.parametrize("plan", [*(p.values[0] for p in PLANS), PreparePlan(GRAY, Roi(11, 7, 101, 77), BARREL, TILED)])
def test_a_raw_view_says_what_the_prepared_batch_says(plan: PreparePlan) -> None:
    picture = smooth((120, 160))
    batch, view = prepare(picture, "Mono8", plan), raw_view(frame(picture, "Mono8"), plan)
    assert (view.tiles, view.bounds, view.windows) == (batch.tiles, batch.bounds, batch.windows)
    assert view.frame.pixels is picture


def frame(pixels: np.ndarray, pixel_format: str) -> Frame:
    return Frame("top", 1, 0, 0, pixels, pixel_format)


def test_the_maps_of_four_views_with_the_most_tiles_are_kept() -> None:
    """Else each picture would wait for them: they take a hundred times as long as a picture."""
    lenses = [replace(BARREL, matrix=(150.0 + i, 150.0, 80.0, 60.0)) for i in range(4)]
    plans = [PreparePlan(replace(GRAY, width_px=8, height_px=8), None, lens, Tiling(27, 22, 8)) for lens in lenses]
    assert [len(fits(plan, (120, 160))) for plan in plans] == [MOST_TILES] * 4
    assert 4 * MOST_TILES <= MAPS_KEPT
    fused_map.cache_clear()
    for _ in range(2):
        for plan in plans:
            prepare(np.zeros((120, 160), np.uint8), "Mono8", plan)
    assert (fused_map.cache_info().misses, fused_map.cache_info().hits) == (4 * MOST_TILES, 4 * MOST_TILES)


REAL = Path(__file__).parents[3] / "shared" / "data" / "ballscrew" / "images"


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/ballscrew is not there")
@pytest.mark.parametrize("distortion", [None, (-0.28, 0.1, 0.0, 0.0, 0.0)])
def test_the_fused_way_agrees_with_the_plain_chain_on_real_parts(distortion) -> None:
    for path in sorted(REAL.iterdir())[::40]:
        photo = cv2.imread(str(path))
        height, width = photo.shape[:2]
        pinhole = (float(width), float(width), width / 2, height / 2)
        calibration = Calibration((height, width), pinhole, distortion) if distortion else None
        plan = PreparePlan(replace(BGR, width_px=640, height_px=640), None, calibration)
        apart = np.abs(prepare(photo, "BGR8", plan).pixels - prepare_plain(photo, "BGR8", plan).pixels)
        assert apart.mean() < 1
        assert np.percentile(apart, 99) <= 8


def on_device(pixels: np.ndarray, pixel_format: str, plan: PreparePlan) -> RawView:
    return raw_view(frame(pixels, pixel_format), plan)


@pytest.mark.parametrize(
    ("pixels", "pixel_format", "plan", "said"),
    [
        (np.zeros((10, 10), np.uint8), "Mono8", PreparePlan(GRAY, None, BARREL), ["10x10", "160x120"]),
        (np.zeros((10, 20), np.uint8), "Mono8", PreparePlan(GRAY, Roi(15, 0, 6, 5)), ["x=15", "20x10"]),
        (np.zeros((10, 20), np.uint8), "Mono8", PreparePlan(GRAY, Roi(0, -1, 6, 5)), ["y=-1"]),
        (np.zeros((10, 20), np.uint8), "Mono8", PreparePlan(GRAY, Roi(0, 0, 0, 5)), ["0x5"]),
        (np.zeros((0, 20), np.uint8), "Mono8", PreparePlan(GRAY), ["empty", "(0, 20)"]),
        (np.zeros((10, 20), np.uint16), "Mono8", PreparePlan(GRAY), ["Mono8", "uint16", "uint8"]),
        (np.zeros((10, 20), np.uint8), "Mono12", PreparePlan(GRAY), ["Mono12", "uint8", "uint16"]),
        (np.zeros((10, 20, 3), np.uint8), "Mono8", PreparePlan(GRAY), ["(10, 20, 3)", "height x width"]),
        (np.zeros((10, 20), np.uint8), "BGR8", PreparePlan(RGB), ["(10, 20)", "x 3"]),
        (np.zeros((10, 20, 4), np.uint8), "RGB8", PreparePlan(RGB), ["(10, 20, 4)"]),
        (np.zeros((10, 20, 3), np.uint8), "BayerRG8", PreparePlan(RGB), ["BayerRG8"]),
        (np.zeros((10, 20), np.uint8), "YUV", PreparePlan(RGB), ["'YUV'", "BayerRG8"]),
        (np.full((10, 20), 4096, np.uint16), "Mono12", PreparePlan(GRAY), ["Mono12", "4096", "4095"]),
        (np.full((10, 20), 4096, np.uint16), "BayerGB12", PreparePlan(RGB), ["BayerGB12", "4096", "4095"]),
        (np.zeros((10, 20), np.uint8), "BayerRG12", PreparePlan(RGB), ["BayerRG12", "uint8", "uint16"]),
        (
            np.zeros((90, 100), np.uint8),
            "Mono8",
            PreparePlan(GRAY, tiling=Tiling(20, 20, 10)),
            ["100x90", "72 tiles", "20x20", "at most 64"],
        ),
        (np.zeros((9000, 9000), np.uint8), "Mono8", PreparePlan(GRAY, tiling=Tiling(2, 2, 1)), ["80982001 tiles"]),
    ],
)
@pytest.mark.parametrize("way", [prepare, prepare_plain, on_device])
def test_a_picture_that_cannot_be_inspected_is_refused_by_name(pixels, pixel_format, plan, said, way) -> None:
    if way is on_device and "4095" in said:
        assert way(pixels, pixel_format, plan).tiles  # nobody has read a pixel: the device looks for these
        return
    with pytest.raises(FrameError) as caught:
        way(pixels, pixel_format, plan)
    assert all(word in str(caught.value) for word in said)


def test_a_cameras_read_only_buffer_is_neither_written_nor_kept() -> None:
    picture = np.full((64, 64), 7, np.uint8)
    picture.flags.writeable = False
    batch = prepare(picture, "Mono8", PreparePlan(GRAY))
    assert not np.shares_memory(batch.pixels, picture)
    assert (picture == 7).all()


def test_the_fused_way_costs_less_than_half_of_the_plain_chain() -> None:
    picture = smooth((1200, 1920))
    calibration = Calibration((1200, 1920), (2000.0, 2000.0, 960.0, 600.0), (-0.2, 0.05, 0.0, 0.0, 0.0))
    plan = PreparePlan(InputSpec(640, 640, "gray", 1 / 255, (0.0,), (1.0,), 114), None, calibration)

    def best_s(way) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            way(picture, "Mono8", plan)
            times.append(time.perf_counter() - start)
        return min(times)

    prepare(picture, "Mono8", plan)  # the map is made once
    assert best_s(prepare) < 0.5 * best_s(prepare_plain)
