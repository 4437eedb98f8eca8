"""From a camera's pixels to a model's input: undistort, ROI, letterbox, colour, normalise."""

from __future__ import annotations

from collections.abc import Mapping
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
    InputSpec,
    Letterbox,
    PixelFormat,
    PreparePlan,
    Roi,
)
from edge_inspector.errors import FrameError

Picture: TypeAlias = npt.NDArray[Any]

MONO12_MAX = 4095
MAPS_KEPT = 16  # one for each view of the recipes in use; 2.4 MB each at 640x640
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


def _mosaic(bgr: int, gray: int) -> _Layout:
    return _Layout(np.uint8, "bgr", {"bgr": bgr, "rgb": bgr, "gray": gray})


# Basler names the first two pixels of the first row, as OpenCV's four-letter names do (its two-letter names do not).
LAYOUTS: Mapping[PixelFormat, _Layout] = {
    "Mono8": _Layout(np.uint8, "gray"),
    "Mono12": _Layout(np.uint16, "gray"),
    "BGR8": _Layout(np.uint8, "bgr"),
    "RGB8": _Layout(np.uint8, "rgb"),
    "BayerRG8": _mosaic(cv2.COLOR_BayerRGGB2BGR, cv2.COLOR_BayerRGGB2GRAY),
    "BayerGB8": _mosaic(cv2.COLOR_BayerGBRG2BGR, cv2.COLOR_BayerGBRG2GRAY),
    "BayerGR8": _mosaic(cv2.COLOR_BayerGRBG2BGR, cv2.COLOR_BayerGRBG2GRAY),
    "BayerBG8": _mosaic(cv2.COLOR_BayerBGGR2BGR, cv2.COLOR_BayerBGGR2GRAY),
}


@dataclass(frozen=True)
class _Fit:
    """Where the bounds land in the model's input: whole pixels `content`, and the exact way there and back."""

    bounds: Roi
    content: Roi
    letterbox: Letterbox


def prepare(pixels: Picture, pixel_format: PixelFormat, plan: PreparePlan) -> Batch:
    """One tile, float32 (1,C,H,W). The picture is read once: undistortion, ROI and letterbox are one remap.

    FrameError: pixels that are not their format's, a calibration of another size, a ROI outside the picture.
    """
    layout = _checked(pixels, pixel_format, plan)
    fit = _fit(plan, (pixels.shape[0], pixels.shape[1]))
    if layout.mosaic:
        pixels = cv2.cvtColor(pixels, layout.mosaic[plan.input.color])
    pad = plan.input.pad_value << 4 if pixels.dtype == np.uint16 else plan.input.pad_value
    if plan.calibration:
        halvings, xy, fraction = _fused_maps(plan.calibration, fit, plan.input)
        pixels = _halved(pixels, halvings)
        content = cv2.remap(pixels, xy, fraction, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, (pad,) * 3)
        small = _on_canvas(content, fit, plan.input, pad)
    else:
        small = _letterboxed(pixels, fit, plan.input, pad)
    return Batch(_normalised(_eight_bit(small), layout.order, plan.input), (fit.letterbox,), fit.bounds)


def prepare_plain(pixels: Picture, pixel_format: PixelFormat, plan: PreparePlan) -> Batch:
    """The same as `prepare`, one textbook step after the other: slow, and what `prepare` is compared with."""
    layout = _checked(pixels, pixel_format, plan)
    spec = plan.input
    fit = _fit(plan, (pixels.shape[0], pixels.shape[1]))
    picture = _eight_bit(pixels)
    if layout.mosaic:
        picture = cv2.cvtColor(picture, layout.mosaic["bgr"])
    if plan.calibration:
        matrix, distortion = _pinhole(plan.calibration)
        wh = picture.shape[1::-1]
        xy, fraction = cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, wh, cv2.CV_16SC2)
        picture = cv2.remap(picture, xy, fraction, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, (spec.pad_value,) * 3)
    picture = _cut(picture, fit.bounds)
    wh = (fit.content.width, fit.content.height)
    picture = cv2.resize(picture, wh, interpolation=cv2.INTER_AREA if fit.letterbox.scale < 1 else cv2.INTER_LINEAR)
    top, left = fit.content.y, fit.content.x
    bottom, right = spec.height_px - top - wh[1], spec.width_px - left - wh[0]
    picture = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(spec.pad_value,) * 3)
    if picture.ndim == 3 and spec.color == "gray":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if layout.order == "bgr" else cv2.COLOR_RGB2GRAY)
    if picture.ndim == 3 and spec.color != layout.order:
        picture = picture[:, :, ::-1]
    if picture.ndim == 2:
        picture = np.stack([picture] * spec.channels, axis=2)
    values = (picture.astype(np.float32) * spec.scale - spec.mean) / spec.std
    tensor = np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)
    return Batch(tensor, (fit.letterbox,), fit.bounds)


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
    return layout


def _check_calibration(hw: tuple[int, ...], calibration: Calibration) -> None:
    if tuple(hw) != tuple(calibration.image_hw):
        raise FrameError(
            f"the picture is {hw[1]}x{hw[0]}, its calibration was made at "
            f"{calibration.image_hw[1]}x{calibration.image_hw[0]}; set the camera to that size or calibrate again"
        )


def _fit(plan: PreparePlan, hw: tuple[int, int]) -> _Fit:
    spec, bounds = plan.input, plan.roi or Roi(0, 0, hw[1], hw[0])
    scale = min(spec.width_px / bounds.width, spec.height_px / bounds.height)
    width, height = max(1, round(bounds.width * scale)), max(1, round(bounds.height * scale))
    left, top = (spec.width_px - width) // 2, (spec.height_px - height) // 2
    # `width` is rounded: lay the middle of the bounds on the middle of the content, so that no edge is off by more
    # than a quarter of an input pixel
    return _Fit(
        bounds=bounds,
        content=Roi(left, top, width, height),
        letterbox=Letterbox(
            scale=scale,
            offset_x=left + (width - bounds.width * scale) / 2 - bounds.x * scale,
            offset_y=top + (height - bounds.height * scale) / 2 - bounds.y * scale,
        ),
    )


@lru_cache(maxsize=MAPS_KEPT)
def _fused_maps(calibration: Calibration, fit: _Fit, spec: InputSpec) -> tuple[int, Picture, Picture]:
    """How often to halve the picture first, then remap's two maps (CV_16SC2) from there to `fit.content`."""
    letterbox, (height, width) = fit.letterbox, calibration.image_hw
    halvings = _halvings((height, width), letterbox.scale)
    matrix, distortion = _pinhole(calibration)
    seen = matrix.copy()
    seen[:2] *= letterbox.scale
    # a letterbox speaks of pixel edges, a camera matrix of pixel centres: half a pixel apart, before and after scaling
    seen[0, 2] += letterbox.offset_x + letterbox.scale / 2 - 0.5
    seen[1, 2] += letterbox.offset_y + letterbox.scale / 2 - 0.5
    maps = cv2.initUndistortRectifyMap(matrix, distortion, None, seen, (spec.width_px, spec.height_px), cv2.CV_32FC1)
    x, y = (
        ((_cut(m, fit.content) + 0.5) / 2**halvings - 0.5).clip(OUTSIDE, side + 1).astype(np.float32)
        for m, side in zip(maps, (width, height), strict=True)
    )
    return halvings, *cv2.convertMaps(x, y, cv2.CV_16SC2)


def _letterboxed(pixels: Picture, fit: _Fit, spec: InputSpec, pad: int) -> Picture:
    picture, wh = _cut(pixels, fit.bounds), (fit.content.width, fit.content.height)
    if picture.shape[1::-1] != wh:
        halvings = _halvings(picture.shape[:2], fit.letterbox.scale)
        rest = fit.letterbox.scale * 2**halvings
        # above a half, LINEAR still looks at every pixel; INTER_AREA measured 5 to 8 times slower at such ratios
        how = cv2.INTER_LINEAR if rest > 0.5 else cv2.INTER_AREA
        picture = cv2.resize(_halved(picture, halvings), wh, interpolation=how)
    return _on_canvas(picture, fit, spec, pad)


def _on_canvas(picture: Picture, fit: _Fit, spec: InputSpec, pad: int) -> Picture:
    if picture.shape[:2] == (spec.height_px, spec.width_px):
        return picture
    canvas = np.full((spec.height_px, spec.width_px, *picture.shape[2:]), pad, picture.dtype)
    _cut(canvas, fit.content)[:] = picture
    return canvas


def _halvings(hw: tuple[int, ...], scale: float) -> int:
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


def _eight_bit(picture: Picture) -> Picture:
    if picture.dtype == np.uint8:
        return picture
    brightest = int(picture.max())
    if brightest > MONO12_MAX:
        raise FrameError(f"a Mono12 pixel is {brightest}, expected 0..{MONO12_MAX}; the camera does not send Mono12")
    return (picture >> 4).astype(np.uint8)


def _normalised(picture: Picture, order: Color, spec: InputSpec) -> Floats:
    """uint8 HxW or HxWx3 -> float32 (1,C,H,W) in the model's channel order."""
    if picture.ndim == 3 and spec.color == "gray":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if order == "bgr" else cv2.COLOR_RGB2GRAY)
    planes = [picture] * spec.channels if picture.ndim == 2 else list(cv2.split(picture))
    if picture.ndim == 3 and order != spec.color:
        planes.reverse()
    tensor = np.empty((1, spec.channels, spec.height_px, spec.width_px), np.float32)
    for channel, (plane, table) in enumerate(zip(planes, _tables(spec), strict=True)):
        cv2.LUT(plane, table, tensor[0, channel])
    return tensor


@lru_cache(maxsize=MAPS_KEPT)
def _tables(spec: InputSpec) -> tuple[Floats, ...]:
    """For each channel what each of the 256 values becomes."""
    values = np.arange(256) * spec.scale
    return tuple(((values - m) / s).astype(np.float32) for m, s in zip(spec.mean, spec.std, strict=True))


def _pinhole(calibration: Calibration) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    fx, fy, cx, cy = calibration.matrix
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64), np.array(calibration.distortion, np.float64)
