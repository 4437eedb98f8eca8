"""What makes a view good, a defect, or a doubt; how views add up is in test_inspection.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.datatypes import (
    SEVERITY,
    Classification,
    Criteria,
    Detections,
    Evaluation,
    Findings,
    Limits,
    MeasuredView,
    Measurement,
    Reason,
    Roi,
    ThresholdState,
)
from edge_inspector.stages.rules import defects_in, judge

OK, NOT_OK, NOT_DECIDABLE, UNDEFINED = (
    Evaluation.OK,
    Evaluation.NOT_OK,
    Evaluation.NOT_DECIDABLE,
    Evaluation.UNDEFINED,
)
SORTS = Criteria(("good", "scratch", "dent"), frozenset({0}))
LIMITS = ThresholdState((0.6, 0.5, 0.35))
GAUGES = Criteria(("width", "depth"), limits=(Limits(1.5, 2.5, "mm"), Limits(-4.0, 4.0)))


def view(findings: Findings, camera: str = "top") -> MeasuredView:
    return MeasuredView(camera, findings, Roi(10, 20, 300, 200))


def shown(*scores: float) -> Classification:
    return Classification(np.array(scores, np.float32))


def boxes(*seen: tuple[int, float]) -> Detections:
    n = len(seen)
    return Detections(
        np.tile(np.array([[1, 2, 4, 8]], np.float32), (n, 1)),
        np.array([score for _, score in seen], np.float32),
        np.array([class_id for class_id, _ in seen], np.int64),
    )


@pytest.mark.parametrize(
    ("scores", "evaluation", "found"),
    [
        pytest.param((0.9, 0.05, 0.05), OK, [], id="good and sure"),
        pytest.param((0.6, 0.2, 0.2), OK, [], id="good at its threshold, in float32"),
        pytest.param((0.59, 0.21, 0.2), NOT_DECIDABLE, [], id="good, but unsure"),
        pytest.param((0.2, 0.7, 0.1), NOT_OK, ["scratch"], id="a defect and sure"),
        pytest.param((0.3, 0.4, 0.3), NOT_OK, ["scratch"], id="best is a defect, however unsure"),
        pytest.param((0.65, 0.0, 0.35), NOT_OK, ["dent"], id="good is best and sure, but a defect reaches its own"),
        pytest.param((0.0, 0.5, 0.5), NOT_OK, ["scratch", "dent"], id="two defects are two"),
        pytest.param((0.1, 0.4, 0.5), NOT_OK, ["dent"], id="the second is below its threshold"),
        pytest.param((0.9, 0.8, 0.7), NOT_OK, ["scratch", "dent"], id="scores that do not share one sum"),
    ],
)
def test_a_classified_view(scores: tuple[float, ...], evaluation: Evaluation, found: list[str]) -> None:
    judgement = judge(["top"], SORTS, LIMITS, [view(shown(*scores))])
    assert judgement.evaluation is evaluation
    assert [defect.class_name for defect in judgement.defects] == found
    unsure = Reason.NOT_DECIDABLE if evaluation is NOT_DECIDABLE else Reason.NONE
    assert judgement.reason is (Reason.DEFECT if found else unsure)


@pytest.mark.parametrize("good", [0, 1], ids=["good first", "good last"])
def test_a_view_that_looks_as_much_like_a_defect_as_like_a_good_part_is_not_ok(good: int) -> None:
    names = ("good", "dent") if good == 0 else ("dent", "good")
    thresholds = ThresholdState((0.4, 0.6) if good == 0 else (0.6, 0.4))
    criteria = Criteria(names, frozenset({good}))
    assert judge(["top"], criteria, thresholds, [view(shown(0.5, 0.5))]).evaluation is not OK
    assert judge(["top"], criteria, ThresholdState((0.0, 0.1)), [view(shown(0.0, 0.0))]).evaluation is not OK


def test_one_of_several_good_classes_is_good() -> None:
    criteria = Criteria(("red", "blue", "dent"), frozenset({0, 1}))
    assert judge(["top"], criteria, LIMITS, [view(shown(0.1, 0.8, 0.1))]).evaluation is OK
    assert judge(["top"], criteria, LIMITS, [view(shown(0.5, 0.4, 0.1))]).evaluation is NOT_DECIDABLE


def test_an_unsure_view_says_what_it_looks_like_and_what_was_expected() -> None:
    judgement = judge(["top"], SORTS, LIMITS, [view(shown(0.5, 0.3, 0.2))])
    assert judgement.reason_text == "good only 0.50 in top, expected 0.60"
    assert judgement.views_judged == 1


def test_a_classified_defect_is_the_whole_view() -> None:
    (defect,) = defects_in(view(shown(0, 0.875, 0)), SORTS, LIMITS)
    assert (defect.class_id, defect.score, defect.box) == (1, 0.875, (10, 20, 300, 200))


@pytest.mark.parametrize(
    ("values", "outside"),
    [
        pytest.param((2.0, 0.0), [], id="inside"),
        pytest.param((1.5, -4.0), [], id="the lower limits themselves"),
        pytest.param((2.5, 4.0), [], id="the upper limits themselves"),
        pytest.param((1.4999, 0.0), ["width"], id="below"),
        pytest.param((2.0, 4.0001), ["depth"], id="above"),
        pytest.param((9.0, -9.0), ["width", "depth"], id="both"),
        pytest.param((math.nan, 0.0), ["width"], id="no number is within no limits"),
        pytest.param((2.0, math.inf), ["depth"], id="nor is infinity"),
    ],
)
def test_a_measured_view(values: tuple[float, ...], outside: list[str]) -> None:
    judgement = judge(["top"], GAUGES, ThresholdState((1.0, 1.0)), [view(Measurement(values))])
    assert [defect.class_name for defect in judgement.defects] == outside
    assert judgement.evaluation is (NOT_OK if outside else OK)


@pytest.mark.parametrize(("unit", "said"), [("mm", "width 2.75 mm in top"), ("", "width 2.75 in top")])
def test_a_value_outside_its_limits_is_told_with_them(unit: str, said: str) -> None:
    criteria = Criteria(("width",), limits=(Limits(1.5, 2.5, unit),))
    judgement = judge(["top"], criteria, ThresholdState((1.0,)), [view(Measurement((2.75,)))])
    assert judgement.reason_text == f"{said}, expected 1.5 to 2.5"


def test_a_measurement_that_is_not_as_long_as_its_limits_is_a_bug() -> None:
    with pytest.raises(ValueError):
        judge(["top"], GAUGES, ThresholdState((1.0, 1.0)), [view(Measurement((2.0,)))])


@pytest.mark.parametrize(
    ("seen", "evaluation", "found"),
    [
        pytest.param([(0, 0.99)], OK, [], id="a good class is no defect, however sure"),
        pytest.param([(0, 0.99), (1, 0.5)], NOT_OK, ["scratch"], id="nor does it hide one"),
        pytest.param([(1, 0.49), (2, 0.34)], OK, [], id="each below its threshold"),
        pytest.param([(2, 0.35)], NOT_OK, ["dent"], id="at its threshold, in float32"),
        pytest.param([(2, 0.4), (1, 0.9), (2, 0.6)], NOT_OK, ["scratch", "dent", "dent"], id="strongest first"),
    ],
)
def test_a_view_with_boxes(seen: list[tuple[int, float]], evaluation: Evaluation, found: list[str]) -> None:
    judgement = judge(["top"], SORTS, LIMITS, [view(boxes(*seen))])
    assert judgement.evaluation is evaluation
    assert [defect.class_name for defect in judgement.defects] == found


VIEWS = {
    OK: view(shown(0.9, 0, 0)),
    NOT_DECIDABLE: view(shown(0.5, 0, 0)),
    NOT_OK: view(shown(0, 0.9, 0)),
    UNDEFINED: MeasuredView("top", Detections.none(), Roi(0, 0, 0, 0), Reason.INFERENCE, "why"),
}


@pytest.mark.parametrize("first", SEVERITY)
@pytest.mark.parametrize("second", SEVERITY)
def test_the_worst_of_two_views_is_the_parts(first: Evaluation, second: Evaluation) -> None:
    def of(camera: str, which: Evaluation) -> MeasuredView:
        one = VIEWS[which]
        return MeasuredView(camera, one.findings, one.bounds, one.failure, one.failure_text)

    judgement = judge(["a", "b"], SORTS, LIMITS, [of("a", first), of("b", second)])
    order = [OK, NOT_DECIDABLE, UNDEFINED, NOT_OK]
    assert judgement.evaluation is max(first, second, key=order.index)
    assert judgement.views_judged == [first, second].count(OK) + [first, second].count(NOT_OK) + (
        [first, second].count(NOT_DECIDABLE)
    )


SHARES = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)


@given(scores=SHARES, thresholds=SHARES)
def test_a_classified_view_is_ok_only_when_its_best_class_alone_is_good_and_sure(
    scores: list[float], thresholds: list[float]
) -> None:
    judgement = judge(["top"], SORTS, ThresholdState(tuple(thresholds)), [view(shown(*scores))])
    good, *defects = scores
    sure = good > max(defects) and good >= thresholds[0]
    silent = all(score < threshold for score, threshold in zip(defects, thresholds[1:], strict=True))
    assert (judgement.evaluation is OK) == (sure and silent)
    assert bool(judgement.defects) == (judgement.evaluation is NOT_OK)
