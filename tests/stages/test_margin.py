"""How near a verdict was: the smallest distance of a score that bears on it from its class's threshold."""

from __future__ import annotations

import numpy as np
import pytest

from edge_inspector.datatypes import (
    Classification,
    Criteria,
    Detections,
    Evaluation,
    Findings,
    Limits,
    MeasuredView,
    Measurement,
    Mode,
    Reason,
    Roi,
    ThresholdState,
    Trigger,
)
from edge_inspector.inspection import Inspection, Job, restarted
from edge_inspector.stages.rules import judge

DEFECTS = Criteria(("scratch", "dent", "label"), frozenset({2}))
SORTS = Criteria(("good", "scratch", "dent"), frozenset({0}))
LIMITS = ThresholdState((0.5, 0.3, 0.6))
TRIGGER = Trigger(1, "s.00000001.1", 1, "p", 1, Mode.PRODUCTION, "r", 1, 7, 9, 0, 10**9, "2026-11-22T00:00:00Z", True)


def view(findings: Findings, camera: str = "top", failure: Reason | None = None) -> MeasuredView:
    return MeasuredView(camera, findings, Roi(0, 0, 99, 99), failure)


def boxes(*seen: tuple[int, float]) -> Detections:
    n = len(seen)
    return Detections(
        np.tile(np.array([[1, 2, 4, 8]], np.float32), (n, 1)),
        np.array([score for _, score in seen], np.float32),
        np.array([class_id for class_id, _ in seen], np.int64),
    )


def shown(*scores: float) -> Classification:
    return Classification(np.array(scores, np.float32))


@pytest.mark.parametrize(
    ("criteria", "findings", "margin"),
    [
        pytest.param(DEFECTS, boxes(), None, id="nothing was seen"),
        pytest.param(DEFECTS, boxes((0, 0.92)), 0.42, id="a sure defect"),
        pytest.param(DEFECTS, boxes((0, 0.5)), 0.0, id="a defect at its threshold"),
        pytest.param(DEFECTS, boxes((0, 0.47)), 0.03, id="good, but nearly a defect"),
        pytest.param(DEFECTS, boxes((0, 0.1), (1, 0.28)), 0.02, id="each class has its own threshold"),
        pytest.param(DEFECTS, boxes((0, 0.9), (1, 0.28)), 0.02, id="the nearest of all, not of the defects alone"),
        pytest.param(DEFECTS, boxes((2, 0.6)), None, id="what is no defect does not bear on it"),
        pytest.param(DEFECTS, boxes((2, 0.6), (0, 0.3)), 0.2, id="nor beside one"),
        pytest.param(SORTS, shown(0.9, 0.05, 0.05), 0.25, id="good by 0.4, the nearest defect is 0.25 away"),
        pytest.param(SORTS, shown(0.52, 0.01, 0.1), 0.02, id="good, and just sure enough"),
        pytest.param(SORTS, shown(0.45, 0.1, 0.2), 0.05, id="a doubt"),
        pytest.param(SORTS, shown(0.3, 0.7, 0.0), 0.4, id="a defect: what is good does not bear on it"),
        pytest.param(Criteria(("w",), limits=(Limits(1, 2),)), Measurement((1.0,)), None, id="values have no score"),
    ],
)
def test_the_margin_of_a_view(criteria: Criteria, findings: Findings, margin: float | None) -> None:
    assert judge(["top"], criteria, LIMITS, [view(findings)]).margin == margin


def test_the_nearest_view_counts() -> None:
    views = [view(boxes((0, 0.9))), view(boxes((0, 0.45)), "side")]
    assert judge(["top", "side"], DEFECTS, LIMITS, views).margin == 0.05


def test_views_that_were_not_judged_do_not_count() -> None:
    views = [view(boxes((0, 0.9))), view(boxes((0, 0.5)), "side", Reason.INFERENCE), view(boxes((0, 0.5)), "other")]
    assert judge(["top", "side"], DEFECTS, LIMITS, views).margin == 0.4
    assert judge(["top"], DEFECTS, LIMITS, []).margin is None


def test_a_threshold_is_compared_in_the_models_own_precision() -> None:
    limits = ThresholdState((0.35, 0.35, 0.35))
    judgement = judge(["top"], DEFECTS, limits, [view(boxes((0, 0.35)))])
    assert (judgement.evaluation, judgement.margin) == (Evaluation.NOT_OK, 0.0)


@pytest.mark.parametrize("now_ns", [1, 10**9 - 1], ids=["in time", "too late for an OK"])
def test_the_result_carries_the_margin_whatever_it_becomes(now_ns: int) -> None:
    job = Job(("top",), DEFECTS, LIMITS, "hash", 5_000_000)
    result = Inspection(TRIGGER, job).on_view(view(boxes((0, 0.48))), now_ns).result
    assert result is not None
    assert result.margin == 0.02


def test_a_part_that_ran_out_of_time_has_the_margin_of_what_was_seen() -> None:
    job = Job(("top", "side"), DEFECTS, LIMITS, "hash", 5_000_000)
    result = Inspection(TRIGGER, job).on_view(view(boxes((0, 0.48))), 1).on_deadline(10**9).result
    assert result is not None
    assert (result.evaluation, result.margin) == (Evaluation.UNDEFINED, 0.02)


def test_a_part_that_nobody_judged_has_none() -> None:
    assert restarted(TRIGGER, ("top",), 1).margin is None
