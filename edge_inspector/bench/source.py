"""Frames in memory, as a camera behind a bent lens would deliver them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, CameraStatistics, FeatureValue, Frame, PixelFormat, TriggerMode
from edge_inspector.errors import ConfigError, FeatureError

Gray = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]
GROUND_GRAY = 96
FOCAL_PER_WIDTH = 0.94  # a 6 mm lens on a 1/1.8" sensor
DISTORTION = (-0.18, 0.05, 0.0006, -0.0004, 0.0)  # about its barrel distortion


class FrameSource:
    """Hands out frames from memory at no cost. No stand-in for a camera's behaviour: what a device needs is its own."""

    def __init__(self, name: str, pictures: Sequence[Pixels], pixel_format: PixelFormat) -> None:
        self.name = name
        self.trigger_mode: TriggerMode = "software"
        self.serial = ""
        self.image_hw: tuple[int, int] | None = None
        self.statistics = CameraStatistics()
        self._pixel_format = pixel_format
        self._pictures = itertools.cycle(pictures)
        self._number = 0
        self._asked = False

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        """Nothing to set; FeatureError when a recipe asks for it."""
        if features:
            raise FeatureError(f"camera {self.name}: pictures in memory have no features: {', '.join(features)}")

    def trigger(self) -> None:
        """The next `grab` gives a picture."""
        self._asked = True

    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture if one was asked for; after the last comes the first."""
        if not self._asked:  # the station only looks whether the camera is there
            return None
        self._asked = False
        return self.next_frame()

    def next_frame(self) -> Frame:
        """The next picture, whether asked for or not."""
        self._number += 1
        now = time.monotonic_ns()
        return Frame(self.name, self._number, now, now, next(self._pictures), self._pixel_format)


def lens(hw: tuple[int, int]) -> Calibration:
    """The calibration of the lens through which `filmed` sees."""
    height, width = hw
    focal = FOCAL_PER_WIDTH * width
    return Calibration(hw, (focal, focal, width * 0.503, height * 0.497), DISTORTION)


def filmed(pictures: Sequence[Gray], pixel_format: str, calibration: Calibration) -> list[Pixels]:
    """Each picture as large as the frame allows, on gray ground, bent by the lens, in the camera's pixel format."""
    height, width = calibration.image_hw
    bend = _bend(calibration)
    frames = []
    for picture in pictures:
        scale = min(height / picture.shape[0], width / picture.shape[1])
        wh = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        left, top = (width - wh[0]) // 2, (height - wh[1]) // 2
        ground = np.full((height, width), GROUND_GRAY, np.uint8)
        ground[top : top + wh[1], left : left + wh[0]] = cv2.resize(picture, wh, interpolation=cv2.INTER_AREA)
        frame = cv2.remap(ground, *bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=GROUND_GRAY)
        frames.append(_as_delivered(np.asarray(frame, np.uint8), pixel_format))
    return frames


def known_format(pixel_format: str) -> PixelFormat:
    """`pixel_format` if a camera can deliver it. ConfigError otherwise."""
    if pixel_format not in get_args(PixelFormat):
        known = ", ".join(get_args(PixelFormat))
        raise ConfigError(f"pixel format {pixel_format!r} is not known; expected one of {known}")
    return pixel_format  # type: ignore[return-value]


def _as_delivered(gray: Gray, pixel_format: str) -> Pixels:
    if pixel_format in ("BGR8", "RGB8"):
        return cv2.merge([gray] * 3)
    # a gray scene looks the same through every filter of a Bayer mosaic
    return gray.astype(np.uint16) << 4 if pixel_format == "Mono12" else gray


def _bend(calibration: Calibration) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """For each distorted pixel, the undistorted one that it shows: the inverse of what the station does."""
    fx, fy, cx, cy = calibration.matrix
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    height, width = calibration.image_hw
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    grid = np.stack([xs.ravel(), ys.ravel()], axis=1)[:, None, :]
    straight = cv2.undistortPoints(grid, matrix, np.array(calibration.distortion), P=matrix)
    straight = straight.reshape(height, width, 2)
    return np.ascontiguousarray(straight[..., 0], np.float32), np.ascontiguousarray(straight[..., 1], np.float32)
