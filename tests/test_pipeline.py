from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from edge_inspector import pipeline
from edge_inspector.datatypes import Batch, Calibration, Frame, InputSpec, Letterbox, PreparePlan, Roi, Tensors
from edge_inspector.decoders.yolo import Config, Yolo
from edge_inspector.errors import FrameError, InferenceError
from edge_inspector.stages.prepare import fused_map

READING = pipeline.Reading(Yolo(Config()), classes=2, score_floor=0.1, nms_iou=0.5)
PLAN = PreparePlan(InputSpec(64, 64, "gray", 1.0, (0.0,), (1.0,), 114))


class CountedLease:
    def __init__(self) -> None:
        self.released = 0

    def retain(self) -> None:
        self.released -= 1

    def release(self) -> None:
        self.released += 1


def frame(pixels: np.ndarray) -> Frame:
    return Frame("top", 1, 0, 0, pixels, "Mono8", CountedLease())


def tensors(*tiles: list[list[float]]) -> Tensors:
    return Tensors({"output0": np.stack([np.array(columns, np.float32).T for columns in tiles])})


def test_prepare_leaves_the_frame_to_its_holder() -> None:
    held = frame(np.full((64, 128), 5, np.uint8))
    batch = pipeline.prepare(held, PLAN)
    assert batch.pixels.shape == (1, 1, 64, 64)
    assert batch.bounds == Roi(0, 0, 128, 64)
    assert held.lease.released == 0


@pytest.mark.parametrize(("lens", "k"), [("pinhole", -0.2), ("fisheye", 0.02)])
def test_after_the_warm_up_the_first_picture_waits_for_no_map(lens: Literal["pinhole", "fisheye"], k: float) -> None:
    plan = replace(PLAN, calibration=Calibration((64, 128), (100.0, 100.0, 63.5, 31.5), (k, 0.0, 0.0, 0.0), lens))
    fused_map.cache_clear()
    pipeline.warm_up(plan)
    assert fused_map.cache_info().currsize == 1
    pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), plan)
    assert (fused_map.cache_info().hits, fused_map.cache_info().misses) == (1, 1)


def test_a_plan_that_does_not_fit_is_told_with_its_pictures_not_at_the_warm_up() -> None:
    lens = Calibration((64, 128), (100.0, 100.0, 63.5, 31.5), (0.0,) * 4)
    plan = PreparePlan(PLAN.input, Roi(100, 0, 64, 64), lens)
    pipeline.warm_up(plan)
    with pytest.raises(FrameError, match="ROI x=100"):
        pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), plan)


def test_prepare_refuses_a_damaged_picture() -> None:
    with pytest.raises(FrameError, match="Mono8"):
        pipeline.prepare(frame(np.zeros((64, 64, 3), np.uint8)), PLAN)


def test_finish_gives_boxes_in_full_image_pixels() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), PLAN)  # scale 1/2, 16 rows of pad above
    found = pipeline.finish(tensors([[32, 32, 20, 10, 0.9, 0]]), batch, READING)
    assert found.xyxy.tolist() == [[44, 22, 84, 42]]
    assert found.confidence.tolist() == [np.float32(0.9)]
    assert found.class_id.tolist() == [0]


def test_boxes_are_cut_to_the_roi_and_those_in_the_padding_dropped() -> None:
    batch = pipeline.prepare(frame(np.zeros((100, 200), np.uint8)), PreparePlan(PLAN.input, Roi(40, 20, 64, 32)))
    columns = [
        [32, 18, 8, 12, 0.9, 0],  # rows 12..24, the content starts at 16
        [62, 32, 8, 8, 0.8, 0],  # columns 58..66, the content ends at 64
        [32, 6, 8, 8, 0.7, 0],  # in the padding only
        [32, 32, 0, 8, 0.6, 0],  # no width
    ]
    found = pipeline.finish(tensors(columns), batch, READING)
    assert found.xyxy.tolist() == [[68, 20, 76, 28], [98, 32, 104, 40]]


def test_candidates_start_at_the_score_floor_not_at_a_threshold() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    found = pipeline.finish(tensors([[9, 9, 4, 4, 0.09, 0], [40, 40, 4, 4, 0.11, 0]]), batch, READING)
    assert found.confidence.tolist() == [np.float32(0.11)]


def test_a_defect_on_the_border_of_two_tiles_is_one_defect() -> None:
    batch = Batch(
        np.zeros((2, 1, 64, 64), np.float32), (Letterbox(1.0, 0.0, 0.0), Letterbox(1.0, -32.0, 0.0)), Roi(0, 0, 96, 64)
    )
    left, right = [48, 20, 10, 10, 0.5, 0], [16, 20, 10, 10, 0.75, 0]  # the same place: 48 = 16 + 32
    found = pipeline.finish(tensors([left], [right]), batch, READING)
    assert found.xyxy.tolist() == [[43, 15, 53, 25]]
    assert found.confidence.tolist() == [0.75]


def test_a_class_is_kept_beside_another_in_the_same_place() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    found = pipeline.finish(tensors([[20, 20, 10, 10, 0.5, 0.25]]), batch, READING)
    assert found.class_id.tolist() == [0, 1]


def test_nothing_found_is_no_detections() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    assert len(pipeline.finish(tensors([[20, 20, 10, 10, 0.0, 0.0]]), batch, READING)) == 0


def test_outputs_of_another_family_reject_the_part() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    with pytest.raises(InferenceError, match="yolo"):
        pipeline.finish(Tensors({"o": np.zeros((1, 300, 6), np.float32)}), batch, READING)
