"""From a camera's pixels to a model's input: undistort, ROI, tiles, letterbox, colour, normalise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import (
    Batch,
    Calibration,
    Color,
    Floats,
    Frame,
    InputSpec,
    Letterbox,
    PixelFormat,
    PreparePlan,
    RawView,
    Roi,
)
from edge_inspector.errors import FrameError
from edge_inspector.stages.tiles import MOST_TILES, tile_count, tile_windows

Picture: TypeAlias = npt.NDArray[Any]

BRIGHTEST_12_BIT = 4095
MAPS_KEPT = 256
"""One for each tile of each calibrated view of the recipes in use; 2.4 MB each at 640x640, so 0.6 GB when all are."""
SPECS_KEPT = 16
EXACT_FROM = 2
"""Halvings from which steps of 1/32 would be off by more than 0.05 camera pixels; float maps cost 1.7 times as much."""
OUTSIDE = -2.0  # a map coordinate of which no neighbour lies in the picture: remap gives the border value


@dataclass(frozen=True)
class _Layout:
    """How a pixel format lies in memory; `mosaic` is OpenCV's code for bgr and for gray."""

    dtype: type[np.generic]
    order: Color
    mosaic: Mapping[Color, int] | None = None

    @property
    def dimensions(self) -> int:
        return 2 if self.order == "gray" or self.mosaic else 3


def _mosaic(dtype: type[np.generic], bgr: int, gray: int) -> _Layout:
    return _Layout(dtype, "bgr", {"bgr": bgr, "rgb": bgr, "gray": gray})


# Basler names the first two pixels of the first row, as OpenCV's four-letter names do (its two-letter names do not).
LAYOUTS: Mapping[PixelFormat, _Layout] = {
    "Mono8": _Layout(np.uint8, "gray"),
    "Mono12": _Layout(np.uint16, "gray"),
    "BGR8": _Layout(np.uint8, "bgr"),
    "RGB8": _Layout(np.uint8, "rgb"),
    "BayerRG8": _mosaic(np.uint8, cv2.COLOR_BayerRGGB2BGR, cv2.COLOR_BayerRGGB2GRAY),
    "BayerGB8": _mosaic(np.uint8, cv2.COLOR_BayerGBRG2BGR, cv2.COLOR_BayerGBRG2GRAY),
    "BayerGR8": _mosaic(np.uint8, cv2.COLOR_BayerGRBG2BGR, cv2.COLOR_BayerGRBG2GRAY),
    "BayerBG8": _mosaic(np.uint8, cv2.COLOR_BayerBGGR2BGR, cv2.COLOR_BayerBGGR2GRAY),
    "BayerRG12": _mosaic(np.uint16, cv2.COLOR_BayerRGGB2BGR, cv2.COLOR_BayerRGGB2GRAY),
    "BayerGB12": _mosaic(np.uint16, cv2.COLOR_BayerGBRG2BGR, cv2.COLOR_BayerGBRG2GRAY),
    "BayerGR12": _mosaic(np.uint16, cv2.COLOR_BayerGRBG2BGR, cv2.COLOR_BayerGRBG2GRAY),
    "BayerBG12": _mosaic(np.uint16, cv2.COLOR_BayerBGGR2BGR, cv2.COLOR_BayerBGGR2GRAY),
}


@dataclass(frozen=True)
class Fit:
    """Where the bounds land in the model's input: whole pixels `content`, and the exact way there and back."""

    bounds: Roi
    content: Roi
    letterbox: Letterbox


@dataclass(frozen=True)
class FusedMap:
    """Undistortion, ROI and scale in one: cut `source` from the camera's picture, halve it `halvings` times, remap.

    `maps` are remap's two: for each pixel of the content its place in the halved source, centres at whole numbers.
    (h,w,2) int16 and (h,w) uint16 in steps of 1/32; after `EXACT_FROM` halvings float32 x and y, each (h,w).
    """

    source: Roi
    halvings: int
    maps: tuple[Picture, Picture]


def prepare(pixels: Picture, pixel_format: PixelFormat, plan: PreparePlan) -> Batch:
    """float32 (n,C,H,W), one of each tile. The picture is read once: undistortion, ROI and letterbox are one remap.

    FrameError: pixels that are not their format's, a calibration of another size, a ROI outside the picture, too many
    tiles.
    """
    layout = _checked(pixels, pixel_format, plan)
    spec, tiles = plan.input, fits(plan, (pixels.shape[0], pixels.shape[1]))
    tensor = np.empty((len(tiles), spec.channels, spec.height_px, spec.width_px), np.float32)
    if plan.calibration:
        contents = _remapped(pixels, pixel_format, spec, plan.calibration, tiles)
    else:
        contents = _resized(pixels, pixel_format, spec, tiles)
    for planes, fit, content in zip(tensor, tiles, contents, strict=True):
        _normalise(content, layout.order, fit.content, spec, planes)
    return _batch(tensor, plan, tiles, pixels)


def prepare_plain(pixels: Picture, pixel_format: PixelFormat, plan: PreparePlan) -> Batch:
    """The same as `prepare`, one textbook step after the other: slow, and what `prepare` is compared with."""
    layout = _checked(pixels, pixel_format, plan)
    spec = plan.input
    picture = _eight_bit(pixels, pixel_format)
    if layout.mosaic:
        picture = cv2.cvtColor(picture, layout.mosaic["bgr"])
    if plan.calibration:
        xy, fraction = _undistortion(plan.calibration, _matrix(plan.calibration), picture.shape[1::-1], cv2.CV_16SC2)
        picture = cv2.remap(picture, xy, fraction, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, (spec.pad_value,) * 3)
    tiles = fits(plan, (pixels.shape[0], pixels.shape[1]))
    tensor = np.stack([_plain_tile(_cut(picture, fit.bounds), layout.order, fit, spec) for fit in tiles])
    return _batch(tensor, plan, tiles, pixels)


def raw_view(frame: Frame, plan: PreparePlan) -> RawView:
    """What `prepare` says of its batch, for a backend that prepares the pixels itself.

    FrameError as `prepare`, but for 12-bit pixels above 4095: only who reads each pixel finds them, the device.
    """
    _checked(frame.pixels, frame.pixel_format, plan)
    tiles = fits(plan, frame.hw)
    bounds = _bounds(plan, frame.hw)
    return RawView(frame, plan, tuple(fit.letterbox for fit in tiles), bounds, tuple(fit.bounds for fit in tiles))


def _checked(pixels: Picture, pixel_format: PixelFormat, plan: PreparePlan) -> _Layout:
    layout = LAYOUTS.get(pixel_format)
    if layout is None:
        raise FrameError(f"pixel format {pixel_format!r} is not known; set the camera to one of {', '.join(LAYOUTS)}")
    shape = "height x width" + (" x 3" if layout.dimensions == 3 else "")
    wrong_shape = pixels.ndim != layout.dimensions or (pixels.ndim == 3 and pixels.shape[2] != 3)
    if wrong_shape or pixels.dtype != layout.dtype:
        raise FrameError(
            f"a {pixel_format} picture came as {pixels.dtype} {pixels.shape}, expected {layout.dtype.__name__} "
            f"{shape}; the camera's pixel format is not what its driver says"
        )
    if not pixels.size:
        raise FrameError(f"the picture is empty ({pixels.shape}); check the camera's width and height")
    if plan.calibration:
        _check_calibration(pixels.shape[:2], plan.calibration)
    height, width = pixels.shape[:2]
    roi = plan.roi
    if roi and not (0 <= roi.x < roi.x + roi.width <= width and 0 <= roi.y < roi.y + roi.height <= height):
        raise FrameError(
            f"ROI x={roi.x} y={roi.y} {roi.width}x{roi.height} does not lie in the {width}x{height} picture; "
            "correct the recipe's roi or the camera's size"
        )
    if plan.tiling and (tiles := tile_count(_bounds(plan, (height, width)), plan.tiling)) > MOST_TILES:
        raise FrameError(
            f"the {width}x{height} picture or its ROI makes {tiles} tiles of {plan.tiling.width_px}x"
            f"{plan.tiling.height_px}, expected at most {MOST_TILES}; make the tiles larger or the ROI smaller"
        )
    return layout


def _check_calibration(hw: tuple[int, ...], calibration: Calibration) -> None:
    if tuple(hw) != tuple(calibration.image_hw):
        raise FrameError(
            f"the picture is {hw[1]}x{hw[0]}, its calibration was made at "
            f"{calibration.image_hw[1]}x{calibration.image_hw[0]}; set the camera to that size or calibrate again"
        )


def fits(plan: PreparePlan, hw: tuple[int, int]) -> tuple[Fit, ...]:
    """The letterbox of each tile of the plan's bounds in a picture of this size; all tiles are as large."""
    bounds = _bounds(plan, hw)
    windows = tile_windows(bounds, plan.tiling) if plan.tiling else (bounds,)
    return tuple(_fit(plan.input, window) for window in windows)


def fitted(plan: PreparePlan, hw: tuple[int, int]) -> Fit:
    """The letterbox of the plan's bounds as a whole in a picture of this size."""
    return _fit(plan.input, _bounds(plan, hw))


def _bounds(plan: PreparePlan, hw: tuple[int, int]) -> Roi:
    return plan.roi or Roi(0, 0, hw[1], hw[0])


def _fit(spec: InputSpec, bounds: Roi) -> Fit:
    scale = min(spec.width_px / bounds.width, spec.height_px / bounds.height)
    width, height = max(1, round(bounds.width * scale)), max(1, round(bounds.height * scale))
    left, top = (spec.width_px - width) // 2, (spec.height_px - height) // 2
    # `width` is rounded: lay the middle of the bounds on the middle of the content, so that no edge is off by more
    # than a quarter of an input pixel
    return Fit(
        bounds=bounds,
        content=Roi(left, top, width, height),
        letterbox=Letterbox(
            scale=scale,
            offset_x=left + (width - bounds.width * scale) / 2 - bounds.x * scale,
            offset_y=top + (height - bounds.height * scale) / 2 - bounds.y * scale,
        ),
    )


def _batch(tensor: Floats, plan: PreparePlan, tiles: tuple[Fit, ...], pixels: Picture) -> Batch:
    bounds = _bounds(plan, (pixels.shape[0], pixels.shape[1]))
    return Batch(tensor, tuple(fit.letterbox for fit in tiles), bounds, tuple(fit.bounds for fit in tiles))


def _remapped(
    pixels: Picture, pixel_format: PixelFormat, spec: InputSpec, calibration: Calibration, tiles: tuple[Fit, ...]
) -> Iterator[Picture]:
    """Each tile's content from a calibrated camera's picture, which is demosaiced and halved once for all."""
    ways = [fused_map(calibration, fit) for fit in tiles]
    source, step, border = _hull([way.source for way in ways]), 2 ** ways[0].halvings, (spec.pad_value,) * 3
    part = _halved(_part(pixels, source, pixel_format, spec.color), ways[0].halvings)
    part = _eight_bit(part, pixel_format)
    for way in ways:
        of = way.source
        own = Roi((of.x - source.x) // step, (of.y - source.y) // step, of.width // step, of.height // step)
        yield cv2.remap(_cut(part, own), *way.maps, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, border)


def _resized(pixels: Picture, pixel_format: PixelFormat, spec: InputSpec, tiles: tuple[Fit, ...]) -> Iterator[Picture]:
    """Each tile's content from a picture without a calibration, which is demosaiced once for all."""
    source = _hull([fit.bounds for fit in tiles])
    part = _part(pixels, source, pixel_format, spec.color)
    for fit in tiles:
        of = fit.bounds
        own = _cut(part, Roi(of.x - source.x, of.y - source.y, of.width, of.height))
        yield _eight_bit(_scaled(own, fit), pixel_format)


def _hull(rectangles: Sequence[Roi]) -> Roi:
    """The smallest rectangle that holds them all."""
    left, top = min(r.x for r in rectangles), min(r.y for r in rectangles)
    right, bottom = max(r.x + r.width for r in rectangles), max(r.y + r.height for r in rectangles)
    return Roi(left, top, right - left, bottom - top)


def _plain_tile(picture: Picture, order: Color, fit: Fit, spec: InputSpec) -> Floats:
    """The window's 8-bit picture -> float32 (C,H,W)."""
    wh = (fit.content.width, fit.content.height)
    picture = cv2.resize(picture, wh, interpolation=cv2.INTER_AREA if fit.letterbox.scale < 1 else cv2.INTER_LINEAR)
    top, left = fit.content.y, fit.content.x
    bottom, right = spec.height_px - top - wh[1], spec.width_px - left - wh[0]
    picture = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(spec.pad_value,) * 3)
    if picture.ndim == 3 and spec.color == "gray":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if order == "bgr" else cv2.COLOR_RGB2GRAY)
    if picture.ndim == 3 and spec.color != order:
        picture = picture[:, :, ::-1]
    if picture.ndim == 2:
        picture = np.stack([picture] * spec.channels, axis=2)
    values = (picture.astype(np.float32) * spec.scale - spec.mean) / spec.std
    return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)


@lru_cache(maxsize=MAPS_KEPT)
def fused_map(calibration: Calibration, fit: Fit) -> FusedMap:
    """How `fit.content` is read from the calibrated camera's picture: exact to 1/32 of its pixels."""
    letterbox, hw = fit.letterbox, calibration.image_hw
    halvings = halvings_of(hw, letterbox.scale)
    wanted = _matrix(calibration)
    wanted[:2] *= letterbox.scale
    # a letterbox speaks of pixel edges, a camera matrix of pixel centres: half a pixel apart, before and after scaling
    wanted[0, 2] += letterbox.offset_x - fit.content.x + letterbox.scale / 2 - 0.5
    wanted[1, 2] += letterbox.offset_y - fit.content.y + letterbox.scale / 2 - 0.5
    maps = _undistortion(calibration, wanted, (fit.content.width, fit.content.height), cv2.CV_32FC1)
    step = 2**halvings
    height, width = (side // step for side in hw)
    x, y = (
        ((m + 0.5) / step - 0.5).clip(OUTSIDE, side + 1).astype(np.float32)
        for m, side in zip(maps, (width, height), strict=True)
    )
    (left, across), (top, down) = _needed(x, width), _needed(y, height)
    maps = (x - left, y - top) if halvings >= EXACT_FROM else cv2.convertMaps(x - left, y - top, cv2.CV_16SC2)
    return FusedMap(Roi(left * step, top * step, across * step, down * step), halvings, maps)


def _needed(at: Picture, side: int) -> tuple[int, int]:
    """First pixel and number of pixels of a side that interpolation at these places looks at; one at the least."""
    first = min(max(math.floor(at.min()), 0), side - 1)
    return first, min(max(math.floor(at.max()) + 2, first + 1), side) - first


def _undistortion(
    calibration: Calibration, wanted: npt.NDArray[np.float64], wh: tuple[int, int], kind: int
) -> tuple[Picture, Picture]:
    """remap's two maps: where a picture of size `wh` and camera matrix `wanted` finds its pixels in the camera's."""
    matrix, distortion = _matrix(calibration), np.array(calibration.distortion, np.float64)
    if calibration.lens == "fisheye":
        x, y = cv2.fisheye.initUndistortRectifyMap(matrix, distortion, np.eye(3), wanted, wh, kind)
    else:
        x, y = cv2.initUndistortRectifyMap(matrix, distortion, None, wanted, wh, kind)
    return x, y


def _part(pixels: Picture, of: Roi, pixel_format: PixelFormat, color: Color) -> Picture:
    """That much of the picture; a mosaic comes in 8 bits and the wanted colour, bgr for rgb."""
    mosaic = LAYOUTS[pixel_format].mosaic
    if mosaic is None:
        return _cut(pixels, of)
    # begin where the pattern begins, with the neighbours from which the outermost pixels are interpolated
    left, top = max(0, of.x // 2 * 2 - 2), max(0, of.y // 2 * 2 - 2)
    cells = pixels[top : of.y + of.height + 2, left : of.x + of.width + 2]
    colours = cv2.cvtColor(_eight_bit(cells, pixel_format), mosaic[color])
    return _cut(colours, Roi(of.x - left, of.y - top, of.width, of.height))


def _scaled(picture: Picture, fit: Fit) -> Picture:
    """The bounds at the content's size."""
    wh = (fit.content.width, fit.content.height)
    if picture.shape[1::-1] == wh:
        return picture
    halvings = halvings_of(picture.shape[:2], fit.letterbox.scale)
    rest = fit.letterbox.scale * 2**halvings
    # above a half, LINEAR still looks at every pixel; INTER_AREA measured 5 to 8 times slower at such ratios
    how = cv2.INTER_LINEAR if rest > 0.5 else cv2.INTER_AREA
    return cv2.resize(_halved(picture, halvings), wh, interpolation=how)


def halvings_of(hw: tuple[int, ...], scale: float) -> int:
    """How often the sides can be halved exactly before `scale` is reached: fast, and steps over no fine scratch."""
    n = 0
    while scale * 2 ** (n + 1) <= 1 and not any(side % 2 ** (n + 1) for side in hw):
        n += 1
    return n


def _halved(picture: Picture, times: int) -> Picture:
    for _ in range(times):
        wh = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = cv2.resize(picture, wh, interpolation=cv2.INTER_AREA)
    return picture


def _cut(picture: Picture, to: Roi) -> Picture:
    return picture[to.y : to.y + to.height, to.x : to.x + to.width]


def _eight_bit(picture: Picture, pixel_format: PixelFormat) -> Picture:
    if picture.dtype == np.uint8:
        return picture
    brightest = int(picture.max())
    if brightest > BRIGHTEST_12_BIT:
        raise FrameError(
            f"a {pixel_format} pixel is {brightest}, expected 0..{BRIGHTEST_12_BIT}; the camera does not send "
            f"{pixel_format}"
        )
    return np.right_shift(picture, 4, out=np.empty(picture.shape, np.uint8), casting="unsafe")  # in one pass


def _normalise(content: Picture, order: Color, to: Roi, spec: InputSpec, tensor: Floats) -> None:
    """uint8 HxW or HxWx3 into float32 (C,H,W) in the model's channel order, the pad value around `to`."""
    if content.ndim == 3 and spec.color == "gray":
        content = cv2.cvtColor(content, cv2.COLOR_BGR2GRAY if order == "bgr" else cv2.COLOR_RGB2GRAY)
    planes = [content] * spec.channels if content.ndim == 2 else list(cv2.split(content))
    if content.ndim == 3 and order != spec.color:
        planes.reverse()
    for whole, plane, table in zip(tensor, planes, tables_of(spec), strict=True):
        cv2.LUT(plane, table, _cut(whole, to))
        rows = whole[to.y : to.y + to.height]
        for around in (whole[: to.y], whole[to.y + to.height :], rows[:, : to.x], rows[:, to.x + to.width :]):
            around[:] = table[spec.pad_value]


@lru_cache(maxsize=SPECS_KEPT)
def tables_of(spec: InputSpec) -> tuple[Floats, ...]:
    """For each channel what each of the 256 values becomes."""
    values = np.arange(256) * spec.scale
    return tuple(((values - m) / s).astype(np.float32) for m, s in zip(spec.mean, spec.std, strict=True))


def _matrix(calibration: Calibration) -> npt.NDArray[np.float64]:
    fx, fy, cx, cy = calibration.matrix
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
