"""The networks that other tests stand on do what their docstring says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Evaluation, Frame, MeasuredView, PreparePlan, ThresholdState
from edge_inspector.engine.bundle import Bundle, load_bundle, reading_of
from edge_inspector.stages.rules import judge


def verdicts(bundle: Bundle) -> dict[str, Evaluation]:
    plan = PreparePlan(bundle.spec)
    model = OnnxRuntimeBackend(Config(warm_up_runs=1)).load(bundle.model_file(), plan, 1)
    reading = reading_of(bundle)
    reading.decoder.check(model.output_shapes, reading.classes)
    thresholds = ThresholdState(bundle.default_thresholds)
    assert bundle.golden is not None
    given = {}
    for path in sorted(bundle.golden.images.glob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        batch = pipeline.prepare(Frame("top", 1, 0, 0, pixels, "Mono8" if pixels.ndim == 2 else "BGR8"), plan)
        found = pipeline.finish(model.collect(model.submit(batch, 0), 1), batch, reading)
        view = MeasuredView("top", found, batch.bounds)
        given[path.name] = judge(["top"], bundle.criteria, thresholds, [view]).evaluation
    return given


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_familys_bundle_judges_its_golden_pictures_rightly(family: str, channels: int, tmp_path: Path) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "b", golden=20, channels=channels))
    given = verdicts(bundle)
    assert len(given) == 40
    assert {name for name, verdict in given.items() if verdict is Evaluation.OK} == {
        f"good_{i:03d}.png" for i in range(20)
    }
    assert set(given.values()) == {Evaluation.OK, Evaluation.NOT_OK}


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        networks.write("rtdetr", tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_the_labels_lie_around_the_spots(tmp_path: Path) -> None:
    golden = networks.bundle("yolo", tmp_path / "b", golden=3) / "golden"
    coco = json.loads((golden / "annotations_coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    assert len(coco["annotations"]) == 3
    for label in coco["annotations"]:
        pixels = cv2.imread(str(golden / names[label["image_id"]]), cv2.IMREAD_GRAYSCALE)
        x, y, w, h = label["bbox"]
        spot = np.argwhere(abs(pixels.astype(int) - 128) > 80)
        assert spot.min(axis=0).tolist() == [y, x]
        assert (spot.max(axis=0) - [y + h, x + w]).tolist() == [0, 0]
