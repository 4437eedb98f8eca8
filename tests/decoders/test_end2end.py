from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.end2end import Config, EndToEnd
from edge_inspector.errors import BundleError, InferenceError

DECODER = EndToEnd(Config())


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


def test_padding_only_is_no_detection() -> None:
    assert len(DECODER.decode(output([0, 0, 0, 0, 0, 0]), 0, 0.05, 2)) == 0


@pytest.mark.parametrize("class_id", [-1.0, 2.0, 0.5])
def test_a_class_that_the_bundle_does_not_have_is_refused(class_id: float) -> None:
    with pytest.raises(InferenceError, match=r"0\.\.1"):
        DECODER.decode(output([1, 2, 3, 4, 0.9, class_id]), 0, 0.1, 2)


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(InferenceError, match="7"):
        DECODER.decode(output([1, 2, 3, 4, 7, 0]), 0, 0.1, 2)


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
