from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.end2end import Config, EndToEnd
from edge_inspector.errors import BundleError, InferenceError

DECODER = EndToEnd(Config())
PADDING = [0.0] * 6


def output(*rows: list[float]) -> Tensors:
    return Tensors({"output0": np.array([rows], np.float32)})


def test_the_name_end2end_leads_here() -> None:
    assert plugins.load("decoder", "end2end") is EndToEnd
    assert plugins.config_model("decoder", "end2end")(type="end2end") == Config()


def test_rows_from_the_floor_up_are_detections() -> None:
    found = DECODER.decode(output([1, 2, 3, 4, 0.75, 1], [5, 6, 7, 8, 0.5, 0], [0, 0, 0, 0, 0, -1]), 0, 0.5, 2)
    assert found.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 0]


def test_a_box_whose_sides_have_changed_places_is_not_lost() -> None:
    assert DECODER.decode(output([30, 4, 10, 2, 0.75, 1], PADDING), 0, 0.5, 2).xyxy.tolist() == [[10, 2, 30, 4]]


def test_padding_only_is_no_detection() -> None:
    assert len(DECODER.decode(output([0, 0, 0, 0, 0, 0]), 0, 0.05, 2)) == 0


@pytest.mark.parametrize("class_id", [-1.0, 2.0, 0.5])
def test_a_class_that_the_bundle_does_not_have_is_refused(class_id: float) -> None:
    with pytest.raises(InferenceError, match=r"0\.\.1"):
        DECODER.decode(output([1, 2, 3, 4, 0.9, class_id], PADDING), 0, 0.1, 2)


@pytest.mark.parametrize("score", [7.0, -7.0])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    with pytest.raises(InferenceError, match=f"a score is {score:g}"):
        DECODER.decode(output([1, 2, 3, 4, score, 0], PADDING), 0, 0.1, 2)


def test_when_no_row_is_left_free_something_may_be_missing() -> None:
    full = output([1, 2, 30, 40, 0.9, 0], [1, 2, 30, 40, 0.1, 1])
    with pytest.raises(InferenceError, match=r"all 2 rows reach the score floor 0\.1.*max_det"):
        DECODER.decode(full, 0, 0.1, 2)
    assert len(DECODER.decode(full, 0, 0.11, 2)) == 1


def test_boxes_that_are_parts_of_the_input_belong_to_another_decoder() -> None:
    with pytest.raises(InferenceError, match=r"0\.75.*rtdetr"):
        DECODER.decode(output([0.5, 0.25, 0.75, 0.5, 0.9, 0], PADDING), 0, 0.1, 2)


def test_the_rounding_of_a_quantised_output_is_no_error() -> None:
    assert DECODER.decode(output([1, 2, 3, 4, 1.004, 0], PADDING), 0, 0.1, 2).confidence.tolist() == [1.0]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"o": (1, 10, 8400)}, ["(1, 10, 8400)", "(n, rows, 6)"]),
        ({"o": (300, 6)}, ["(300, 6)"]),
        ({"a": (1, 300, 4), "b": (1, 300)}, ["2 outputs (a, b)"]),
    ],
)
def test_another_familys_output_is_refused_at_load(shapes, said: list[str]) -> None:
    with pytest.raises(BundleError) as caught:
        DECODER.check(shapes, 2)
    assert all(word in str(caught.value) for word in said)


def test_its_own_output_is_accepted() -> None:
    DECODER.check({"output0": (1, 300, 6)}, 80)


def test_an_output_that_changed_since_load_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"\(1, 1, 5\)"):
        DECODER.decode(output([1, 2, 3, 4, 5]), 0, 0.1, 2)
