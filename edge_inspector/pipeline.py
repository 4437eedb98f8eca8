"""What happens to a picture, in order: prepare, then the model, then finish."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from edge_inspector.datatypes import Batch, Detections, Frame, PreparePlan, Roi, Tensors
from edge_inspector.decoders import Decoder
from edge_inspector.errors import FrameError
from edge_inspector.stages import prepare as preparing
from edge_inspector.stages.nms import nms


@dataclass(frozen=True)
class Reading:
    """How a model's outputs are read; all of it from the bundle."""

    decoder: Decoder
    classes: int
    score_floor: float
    nms_iou: float


def warm_up(plan: PreparePlan) -> None:
    """Compute what the first picture of this plan would wait for: the undistortion maps, up to 0.3 s."""
    if plan.calibration is not None:
        with suppress(FrameError):  # a plan that does not fit is told with each picture
            preparing.prepare(np.zeros(plan.calibration.image_hw, np.uint8), "Mono8", plan)


def prepare(frame: Frame, plan: PreparePlan) -> Batch:
    """The frame as the model wants to see it; the frame stays the caller's to release. FrameError if it cannot be."""
    return preparing.prepare(frame.pixels, frame.pixel_format, plan)


def finish(tensors: Tensors, batch: Batch, reading: Reading) -> Detections:
    """Candidates from the score floor up, most confident first, in `batch.bounds`. InferenceError as decoders do."""
    tiles = []
    for tile, letterbox in enumerate(batch.tiles):
        seen = reading.decoder.decode(tensors, tile, reading.score_floor, reading.classes)
        tiles.append(_inside(Detections(letterbox.undo(seen.xyxy), seen.confidence, seen.class_id), batch.bounds))
    return nms(_together(tiles), reading.nms_iou)


def _inside(detections: Detections, bounds: Roi) -> Detections:
    """Boxes cut to the bounds; what is empty then is dropped."""
    low = np.array([bounds.x, bounds.y] * 2, np.float32)
    high = low + np.array([bounds.width, bounds.height] * 2, np.float32)
    xyxy = detections.xyxy.clip(low, high)
    cut = Detections(xyxy, detections.confidence, detections.class_id)
    return cut.pick((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))


def _together(tiles: list[Detections]) -> Detections:
    if len(tiles) == 1:
        return tiles[0]
    return Detections(
        np.concatenate([t.xyxy for t in tiles]),
        np.concatenate([t.confidence for t in tiles]),
        np.concatenate([t.class_id for t in tiles]),
    )
