"""The loop that everybody writes first, step by step as tutorials have it; for backends.py."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from edge_inspector.datatypes import Calibration, InputSpec

PLAIN_CONFIDENCE = 0.25  # Ultralytics' default; ours keeps candidates from the bundle's score_floor on
PLAIN_IOU = 0.5
Box = tuple[np.ndarray, float, int]
"""x, y, width, height in undistorted pixels; confidence; class."""


class PlainLoop:
    """What a tutorial does with a frame; `steps` is what each of them took, ns. `keep_maps`: it knows of cv2.remap."""

    def __init__(
        self, infer: Callable[[np.ndarray], np.ndarray], spec: InputSpec, calibration: Calibration, keep_maps: bool
    ) -> None:
        if (spec.scale, set(spec.mean), set(spec.std)) != (1 / 255, {0.0}, {1.0}):
            raise SystemExit("the plain loop divides by 255 and no more; take a bundle with that normalisation")
        fx, fy, cx, cy = calibration.matrix
        self._matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        self._distortion = np.array(calibration.distortion)
        self._maps = None
        if keep_maps:
            wh = calibration.image_hw[::-1]
            self._maps = cv2.initUndistortRectifyMap(
                self._matrix, self._distortion, None, self._matrix, wh, cv2.CV_16SC2
            )
        self._infer = infer
        self._spec = spec
        self.steps: dict[str, list[int]] = {"prepare": [], "infer": [], "finish": []}

    def part(self, frame: np.ndarray) -> list[Box]:
        at = [time.monotonic_ns()]
        blob, scale, left, top = self._blob(frame)
        at.append(time.monotonic_ns())
        output = self._infer(blob)
        at.append(time.monotonic_ns())
        found = self._boxes(output, scale, left, top)
        at.append(time.monotonic_ns())
        for step, begun, ended in zip(self.steps.values(), at, at[1:], strict=False):
            step.append(ended - begun)
        return found

    def _blob(self, frame: np.ndarray) -> tuple[np.ndarray, float, int, int]:
        spec = self._spec
        if self._maps is None:
            image = cv2.undistort(frame, self._matrix, self._distortion)
        else:
            image = cv2.remap(frame, *self._maps, cv2.INTER_LINEAR)
        height, width = image.shape[:2]
        scale = min(spec.height_px / height, spec.width_px / width)
        new = (round(width * scale), round(height * scale))
        image = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
        left, top = (spec.width_px - new[0]) // 2, (spec.height_px - new[1]) // 2
        right, bottom = spec.width_px - new[0] - left, spec.height_px - new[1] - top
        border = (spec.pad_value,) * 3
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border)
        if spec.color == "gray":
            image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            image = image[..., None]
        else:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
        blob = np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(np.float32) / 255
        return blob, scale, left, top

    def _boxes(self, output: np.ndarray, scale: float, left: int, top: int) -> list[Box]:
        rows = np.transpose(np.squeeze(output))
        scores = rows[:, 4:].max(axis=1)
        classes = rows[:, 4:].argmax(axis=1)
        keep = scores > PLAIN_CONFIDENCE
        rows, scores, classes = rows[keep], scores[keep], classes[keep]
        xywh = np.stack([rows[:, 0] - rows[:, 2] / 2, rows[:, 1] - rows[:, 3] / 2, rows[:, 2], rows[:, 3]], axis=1)
        index = cv2.dnn.NMSBoxesBatched(xywh.tolist(), scores.tolist(), classes.tolist(), PLAIN_CONFIDENCE, PLAIN_IOU)
        return [((xywh[i] - (left, top, 0, 0)) / scale, float(scores[i]), int(classes[i])) for i in index]
