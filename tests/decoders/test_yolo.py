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


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(InferenceError, match=r"4\.5.*sigmoid"):
        DECODER.decode(output([5, 5, 2, 2, 4.5]), 0, 0.2, 1)


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
