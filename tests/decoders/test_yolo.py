from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.yolo import Config, Yolo
from edge_inspector.errors import BundleError, InferenceError

DECODER = Yolo(Config())


def output(*columns: list[float]) -> Tensors:
    return Tensors({"output0": np.array(columns, np.float32).T[None]})


def test_the_name_yolo_leads_here() -> None:
    assert plugins.load("decoder", "yolo") is Yolo
    assert plugins.config_model("decoder", "yolo")(type="yolo") == Config()


def test_each_column_becomes_a_box() -> None:
    tensors = output([50, 40, 20, 10, 0.1, 0.75], [5, 6, 2, 4, 0.5, 0.25], [9, 9, 2, 2, 0.1, 0.2])
    found = DECODER.decode(tensors, 0, 0.5, 2)
    assert found.xyxy.tolist() == [[40, 35, 60, 45], [4, 4, 6, 8]]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 0]


def test_a_class_is_not_hidden_by_a_more_likely_one() -> None:
    found = DECODER.decode(output([5, 5, 2, 2, 0.75, 0.25, 0.125], [9, 9, 2, 2, 0, 0, 0.5]), 0, 0.25, 3)
    assert found.class_id.tolist() == [0, 1, 2]
    assert found.confidence.tolist() == [0.75, 0.25, 0.5]
    assert found.xyxy.tolist() == [[4, 4, 6, 6], [4, 4, 6, 6], [8, 8, 10, 10]]


def test_a_box_whose_sides_have_changed_places_is_not_lost() -> None:
    assert DECODER.decode(output([20, 3, -20, 2, 0.75]), 0, 0.5, 1).xyxy.tolist() == [[10, 2, 30, 4]]


def test_a_tile_sees_its_own_rows_only() -> None:
    both = np.zeros((2, 5, 1), np.float32)
    both[0, :, 0] = [5, 5, 2, 2, 0.9]
    both[1, :, 0] = [7, 7, 2, 2, 0.8]
    assert DECODER.decode(Tensors({"o": both}), 1, 0.1, 1).xyxy.tolist() == [[6, 6, 8, 8]]


def test_nothing_reaches_the_floor() -> None:
    assert len(DECODER.decode(output([5, 5, 2, 2, 0.1]), 0, 0.2, 1)) == 0


def test_half_precision_outputs_become_single() -> None:
    tensors = Tensors({"o": np.array([[[5], [5], [2], [2], [0.5]]], np.float16)})
    found = DECODER.decode(tensors, 0, 0.2, 1)
    assert found.xyxy.dtype == np.float32
    assert found.confidence.tolist() == [0.5]


@pytest.mark.parametrize("score", [4.5, -4.5])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    with pytest.raises(InferenceError, match=rf"{score}.*sigmoid"):
        DECODER.decode(output([5, 5, 2, 2, 0.5], [5, 5, 2, 2, score]), 0, 0.2, 1)


def test_numbers_are_those_of_ultralytics_own_nms_with_several_labels_a_box() -> None:
    wave = np.sin(np.arange(21) * 1.7).astype(np.float32)
    raw = np.concatenate(
        [32 + 20 * wave[:14].reshape(2, 7), 12 + 8 * wave[:14].reshape(2, 7)[::-1], (wave.reshape(3, 7) + 1) / 2]
    )
    found = DECODER.decode(Tensors({"output0": raw[None]}), 0, 0.65, 3)
    order = np.argsort(-found.confidence)
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])[order]
    # ultralytics 8.4.190, non_max_suppression(..., conf_thres=0.65, iou_thres=1.0, multi_label=True)
    expected = [
        [37.9706, 42.8019, 57.9689, 61.1898, 0.9999, 1],
        [42.3967, 39.2166, 61.2699, 59.1499, 0.9958, 0],
        [19.3022, 34.957, 34.4761, 44.9126, 0.9396, 2],
        [42.3967, 39.2166, 61.2699, 59.1499, 0.9296, 1],
        [37.9706, 42.8019, 57.9689, 61.1898, 0.8992, 0],
        [37.9706, 42.8019, 57.9689, 61.1898, 0.8867, 2],
        [12.4371, 26.6268, 23.568, 33.0278, 0.7645, 2],
        [36.4783, 21.0436, 47.2863, 36.9965, 0.7471, 0],
        [19.3022, 34.957, 34.4761, 44.9126, 0.6984, 1],
        [42.3967, 39.2166, 61.2699, 59.1499, 0.6795, 2],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_a_model_without_anchors_shows_nothing() -> None:
    assert len(DECODER.decode(Tensors({"o": np.zeros((1, 6, 0), np.float32)}), 0, 0.2, 2)) == 0


def test_the_rounding_of_a_quantised_output_is_no_error() -> None:
    assert DECODER.decode(output([5, 5, 2, 2, 1.004]), 0, 0.2, 1).confidence.tolist() == [1.0]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"o": (1, 84, 8400)}, ["(1, 84, 8400)", "(n, 10, anchors)", "6 classes"]),
        ({"o": (1, 8400, 10)}, ["transposed"]),
        ({"o": (1, 300, 6)}, ["(1, 300, 6)"]),
        ({"o": (10, 8400)}, ["(10, 8400)"]),
        ({"a": (1, 10, 8400), "b": (1, 3)}, ["2 outputs (a, b)"]),
        ({}, ["0 outputs"]),
    ],
)
def test_another_familys_output_is_refused_at_load(shapes, said: list[str]) -> None:
    with pytest.raises(BundleError) as caught:
        DECODER.check(shapes, 6)
    assert all(word in str(caught.value) for word in said)


def test_its_own_output_is_accepted() -> None:
    DECODER.check({"output0": (1, 10, 8400)}, 6)


def test_an_output_that_changed_since_load_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"\(1, 5, 1\)"):
        DECODER.decode(output([5, 5, 2, 2, 0.5]), 0, 0.1, 3)
