"""What happens to a picture, in order: prepare, then the model, then finish."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from edge_inspector.datatypes import (
    Batch,
    Detections,
    Findings,
    Frame,
    Letterbox,
    PreparePlan,
    RawView,
    Region,
    Roi,
    Tensors,
)
from edge_inspector.decoders import Decoder, DrawsRegions
from edge_inspector.errors import FrameError, InferenceError
from edge_inspector.stages import prepare as preparing
from edge_inspector.stages.nms import nms
from edge_inspector.stages.tiles import merged


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


def prepare_on_device(frame: Frame, plan: PreparePlan) -> RawView:
    """As `prepare`, but the pixels are the backend's to prepare.

    They are copied: a camera has few buffers, and views may wait until an engine is loaded.
    """
    return preparing.raw_view(replace(frame, pixels=frame.pixels.copy(), lease=None), plan)


def joined(batches: Sequence[Batch]) -> Batch:
    """Several views as one batch, their tiles one behind the other; `bounds` is of no use in it."""
    return Batch(
        np.concatenate([batch.pixels for batch in batches]),
        tuple(tile for batch in batches for tile in batch.tiles),
        batches[0].bounds,
        tuple(window for batch in batches for window in batch.windows),
    )


def finish(tensors: Tensors, batch: Batch | RawView, reading: Reading) -> Findings:
    """What the view shows, in undistorted full-image pixels. InferenceError as decoders do.

    Boxes are candidates from the score floor up, most confident first, in `batch.bounds`.
    """
    tiles = []
    for tile in range(len(batch.tiles)):
        seen = reading.decoder.decode(tensors, tile, reading.score_floor, reading.classes)
        if not isinstance(seen, Detections):
            if len(batch.tiles) > 1:
                raise InferenceError("the model judges whole views, but the recipe cuts them into tiles")
            return seen
        tiles.append(_one_tile(seen, tensors, tile, batch, reading))
    return tiles[0] if len(tiles) == 1 else merged(tiles, batch.windows, batch.bounds, reading.nms_iou)


def _one_tile(seen: Detections, tensors: Tensors, tile: int, batch: Batch | RawView, reading: Reading) -> Detections:
    letterbox = batch.tiles[tile]
    kept = nms(_inside(_undone(seen, letterbox), batch.windows[tile]), reading.nms_iou)
    decoder = reading.decoder
    if not isinstance(decoder, DrawsRegions) or not len(kept):
        return kept
    in_input = Detections(letterbox.apply(kept.xyxy), kept.confidence, kept.class_id, kept.candidate)
    return replace(kept, regions=_undone(decoder.draw(tensors, tile, in_input), letterbox).regions)


def _undone(seen: Detections, letterbox: Letterbox) -> Detections:
    regions = seen.regions and tuple(_region_undone(region, letterbox) for region in seen.regions)
    return Detections(letterbox.undo(seen.xyxy), seen.confidence, seen.class_id, seen.candidate, regions)


def _region_undone(region: Region, letterbox: Letterbox) -> Region:
    there = np.concatenate([region.outline, region.outline], axis=1)
    return Region(letterbox.undo(there)[:, :2].copy(), region.area_px / letterbox.scale**2)


def _inside(detections: Detections, bounds: Roi) -> Detections:
    """Boxes cut to the bounds; what is empty then is dropped."""
    low = np.array([bounds.x, bounds.y] * 2, np.float32)
    high = low + np.array([bounds.width, bounds.height] * 2, np.float32)
    xyxy = detections.xyxy.clip(low, high)
    return replace(detections, xyxy=xyxy).pick((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))
