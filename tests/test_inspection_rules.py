"""What an inspection's result carries of the rules: which of them decided, and what thresholds learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_inspector.datatypes import (
    Criteria,
    Detections,
    Evaluation,
    InspectionResult,
    MeasuredView,
    Mode,
    Reason,
    Roi,
    ThresholdState,
    Trigger,
)
from edge_inspector.inspection import Inspection, Job
from edge_inspector.settings import Recipe
from edge_inspector.stages.rules import with_rules

MS = 1_000_000
TRIGGER = Trigger(
    1, "s.00000001.1", 1, "p", 1, Mode.PRODUCTION, "r", 1, 7, 9, 0, 100 * MS, "2026-11-22T00:00:00Z", True
)
RECIPE = Recipe.model_validate(
    {
        "number": 1,
        "bundle": Path("b"),
        "views": [{"camera": "top"}, {"camera": "side"}],
        "rules": [
            {"kind": "defect", "name": "long", "classes": ["scratch"], "longer_than_px": 20, "grey_score": 0.2},
            {"kind": "presence", "name": "screws", "classes": ["screw"], "at_most": 1},
        ],
    }
)
CRITERIA = with_rules(Criteria(("scratch", "screw")), RECIPE, "detect")


def view(camera: str, *seen: tuple[int, float]) -> MeasuredView:
    boxes = np.tile(np.array([[0, 0, 30, 3]], np.float32), (len(seen), 1))
    found = Detections(
        boxes, np.array([score for _, score in seen], np.float32), np.array([c for c, _ in seen], np.int64)
    )
    return MeasuredView(camera, found, Roi(0, 0, 99, 99))


def opened() -> Inspection:
    return Inspection(TRIGGER, Job(("top", "side"), CRITERIA, ThresholdState((0.5, 0.5), "guarded"), "hash", 5 * MS))


def settled(inspection: Inspection) -> InspectionResult:
    assert inspection.result is not None
    return inspection.result


@pytest.mark.parametrize(
    ("side", "evaluation", "reason", "rule", "peaks"),
    [
        ([(0, 0.9)], Evaluation.NOT_OK, Reason.DEFECT, "long", (0.9, 0.0)),
        ([(1, 0.9), (1, 0.6)], Evaluation.NOT_OK, Reason.COUNT, "screws", (0.25, 0.9)),
        ([(0, 0.4)], Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, "long", (0.4, 0.0)),
        ([], Evaluation.OK, Reason.NONE, "", (0.25, 0.0)),
    ],
)
def test_a_result_names_the_rule_that_decided(
    side: list[tuple[int, float]], evaluation: Evaluation, reason: Reason, rule: str, peaks: tuple[float, ...]
) -> None:
    result = settled(opened().on_view(view("top", (0, 0.25)), 1 * MS).on_view(view("side", *side), 2 * MS))
    assert (result.evaluation, result.reason, result.rule, result.peaks) == (evaluation, reason, rule, peaks)
    assert result.policy == "guarded"
    assert result.reason_no == (1000 if reason is Reason.DEFECT else int(reason))


def test_a_part_that_ran_out_of_time_was_decided_by_no_rule() -> None:
    grey = settled(opened().on_view(view("top", (0, 0.4)), 1 * MS).on_deadline(99 * MS))
    assert (grey.evaluation, grey.reason, grey.rule) == (Evaluation.UNDEFINED, Reason.DEADLINE, "")
    assert grey.peaks == (0.4, 0.0)


def test_doubt_about_whose_picture_it_is_outweighs_a_rules_doubt() -> None:
    doubtful = Inspection(TRIGGER, opened().job, doubtful=frozenset({"top"}))
    both = doubtful.on_view(view("top", (0, 0.4)), 1 * MS).on_view(view("side"), 1 * MS)
    result = settled(both.on_deadline(99 * MS))
    assert (result.evaluation, result.reason, result.rule) == (Evaluation.UNDEFINED, Reason.DEADLINE, "")


def test_a_count_that_is_wrong_on_the_view_that_is_there_stays_not_ok() -> None:
    result = settled(opened().on_view(view("top", (1, 0.9), (1, 0.9)), 1 * MS).on_deadline(99 * MS))
    assert (result.evaluation, result.reason, result.rule) == (Evaluation.NOT_OK, Reason.COUNT, "screws")
    assert result.reason_text == "2 screw in top, expected at most 1"


def test_a_part_that_nobody_saw_has_peaks_of_nothing() -> None:
    result = settled(opened().undefined(Reason.OVERLOAD, "too many", 1 * MS))
    assert (result.rule, result.peaks) == ("", (0.0, 0.0))
