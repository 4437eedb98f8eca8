from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.calibration.file import calibration_text
from edge_inspector.cli.main import app
from edge_inspector.datatypes import Calibration, Criteria, Roi
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.evaluate import Chain, evaluate, wilson
from edge_inspector.errors import BundleError, ConfigError

BACKEND = OnnxRuntimeBackend(Config(warm_up_runs=1))
SIDE = 32
BOX = [8.0, 8.0, 8.0, 8.0]  # x, y, width, height, as COCO writes it


def save_model(path: Path, rows: int = 6) -> str:
    """A net with two anchors, at BOX and one pixel to its right.

    The first one's score for class a is the brightest pixel, the second's 0.9 of that; for class b it is 0.25 always.
    """
    constants = {
        "box": np.array([[12, 13], [12, 12], [8, 8], [8, 8]], np.float32)[None],
        "b": np.full((1, rows - 5, 2), 0.25, np.float32),
        "weights": np.array([1.0, 0.9], np.float32).reshape(1, 1, 2),
    }
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["weights", "brightest"], ["a"]),
        helper.make_node("Concat", ["box", "a", "b"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_bundle(folder: Path, rows: int = 6) -> Bundle:
    folder.mkdir()
    (folder / "model.toml").write_text(f"""\
schema = 1
name = "brightest"
version = "1.0.0"
task = "detect"
decoder = "yolo"
classes = ["a", "b"]
score_floor = 0.1
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{save_model(folder / "model.onnx", rows)}"
description = "finds light"
[input]
width_px = {SIDE}
height_px = {SIDE}
color = "gray"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]
pad_value = 0
[thresholds]
a = 0.5
b = 0.5
""")
    return load_bundle(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


class Pictures:
    """Pictures of one brightness and their COCO file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.coco: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}],
        }

    def add(self, brightness: int, *labels: tuple[str, list[float]]) -> Path:
        number = len(self.coco["images"]) + 1
        path = self.folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((SIDE, SIDE), brightness, np.uint8))
        self.coco["images"].append({"id": number, "file_name": path.name, "height": SIDE, "width": SIDE})
        ids = {category["name"]: category["id"] for category in self.coco["categories"]}
        for name, bbox in labels:
            label = {
                "id": len(self.coco["annotations"]) + 1,
                "image_id": number,
                "category_id": ids[name],
                "bbox": bbox,
            }
            self.coco["annotations"].append(label)
        return path

    def saved(self) -> Path:
        path = self.folder / "coco.json"
        path.write_text(json.dumps(self.coco))
        return path


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return Pictures(folder)


def test_parts_and_boxes_are_counted_at_the_thresholds(bundle: Bundle, pictures: Pictures, capsys) -> None:
    pictures.add(255, ("a", BOX))  # found
    pictures.add(51, ("a", BOX))  # 0.2: below its threshold, an escape
    pictures.add(204, ("a", [20.0, 20.0, 8.0, 8.0]))  # seen in the wrong place: no match, but a reject
    pictures.add(153)  # 0.6 on a good part: overkill
    pictures.add(0)  # good, and nothing seen
    report = evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)
    assert report.pictures == 5
    assert (report.escapes.count, report.escapes.total) == (1, 3)
    assert (report.overkill.count, report.overkill.total) == (1, 2)
    boxes = report.boxes["0.5"]
    assert (boxes.labelled, boxes.detected, boxes.matched) == (3, 3, 1)
    assert boxes.recall == pytest.approx(1 / 3)
    assert boxes.precision == pytest.approx(1 / 3)
    assert report.classes[1].name == "b"
    assert report.classes[1].boxes["0.5"].recall is None  # no label of b
    assert report.classes[1].boxes["0.5"].precision is None  # 0.25 never reaches 0.5
    assert capsys.readouterr() == ("", "")


def test_a_good_class_is_no_defect_neither_found_nor_labelled(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(255, ("a", BOX))
    pictures.add(0, ("a", BOX))
    pictures.add(255)
    tolerant = replace(bundle, criteria=Criteria(("a", "b"), good=frozenset([0])))
    report = evaluate(tolerant, BACKEND, pictures.saved(), pictures.folder)
    assert (report.escapes.count, report.escapes.total) == (0, 0)
    assert (report.overkill.count, report.overkill.total) == (0, 3)
    assert report.boxes["0.5"].labelled == 2  # boxes are counted all the same


def test_average_precision_is_cocos(bundle: Bundle, pictures: Pictures) -> None:
    """Worked by hand: a at 1.0 right, at 0.8 wrong, at 0.2 right: precision 1 up to recall 1/2, then 2/3."""
    pictures.add(255, ("a", BOX))
    pictures.add(204)
    pictures.add(51, ("a", BOX))
    report = evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)
    by_hand = (51 * 1 + 50 * 2 / 3) / 101  # COCO reads the curve at recall 0, 0.01 .. 1
    assert report.classes[0].ap50 == pytest.approx(by_hand)
    assert report.classes[0].max_recall50 == 1.0
    assert report.classes[1].ap50 is None
    assert report.map50 == pytest.approx(by_hand)
    assert report.map50_95 == pytest.approx(by_hand)  # the boxes fit exactly


def test_categories_are_matched_by_name(bundle: Bundle, pictures: Pictures) -> None:
    """b is category 1 in the file and class 1 in the bundle; a is category 2 and class 0."""
    pictures.add(255, ("b", BOX))
    report = evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)
    assert report.classes[1].ap50 == pytest.approx(1.0)
    assert report.classes[1].boxes["0.5"].labelled == 1
    assert report.boxes["0.5"].matched == 0  # a is seen where b is labelled


def test_a_small_shift_counts_at_the_lower_iou_only(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(255, ("a", [12.0, 8.0, 8.0, 8.0]))  # IoU 32 / 96 = 1/3
    report = evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)
    assert (report.boxes["0.5"].matched, report.boxes["0.3"].matched) == (0, 1)


def test_one_label_matches_one_detection(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(255, ("a", BOX))
    report = evaluate(replace(bundle, nms_iou=0.9), BACKEND, pictures.saved(), pictures.folder)  # both anchors stay
    assert (report.boxes["0.5"].detected, report.boxes["0.5"].matched) == (2, 1)


def test_one_detection_matches_one_label(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(255, ("a", BOX), ("a", [8.0, 8.0, 8.0, 7.0]))
    report = evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)
    assert (report.boxes["0.5"].labelled, report.boxes["0.5"].matched) == (2, 1)


def test_extra_good_pictures_can_be_overkill_and_cost_precision(bundle: Bundle, pictures: Pictures, tmp_path) -> None:
    pictures.add(204, ("a", BOX))
    extra = tmp_path / "extra.png"
    cv2.imwrite(str(extra), np.full((SIDE, SIDE, 3), 255, np.uint8))
    coco = pictures.saved()
    alone = evaluate(bundle, BACKEND, coco, pictures.folder)
    report = evaluate(bundle, BACKEND, coco, pictures.folder, [extra])
    assert (alone.classes[0].ap50, report.classes[0].ap50) == (pytest.approx(1.0), pytest.approx(0.5))
    assert (report.overkill.count, report.overkill.total) == (1, 1)


def test_nothing_detected_at_all_is_a_result(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(0, ("a", BOX))
    report = evaluate(replace(bundle, score_floor=0.3), BACKEND, pictures.saved(), pictures.folder)
    assert (report.map50, report.escapes.count) == (0.0, 1)


def test_the_report_is_json_with_its_model(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(255, ("a", BOX))
    written = json.loads(evaluate(bundle, BACKEND, pictures.saved(), pictures.folder).to_json())
    assert written["model_hash"] == bundle.model_hash
    assert written["classes"][0]["boxes"]["0.5"]["recall"] == 1.0
    assert written["classes"][1]["ap50"] is None
    assert set(written["ms_by_stage"]) == {"prepare", "model", "finish"}
    assert written["ms_per_picture"] > 0


BARREL = Calibration((SIDE, SIDE), (32.0, 32.0, 15.5, 15.5), (-0.9, 0.0, 0.0, 0.0))
WHERE_IT_IS = Roi(29, 12, 3, 8)  # the lens shows columns 29 to 31 of the middle rows at 26.8 to 27.7


@pytest.fixture
def bent_light(pictures: Pictures) -> Pictures:
    """A good part, as a lens with barrel distortion shows it: lit in columns 26 and 27."""
    seen = np.zeros((SIDE, SIDE), np.uint8)
    seen[:, 26:28] = 255
    cv2.imwrite(str(pictures.add(0)), seen)
    return pictures


@pytest.mark.parametrize(
    ("calibration", "roi", "seen"),
    [
        (None, None, 1),
        (None, WHERE_IT_IS, 0),
        (BARREL, WHERE_IT_IS, 1),
        (BARREL, Roi(20, 12, 4, 8), 0),  # 19.9 to 22.6
    ],
)
@pytest.mark.parametrize("chain", ["fused", "plain"])
def test_with_a_calibration_the_roi_lies_in_the_undistorted_picture(
    bundle: Bundle, bent_light: Pictures, calibration, roi, seen: int, chain: Chain
) -> None:
    options = {"calibration": calibration, "roi": roi, "chain": chain}
    made = evaluate(bundle, BACKEND, bent_light.saved(), bent_light.folder, **options)
    assert made.overkill.count == seen


def test_the_command_takes_calibration_roi_and_chain(bundle: Bundle, bent_light: Pictures, tmp_path: Path) -> None:
    lens = tmp_path / "lens.yaml"
    lens.write_text(calibration_text(BARREL))
    where = f"{WHERE_IT_IS.x},{WHERE_IT_IS.y},{WHERE_IT_IS.width},{WHERE_IT_IS.height}"
    words = ["evaluate", str(tmp_path / "bundle"), "--coco", str(bent_light.saved()), "--images"]
    words += [str(bent_light.folder), "--roi", where]
    for further, seen in ([], 0), (["--calibration", str(lens)], 1), (["--calibration", str(lens), "--chain=plain"], 1):
        done = CliRunner().invoke(app, words + further)
        assert done.exit_code == 0, done.output
        assert f"overkill: {seen} of 1 parts" in done.stdout


@pytest.mark.parametrize("roi", ["1,2,3", "1,2,3,4.5", "left"])
def test_a_roi_that_is_not_four_numbers_is_told_how_to_be_written(bundle: Bundle, roi: str, tmp_path: Path) -> None:
    words = ["evaluate", str(tmp_path / "bundle"), "--coco", "c.json", "--images", ".", "--roi", roi]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert f"--roi {roi!r} is not X,Y,WIDTH,HEIGHT" in done.stderr


def test_the_plain_chain_scales_by_area_and_the_fused_one_by_interpolation(
    bundle: Bundle, pictures: Pictures, tmp_path: Path
) -> None:
    """At 2/3 the first input pixel is 3/4 of the first picture column when interpolated, 2/3 by area."""
    first_column = np.zeros((48, 48), np.uint8)
    first_column[:, 0] = 255
    extra = tmp_path / "extra.png"
    cv2.imwrite(str(extra), first_column)
    pictures.add(0)
    strict, coco = replace(bundle, default_thresholds=(0.7, 0.7)), pictures.saved()
    fused, plain = (
        evaluate(strict, BACKEND, coco, pictures.folder, [extra], chain=chain) for chain in ("fused", "plain")
    )
    assert (fused.overkill.count, plain.overkill.count) == (1, 0)


def test_pictures_of_another_size_than_the_calibrations_are_all_named(bundle: Bundle, pictures: Pictures) -> None:
    for _ in range(2):
        pictures.add(0)
    lens = Calibration((48, 64), (64.0, 64.0, 31.5, 23.5), (0.0,) * 4)
    with pytest.raises(ConfigError, match=r"1\.png.*32x32.*64x48.*2\.png"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder, calibration=lens)


def test_classes_that_are_not_the_bundles_are_listed(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(0, ("b", BOX))
    pictures.coco["categories"][0]["name"] = "scratch"
    with pytest.raises(ConfigError, match=r"of the classes scratch; bundle brightest has the classes a, b"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_missing_pictures_are_all_named(bundle: Bundle, pictures: Pictures) -> None:
    gone = [pictures.add(0), pictures.add(0)]
    pictures.add(0)
    for path in gone:
        path.unlink()
    with pytest.raises(ConfigError, match=r"1\.png.*2\.png"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


@pytest.mark.parametrize("damage", ["text", "deep", "alpha", "other size"])
def test_pictures_that_cannot_be_read_are_all_named(bundle: Bundle, pictures: Pictures, damage: str) -> None:
    for path in (pictures.add(0), pictures.add(0)):
        if damage == "text":
            path.write_text("not a picture")
        else:
            shape = {"deep": (SIDE, SIDE), "alpha": (SIDE, SIDE, 4), "other size": (SIDE, 40)}[damage]
            cv2.imwrite(str(path), np.zeros(shape, np.uint16 if damage == "deep" else np.uint8))
    with pytest.raises(ConfigError, match=r"1\.png.*2\.png"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_a_picture_is_either_listed_or_extra(bundle: Bundle, pictures: Pictures) -> None:
    listed = pictures.add(0)
    with pytest.raises(ConfigError, match=r"1\.png; name them in one"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder, [listed])


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_a_file_that_is_not_coco_is_refused(bundle: Bundle, pictures: Pictures, key: str) -> None:
    pictures.add(0)
    del pictures.coco[key]
    with pytest.raises(ConfigError, match=f"not a COCO detection file.*{key}"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_labels_of_a_picture_that_is_not_listed_are_refused(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(0, ("a", BOX))
    pictures.coco["annotations"][0]["image_id"] = 77
    with pytest.raises(ConfigError, match="77"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_without_pycocotools_the_command_that_installs_it_is_told(
    bundle: Bundle, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.add(0)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match=r'pip install "edge-inspector\[evaluate\]"'):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_crowds_are_refused(bundle: Bundle, pictures: Pictures) -> None:
    pictures.add(0, ("a", BOX))
    pictures.coco["annotations"][0]["iscrowd"] = 1
    with pytest.raises(ConfigError, match="crowd"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_a_list_without_pictures_is_refused(bundle: Bundle, pictures: Pictures) -> None:
    with pytest.raises(ConfigError, match="no picture"):
        evaluate(bundle, BACKEND, pictures.saved(), pictures.folder)


def test_a_file_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        evaluate(bundle, BACKEND, tmp_path / "nowhere.json", tmp_path)


def test_a_model_with_another_number_of_classes_is_refused(tmp_path: Path, pictures: Pictures) -> None:
    pictures.add(0)
    with pytest.raises(BundleError, match=r"\(1, 9, 2\).*2 classes"):
        evaluate(make_bundle(tmp_path / "nine", rows=9), BACKEND, pictures.saved(), pictures.folder)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0000),  # the mirror of 0 of 20
    ],
)
def test_wilson_is_newcombes_method_3(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_no_parts_say_nothing_about_the_share() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
