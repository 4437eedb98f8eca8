from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.compact import OUTPUT
from edge_inspector.decoders.yolov5 import Config, YoloV5
from edge_inspector.errors import BundleError, InferenceError

DECODER = YoloV5(Config())
ALONE = YoloV5(Config(objectness_only=True))
WAVE = np.sin(np.arange(24) * 1.7).astype(np.float32)
ROWS = np.concatenate(
    [32 + 20 * WAVE[:12].reshape(6, 2), 12 + 8 * WAVE[:12].reshape(6, 2)[:, ::-1], (WAVE.reshape(6, 4) + 1) / 2], axis=1
)  # 6 anchors, 3 classes


def output(*rows: list[float]) -> Tensors:
    return Tensors({"output0": np.array([rows], np.float32)})


def test_the_name_yolov5_leads_here() -> None:
    assert plugins.load("decoder", "yolov5") is YoloV5
    assert plugins.config_model("decoder", "yolov5")(type="yolov5") == Config()


def test_a_score_is_objectness_times_class_probability() -> None:
    found = DECODER.decode(output([50, 40, 20, 10, 0.5, 0.25, 0.75], [5, 6, 2, 4, 0.25, 1.0, 0.5]), 0, 0.25, 2)
    assert found.xyxy.tolist() == [[40, 35, 60, 45], [4, 4, 6, 8]]
    assert found.confidence.tolist() == [0.375, 0.25]
    assert found.class_id.tolist() == [1, 0]


def test_a_class_is_not_hidden_by_a_more_likely_one() -> None:
    found = DECODER.decode(output([5, 5, 2, 2, 0.5, 1.0, 0.5]), 0, 0.25, 2)
    assert (found.class_id.tolist(), found.confidence.tolist()) == ([0, 1], [0.5, 0.25])


def test_numbers_are_those_of_yolov5s_own_nms() -> None:
    found = DECODER.decode(Tensors({"output0": ROWS[None]}), 0, 0.39, 3)
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])[np.argsort(-found.confidence)]
    # ultralytics/yolov5 5081342, utils/general.py: non_max_suppression(..., iou_thres=1.0, multi_label=True)
    expected = [
        [41.5963, 30.4982, 56.7702, 49.3715, 0.8331, 2],
        [7.368, 26.8656, 18.1761, 31.1744, 0.759, 2],
        [14.4751, 16.4368, 21.53, 22.8378, 0.6795, 2],
        [24.5924, 8.5059, 29.1859, 18.4615, 0.6718, 0],
        [32.6883, 39.9933, 51.0762, 55.9462, 0.6492, 0],
        [22.0333, 45.8333, 41.9667, 57.8333, 0.4979, 0],
        [14.4751, 16.4368, 21.53, 22.8378, 0.4456, 0],
        [32.6883, 39.9933, 51.0762, 55.9462, 0.3955, 2],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_one_class_of_yolov7_is_scored_by_its_objectness_as_its_own_nms_does() -> None:
    found = ALONE.decode(Tensors({"output": ROWS[None, :, :6]}), 0, 0.7, 1)
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])
    # WongKinYiu/yolov7, utils/general.py: non_max_suppression(..., conf_thres=0.7, iou_thres=1.0)
    expected = [
        [24.5924, 8.5059, 29.1859, 18.4615, 0.7471, 0],
        [32.6883, 39.9933, 51.0762, 55.9462, 0.9296, 0],
        [14.4751, 16.4368, 21.53, 22.8378, 0.9999, 0],
        [41.5963, 30.4982, 56.7702, 49.3715, 0.9396, 0],
        [7.368, 26.8656, 18.1761, 31.1744, 0.7645, 0],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_every_pair_from_the_floor_up_is_found() -> None:
    rng = np.random.default_rng(3)
    rows = rng.random((2, 200, 9)).astype(np.float32)
    found = DECODER.decode(Tensors({"o": rows}), 1, 0.3, 4)
    expected = [
        (a, c, rows[1, a, 4] * rows[1, a, 5 + c])
        for a in range(200)
        for c in range(4)
        if rows[1, a, 4] * rows[1, a, 5 + c] >= np.float32(0.3)
    ]
    assert found.class_id.tolist() == [c for _, c, _ in expected]
    assert found.confidence.tolist() == [score for _, _, score in expected]
    assert 100 < len(expected) < 700


def test_a_tile_sees_its_own_rows_only() -> None:
    both = np.array([[[5, 5, 2, 2, 1, 0.9]], [[7, 7, 2, 2, 1, 0.8]]], np.float32)
    assert DECODER.decode(Tensors({"o": both}), 1, 0.1, 1).xyxy.tolist() == [[6, 6, 8, 8]]


@pytest.mark.parametrize("rows", [np.zeros((1, 0, 6), np.float32), np.zeros((1, 9, 6), np.float32)])
def test_nothing_reaches_the_floor(rows: np.ndarray) -> None:
    assert len(DECODER.decode(Tensors({"o": rows}), 0, 0.1, 1)) == 0


@pytest.mark.parametrize("scores", [[4.5, 0.5], [-4.5, 0.5], [0.9, 4.5], [0.9, -4.5]])
def test_scores_that_are_no_probabilities_are_refused(scores: list[float]) -> None:
    with pytest.raises(InferenceError, match=r"4\.5.*--grid"):
        DECODER.decode(output([5, 5, 2, 2, *scores], [5, 5, 2, 2, 0.1, 0.1]), 0, 0.2, 1)


def test_the_rounding_of_a_quantised_output_is_no_error() -> None:
    found = DECODER.decode(output([5, 5, 2, 2, 1.004, 1.004], [5, 5, 2, 2, 0.199, 1.008]), 0, 0.2, 1)
    np.testing.assert_allclose(found.confidence, [1.0, 0.2006], atol=1e-4)


def test_boxes_that_are_relative_to_their_cell_belong_to_another_decoder() -> None:
    with pytest.raises(InferenceError, match=r"-1\.5 px.*yolox"):
        DECODER.decode(output([5, 5, 2, 2, 0.9, 0.9], [0.5, 0.5, 0.7, -1.5, 0, 0]), 0, 0.2, 1)


def test_the_output_can_be_named_among_several() -> None:
    decoder = YoloV5(Config(output="output"))
    maps = {"output": (1, 252, 8), "345": (1, 3, 8, 8, 8)}
    decoder.check(maps, 3)
    tensors = Tensors({"345": np.zeros((1, 3, 1, 1, 6)), "output": np.array([[[5, 5, 2, 2, 1, 0.5]]], np.float32)})
    assert decoder.decode(tensors, 0, 0.2, 1).confidence.tolist() == [0.5]
    with pytest.raises(BundleError, match=r"2 outputs .*345.*decoder_options\.output"):
        DECODER.check(maps, 3)
    with pytest.raises(BundleError, match=r"'output' is none of the outputs \(o\)"):
        decoder.check({"o": (1, 252, 8)}, 3)


@pytest.mark.parametrize(
    ("shapes", "classes", "said"),
    [
        ({"o": (1, 25200, 85)}, 6, ["(1, 25200, 85)", "(n, anchors, 11)", "6 classes"]),
        ({"o": (1, 10, 8400)}, 6, ["no objectness", "decoder yolo "]),
        ({"o": (1, 3, 80, 80, 11)}, 6, ["(1, 3, 80, 80, 11)"]),
        ({"a": (1, 3, 8, 8, 11), "b": (1, 3, 4, 4, 11)}, 6, ["2 outputs"]),
        ({OUTPUT: (1, 300, 5)}, 6, [OUTPUT, "(1, 300, 5)"]),
    ],
)
def test_another_familys_output_is_refused_at_load(shapes, classes: int, said: list[str]) -> None:
    with pytest.raises(BundleError) as caught:
        DECODER.check(shapes, classes)
    assert all(word in str(caught.value) for word in said)


@pytest.mark.parametrize(("shapes", "classes"), [({"o": (1, 252, 7)}, 2), ({OUTPUT: (1, 300, 6)}, 1)])
def test_objectness_alone_is_for_one_class_and_its_own_rows(shapes, classes: int) -> None:
    with pytest.raises(BundleError, match="objectness_only"):
        ALONE.check(shapes, classes)


@pytest.mark.parametrize("shapes", [{"output0": (1, 25200, 11)}, {OUTPUT: (1, 300, 6)}])
def test_its_own_output_is_accepted(shapes) -> None:
    DECODER.check(shapes, 6)


def test_an_output_that_changed_since_load_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"\(1, 1, 5\)"):
        DECODER.decode(output([5, 5, 2, 2, 0.5]), 0, 0.1, 3)
