"""Whole ways through little networks of each family: picture, ONNX Runtime, decoder, judgement."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Detections, Evaluation, Frame, MeasuredView, PreparePlan, ThresholdState
from edge_inspector.engine.bundle import load_bundle, reading_of
from edge_inspector.stages.rules import judge

CLASSES = {"anomaly": 1}
INPUT_PIXEL = 1.5  # in pixels of the picture, which is 96 wide where the input is 64
WITH_REGIONS = ("yolo_seg", "segmentation", "anomaly")


@pytest.mark.parametrize("family", ["yolo_seg", "segmentation", "anomaly", "classifier"])
def test_golden_pictures_are_judged_as_they_are_labelled(family: str, tmp_path: Path) -> None:
    folder = networks.bundle(family, tmp_path / "b", classes=CLASSES.get(family, 3), golden=4)
    bundle = load_bundle(folder)
    reading, plan = reading_of(bundle), PreparePlan(bundle.spec)
    coco = json.loads((folder / "golden" / "annotations_coco.json").read_text())
    labels = {label["image_id"]: label["bbox"] for label in coco["annotations"]}
    thresholds = ThresholdState(bundle.default_thresholds)
    model = OnnxRuntimeBackend(Config()).load(bundle.model_file(), plan, 1)
    try:
        reading.decoder.check(model.output_shapes, reading.classes)
        for image in coco["images"]:
            pixels = cv2.imread(str(folder / "golden" / image["file_name"]), cv2.IMREAD_UNCHANGED)
            batch = pipeline.prepare(Frame("top", 1, 0, 0, pixels, "Mono8"), plan)
            found = pipeline.finish(model.collect(model.submit(batch, 0), 10.0), batch, reading)
            view = MeasuredView("top", found, batch.bounds)
            judgement = judge(["top"], bundle.criteria, thresholds, [view])
            label = labels.get(image["id"])
            assert judgement.evaluation is (Evaluation.NOT_OK if label else Evaluation.OK), image["file_name"]
            if label and family in WITH_REGIONS:
                assert isinstance(found, Detections)
                _lies_on(found, label, 0 if family == "yolo_seg" else 1, image["file_name"])
    finally:
        model.close()


def _lies_on(found: Detections, label: list[float], least: float, file_name: str) -> None:
    """The strongest region's box, outline and area agree with one another, and its middle lies in the label.

    The masks of the yolo_seg network are random: they may show nothing.
    """
    assert found.regions is not None
    region, (x1, y1, x2, y2) = found.regions[0], found.xyxy[0].tolist()
    x, y, width, height = label
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    assert x <= middle[0] <= x + width, file_name
    assert y <= middle[1] <= y + height, file_name
    assert least <= region.area_px <= (x2 - x1) * (y2 - y1) * 1.001, file_name
    assert (region.outline >= np.array([x1, y1]) - INPUT_PIXEL).all(), file_name
    assert (region.outline <= np.array([x2, y2]) + INPUT_PIXEL).all(), file_name
