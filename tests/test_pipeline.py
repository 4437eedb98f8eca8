from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from edge_inspector import pipeline
from edge_inspector.datatypes import (
    Batch,
    Calibration,
    Classification,
    Detections,
    Findings,
    Frame,
    InputSpec,
    Letterbox,
    Measurement,
    PreparePlan,
    RawView,
    Roi,
    Tensors,
)
from edge_inspector.decoders import classifier, regression, segmentation, yolo_seg
from edge_inspector.decoders.yolo import Config, Yolo
from edge_inspector.errors import FrameError, InferenceError
from edge_inspector.stages.prepare import fused_map

READING = pipeline.Reading(Yolo(Config()), classes=2, score_floor=0.1, nms_iou=0.5)
PLAN = PreparePlan(InputSpec(64, 64, "gray", 1.0, (0.0,), (1.0,), 114))
LEFT, RIGHT = Roi(0, 0, 64, 64), Roi(32, 0, 64, 64)
TILED = Batch(
    np.zeros((2, 1, 64, 64), np.float32),
    (Letterbox(1.0, 0.0, 0.0), Letterbox(1.0, -32.0, 0.0)),
    Roi(0, 0, 96, 64),
    (LEFT, RIGHT),
)


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


def boxes(found: Findings) -> Detections:
    assert isinstance(found, Detections)
    return found


def test_prepare_leaves_the_frame_to_its_holder() -> None:
    held = frame(np.full((64, 128), 5, np.uint8))
    batch = pipeline.prepare(held, PLAN)
    assert batch.pixels.shape == (1, 1, 64, 64)
    assert batch.bounds == Roi(0, 0, 128, 64)
    assert held.lease.released == 0


def test_a_view_for_the_device_does_not_look_at_the_cameras_buffer_again() -> None:
    held = frame(np.full((64, 128), 5, np.uint8))
    view = pipeline.prepare_on_device(held, PLAN)
    held.pixels[:] = 200  # the camera's next picture
    assert np.unique(view.frame.pixels).tolist() == [5]
    assert view.frame.lease is None
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
    found = boxes(pipeline.finish(tensors([[32, 32, 20, 10, 0.9, 0]]), batch, READING))
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
    found = boxes(pipeline.finish(tensors(columns), batch, READING))
    assert found.xyxy.tolist() == [[68, 20, 76, 28], [98, 32, 104, 40]]


def test_candidates_start_at_the_score_floor_not_at_a_threshold() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    found = boxes(pipeline.finish(tensors([[9, 9, 4, 4, 0.09, 0], [40, 40, 4, 4, 0.11, 0]]), batch, READING))
    assert found.confidence.tolist() == [np.float32(0.11)]


def test_a_defect_on_the_border_of_two_tiles_is_one_defect() -> None:
    left, right = [48, 20, 10, 10, 0.5, 0], [16, 20, 10, 10, 0.75, 0]  # the same place: 48 = 16 + 32
    found = boxes(pipeline.finish(tensors([left], [right]), TILED, READING))
    assert found.xyxy.tolist() == [[43, 15, 53, 25]]
    assert found.confidence.tolist() == [0.75]


def test_a_box_of_a_tile_is_cut_to_that_tile() -> None:
    found = boxes(pipeline.finish(tensors([[62, 20, 20, 10, 0.5, 0]], [[9, 9, 0, 0, 0, 0]]), TILED, READING))
    assert found.xyxy.tolist() == [[52, 15, 64, 25]]


def test_a_class_is_kept_beside_another_in_the_same_place() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    found = boxes(pipeline.finish(tensors([[20, 20, 10, 10, 0.5, 0.25]]), batch, READING))
    assert found.class_id.tolist() == [0, 1]


def test_nothing_found_is_no_detections() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    assert len(boxes(pipeline.finish(tensors([[20, 20, 10, 10, 0.0, 0.0]]), batch, READING))) == 0


def test_outputs_of_another_family_reject_the_part() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    with pytest.raises(InferenceError, match="yolo"):
        pipeline.finish(Tensors({"o": np.zeros((1, 300, 6), np.float32)}), batch, READING)


def test_a_view_prepared_on_the_device_is_finished_as_one_prepared_here() -> None:
    here = pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), PLAN)
    there = pipeline.prepare_on_device(frame(np.zeros((64, 128), np.uint8)), PLAN)
    assert isinstance(there, RawView)
    given = tensors([[32, 32, 20, 10, 0.9, 0]])
    assert boxes(pipeline.finish(given, there, READING)).xyxy.tolist() == [[44, 22, 84, 42]]
    assert boxes(pipeline.finish(given, here, READING)).xyxy.tolist() == [[44, 22, 84, 42]]


def test_a_region_comes_in_full_image_pixels_with_its_area() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), PLAN)  # scale 1/2, 16 rows of pad above
    shares = np.zeros((1, 1, 64, 64), np.float32)
    shares[0, 0, 20:24, 10:16] = 0.75
    reading = pipeline.Reading(segmentation.Segmentation(segmentation.Config(activation="none")), 1, 0.5, 0.9)
    found = boxes(pipeline.finish(Tensors({"map": shares}), batch, reading))
    assert found.xyxy.tolist() == [[20, 8, 32, 16]]
    assert found.regions is not None
    assert sorted(map(tuple, found.regions[0].outline.tolist())) == [(20, 8), (20, 16), (32, 8), (32, 16)]
    assert found.regions[0].area_px == 96  # 24 input pixels, each 2 x 2


def test_masks_are_drawn_for_what_nms_has_left_each_from_its_own_row() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), PLAN)
    prototypes = np.ones((1, 1, 16, 16), np.float32)
    prototypes[0, 0, :, 8:] = -1  # the right half is there only with a negative coefficient
    columns = [
        [8, 32, 8, 8, 0.5, 1],
        [8, 33, 8, 8, 0.75, 1],  # the same thing, more sure
        [48, 32, 8, 8, 0.875, -1],
        [48, 20, 8, 2, 0.625, 1],  # nothing of its mask is in its box
    ]
    given = Tensors({"output0": np.array(columns, np.float32).T[None], "output1": prototypes})
    found = boxes(pipeline.finish(given, batch, pipeline.Reading(yolo_seg.YoloSeg(), 1, 0.25, 0.5)))
    assert found.confidence.tolist() == [0.875, 0.75, 0.625]
    assert found.xyxy.tolist() == [[88, 24, 104, 40], [8, 26, 24, 42], [88, 6, 104, 10]]
    assert found.regions is not None
    assert [region.area_px for region in found.regions] == [256, 256, 0]
    bounds = [[*r.outline.min(axis=0).tolist(), *r.outline.max(axis=0).tolist()] for r in found.regions]
    assert bounds == found.xyxy.tolist()


def test_a_mask_is_cut_to_the_view_with_its_box() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 128), np.uint8)), PLAN)
    columns = [[32, 18, 8, 12, 0.9, 1]]  # rows 12 to 24, the content starts at 16
    given = Tensors({"output0": np.array(columns, np.float32).T[None], "output1": np.ones((1, 1, 16, 16), np.float32)})
    found = boxes(pipeline.finish(given, batch, pipeline.Reading(yolo_seg.YoloSeg(), 1, 0.25, 0.5)))
    assert found.xyxy.tolist() == [[56, 0, 72, 16]]
    assert found.regions is not None
    assert found.regions[0].area_px == 256
    assert found.regions[0].outline[:, 1].min() == 0


def test_a_classification_says_what_the_whole_view_shows() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    reading = pipeline.Reading(classifier.Classifier(classifier.Config(activation="none")), 2, 0.5, 0.5)
    found = pipeline.finish(Tensors({"probs": np.array([[0.25, 0.75]], np.float32)}), batch, reading)
    assert isinstance(found, Classification)
    assert found.scores.tolist() == [0.25, 0.75]


def test_a_measurement_goes_through_as_it_is() -> None:
    batch = pipeline.prepare(frame(np.zeros((64, 64), np.uint8)), PLAN)
    reading = pipeline.Reading(regression.Regression(regression.Config(offset=(1.0,))), 1, 0.5, 0.5)
    assert pipeline.finish(Tensors({"mm": np.array([[2]], np.float32)}), batch, reading) == Measurement((3.0,))


@pytest.mark.parametrize(
    "decoder", [classifier.Classifier(classifier.Config(activation="none")), regression.Regression()]
)
def test_a_model_that_judges_whole_views_does_not_judge_tiles(
    decoder: classifier.Classifier | regression.Regression,
) -> None:
    given = Tensors({"o": np.array([[1, 0], [0, 1]], np.float32)})
    with pytest.raises(InferenceError, match="whole views"):
        pipeline.finish(given, TILED, pipeline.Reading(decoder, 2, 0.5, 0.5))
