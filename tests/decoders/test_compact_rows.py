from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.compact import OUTPUT, detections, problem
from edge_inspector.engine.compact import COMPACTABLE
from edge_inspector.errors import BundleError, InferenceError

ROWS = np.array([[[1, 2, 30, 40, 0.75, 1], [5, 6, 70, 80, 0.5, 0], [0, 0, 0, 0, 0, 0]]], np.float32)


@pytest.mark.parametrize("family", COMPACTABLE)
def test_families_that_can_be_compact_read_the_rows(family: str) -> None:
    decoder = plugins.load("decoder", family)()
    decoder.check({OUTPUT: (1, 300, 6)}, 2)
    found = decoder.decode(Tensors({OUTPUT: ROWS}), 0, 0.5, 2)
    assert found.xyxy.tolist() == [[1, 2, 30, 40], [5, 6, 70, 80]]
    assert (found.confidence.tolist(), found.class_id.tolist()) == ([0.75, 0.5], [1, 0])


@pytest.mark.parametrize("family", COMPACTABLE)
def test_a_box_whose_sides_have_changed_places_is_not_lost(family: str) -> None:
    rows = np.array([[[30, 4, 10, 2, 0.75, 1], [0] * 6]], np.float32)
    assert plugins.load("decoder", family)().decode(Tensors({OUTPUT: rows}), 0, 0.5, 2).xyxy.tolist() == [
        [10, 2, 30, 4]
    ]


@pytest.mark.parametrize("family", COMPACTABLE)
def test_when_no_row_is_left_free_something_may_be_missing(family: str) -> None:
    decoder = plugins.load("decoder", family)()
    full = Tensors({OUTPUT: ROWS[:, :2]})
    with pytest.raises(InferenceError, match=rf"decoder {family}: all 2 rows reach.*compact_rows"):
        decoder.decode(full, 0, 0.5, 2)
    assert len(decoder.decode(full, 0, 0.51, 2)) == 1


@pytest.mark.parametrize("family", COMPACTABLE)
def test_rows_that_are_none_are_refused(family: str) -> None:
    decoder = plugins.load("decoder", family)()
    with pytest.raises(BundleError, match=r"\(1, 300, 5\)"):
        decoder.check({OUTPUT: (1, 300, 5)}, 2)
    with pytest.raises(BundleError, match="2 outputs"):
        decoder.check({OUTPUT: (1, 300, 6), "output0": (1, 6, 8400)}, 2)
    with pytest.raises(InferenceError, match=r"\(1, 3, 5\)"):
        decoder.decode(Tensors({OUTPUT: ROWS[:, :, :5]}), 0, 0.5, 2)


def test_the_output_is_known_by_its_name_alone() -> None:
    with pytest.raises(BundleError, match=r"\(1, 300, 6\)"):
        plugins.load("decoder", "yolo")().check({"output0": (1, 300, 6)}, 3)
    assert problem({OUTPUT: (4, 1, 6)}) == ""


@pytest.mark.parametrize("score", [1.5, -0.5, float("nan")])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    rows = ROWS[0].copy()
    rows[1, 4] = score
    with pytest.raises(InferenceError, match=f"a score is {score:g}"):
        detections("yolo", rows, 0.5, 2, "")


def test_no_rows_are_no_detections() -> None:
    assert len(detections("yolo", ROWS[0, :0], 0.5, 2, "")) == 0
