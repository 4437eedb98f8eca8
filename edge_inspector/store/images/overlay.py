"""The picture of a part as a person wants to see it: undistorted, its defects framed, its verdict below."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, Defect, Evaluation, InspectionResult

Pixels = npt.NDArray[Any]
COLOURS = {
    Evaluation.OK: (80, 160, 0),
    Evaluation.NOT_OK: (40, 40, 220),
    Evaluation.UNDEFINED: (0, 140, 230),
    Evaluation.NOT_DECIDABLE: (170, 60, 150),
}
"""BGR, each dark enough for white letters."""
LEGIBLE_PX = 640
"""A smaller picture is enlarged, by whole numbers: there must be room for words."""
WHITE, DARK = (255, 255, 255), (30, 30, 30)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX = 22.0  # height of a capital letter of that font at scale 1
_MAPS_KEPT = 16


def overlay(
    picture: Pixels, result: InspectionResult, camera: str, frame_id: int, calibration: Calibration | None, max_px: int
) -> Pixels:
    """BGR, at most `max_px` wide and high without the band below, which is added.

    `picture` is the camera's, 8-bit gray or BGR. Defects are drawn into the picture in which they were found.
    """
    fits = calibration is not None and calibration.image_hw == picture.shape[:2]
    side = max(picture.shape[:2])
    scale = max_px / side if side > max_px else max(1, min(LEGIBLE_PX, max_px) // side)
    wh = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = picture if scale == 1 else cv2.resize(picture, wh, interpolation=how)
    if calibration is not None and fits:
        small = cv2.remap(small, *_maps(calibration, wh), cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT)
    drawn = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small.copy()
    letters = min(1.0, max(0.35, wh[0] / 1600))
    if (camera, frame_id) in zip(result.views, result.frame_ids, strict=False):
        for defect in result.defects:
            if defect.camera == camera:
                _draw(drawn, defect, scale, letters)
    return np.vstack([drawn, _band(result, camera, wh[0], letters)])


@lru_cache(maxsize=_MAPS_KEPT)
def _maps(calibration: Calibration, wh: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """remap's two maps from a camera's picture, shrunk to `wh`, to the undistorted one of the same size."""
    matrix, distortion = np.eye(3), np.array(calibration.distortion)
    fx, fy, cx, cy = calibration.matrix
    across, down = wh[0] / calibration.image_hw[1], wh[1] / calibration.image_hw[0]
    # pixel centres are half a pixel from pixel edges, before and after shrinking
    matrix[0] = fx * across, 0, (cx + 0.5) * across - 0.5
    matrix[1] = 0, fy * down, (cy + 0.5) * down - 0.5
    if calibration.lens == "fisheye":
        x, y = cv2.fisheye.initUndistortRectifyMap(matrix, distortion, np.eye(3), matrix, wh, cv2.CV_16SC2)
    else:
        x, y = cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, wh, cv2.CV_16SC2)
    return x, y


def _draw(drawn: Pixels, defect: Defect, scale: float, letters: float) -> None:
    """A frame around the box, never on it, and its name where there is room."""
    colour, line = COLOURS[Evaluation.NOT_OK], max(2, round(3 * letters))
    x, y, width, height = (value * scale for value in defect.box)
    left, top = math.floor(x) - line, math.floor(y) - line
    right, bottom = math.ceil(x + width) + line, math.ceil(y + height) + line
    cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
    text, high = _ascii(f"{defect.class_name} {defect.score:.2f}"), round(_FONT_PX * letters)
    (wide, _), _ = cv2.getTextSize(text, _FONT, letters, 1)
    at_x = max(0, min(left, drawn.shape[1] - wide - 4))
    at_y = top - 4 if top > high + 8 else min(bottom + high + 6, drawn.shape[0] - 4)
    cv2.rectangle(drawn, (at_x, at_y - high - 4), (at_x + wide + 4, at_y + 4), colour, cv2.FILLED)
    cv2.putText(drawn, text, (at_x + 2, at_y), _FONT, letters, WHITE, 1, cv2.LINE_AA)


def _band(result: InspectionResult, camera: str, width: int, letters: float) -> Pixels:
    """Verdict and reason, then which part; a line each, as much of it as there is room for."""
    high = round(_FONT_PX * letters)
    band = np.full((4 * high, width, 3), DARK, np.uint8)
    band[: 2 * high] = COLOURS[result.evaluation]
    reason = result.reason_text or result.reason.name.lower()
    first = result.evaluation.name + (f"  {reason}" if result.evaluation is not Evaluation.OK else "")
    second = f"{result.result_id}  {camera}  {result.trigger.wall_utc}"
    for row, text in enumerate((first, second)):
        cv2.putText(
            band, _ascii(text), (high // 2, (2 * row + 1) * high + high // 2), _FONT, letters, WHITE, 1, cv2.LINE_AA
        )
    return band


def _ascii(text: str) -> str:
    """OpenCV's letters."""
    return text.encode("ascii", "replace").decode()
