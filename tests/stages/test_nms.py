from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Detections
from edge_inspector.stages.nms import nms


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Rows of x1, y1, x2, y2, confidence, class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def plain_nms(found: Detections, iou: float) -> list[int]:
    """The textbook: most confident first, ties in input order, keep what overlaps no kept box of its class too much."""
    kept: list[int] = []
    boxes = found.xyxy.astype(np.float64)
    for i in np.argsort(-found.confidence, kind="stable"):
        for k in kept:
            if found.class_id[i] != found.class_id[k]:
                continue
            shared = (np.minimum(boxes[i, 2:], boxes[k, 2:]) - np.maximum(boxes[i, :2], boxes[k, :2])).clip(0).prod()
            areas = (boxes[[i, k], 2:] - boxes[[i, k], :2]).prod(axis=1).sum()
            if shared / (areas - shared) > iou:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize(
    ("rows", "iou", "kept"),
    [
        pytest.param([], 0.5, [], id="nothing"),
        pytest.param([(0, 0, 10, 10, 0.9, 0)], 0.5, [0], id="one"),
        pytest.param([(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 9, 0.9, 0)], 0.5, [1], id="the more confident stays"),
        pytest.param([(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 9, 0.9, 1)], 0.5, [1, 0], id="classes do not compete"),
        pytest.param([(0, 0, 10, 10, 0.9, 0), (5, 0, 15, 10, 0.8, 0)], 0.3, [0], id="IoU 1/3 above 0.3"),
        pytest.param([(0, 0, 10, 10, 0.9, 0), (5, 0, 15, 10, 0.8, 0)], 0.34, [0, 1], id="IoU 1/3 below 0.34"),
        pytest.param([(0, 0, 8, 8, 0.9, 0), (0, 0, 8, 4, 0.8, 0)], 0.5, [0, 1], id="IoU of exactly the limit stays"),
        pytest.param([(0, 0, 8, 8, 0.5, 0), (0, 0, 8, 8, 0.5, 0)], 0.5, [0], id="of equals the first stays"),
        pytest.param(
            [(0, 0, 8, 8, 0.5, 0), (20, 0, 28, 8, 0.5, 0), (40, 0, 48, 8, 0.5, 1)], 0.5, [0, 1, 2], id="ties in order"
        ),
        pytest.param(
            [(-90, -90, -1, -1, 0.9, 0), (-90, -90, -1, -1, 0.8, 1), (0, 0, 9, 9, 0.7, 0)],
            0.1,
            [0, 1, 2],
            id="negative coordinates",
        ),
        pytest.param(
            [(0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0), (8, 0, 18, 10, 0.7, 0)],
            0.4,
            [0, 2],
            id="what was suppressed suppresses nothing",
        ),
    ],
)
def test_one_box_for_each_thing(rows, iou: float, kept: list[int]) -> None:
    found = detections(*rows)
    left = nms(found, iou)
    expected = found.pick(np.array(kept, np.int64))
    assert left.xyxy.tolist() == expected.xyxy.tolist()
    assert left.confidence.tolist() == expected.confidence.tolist()
    assert left.class_id.tolist() == expected.class_id.tolist()


box = st.tuples(
    st.integers(-50, 600), st.integers(-50, 600), st.integers(1, 80), st.integers(1, 80), st.integers(1, 20)
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(box, st.integers(0, 3)), max_size=40), st.sampled_from([0.15, 0.45, 0.7]))
def test_it_agrees_with_the_textbook(rows, iou: float) -> None:
    found = detections(*((x, y, x + w, y + h, score / 20, c) for (x, y, w, h, score), c in rows))
    left, expected = nms(found, iou), found.pick(np.array(plain_nms(found, iou), np.int64))
    assert left.xyxy.tolist() == expected.xyxy.tolist()
    assert left.class_id.tolist() == expected.class_id.tolist()


def test_a_crowded_class_cannot_push_another_class_out() -> None:
    crowd = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0, 0.8, 0) for i in range(12)]
    left = nms(detections(*crowd, (0, 50, 10, 60, 0.1, 1)), 0.5, limit=5)
    assert left.class_id.tolist() == [0] * 5 + [1]


def test_among_equals_at_the_limit_the_first_are_taken() -> None:
    scores = [0.5, 0.9, 0.5, 0.5, 0.7, 0.5]
    found = detections(*((20.0 * i, 0.0, 20.0 * i + 10, 10.0, score, 0) for i, score in enumerate(scores)))
    assert nms(found, 0.5, limit=4).xyxy[:, 0].tolist() == [20, 80, 0, 40]


def test_input_is_left_as_it_was() -> None:
    found = detections((5, 5, 10, 10, 0.5, 0), (5, 5, 10, 10, 0.6, 0))
    before = found.xyxy.copy()
    nms(found, 0.5)
    assert (found.xyxy == before).all()
