"""A showing of master parts: what counts, what does not, and what fails it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.settings.golden import GoldenSettings, HealthSettings
from edge_inspector.station.golden_run import MasterRun

OK, NOT_OK, UNDEFINED, DOUBT = Evaluation.OK, Evaluation.NOT_OK, Evaluation.UNDEFINED, Evaluation.NOT_DECIDABLE
PARTS: list[dict[str, Any]] = [
    {"id": "G1", "expect": "OK"},
    {"id": "G2", "expect": "OK"},
    {"id": "B1", "expect": "NOT_OK", "defects": ["short"]},
]


def settings(told_by: Literal["part_id", "order"] = "part_id") -> GoldenSettings:
    return GoldenSettings.model_validate({"parts": PARTS, "told_by": told_by})


def result(part_id: str, evaluation: Evaluation, *defects: str) -> InspectionResult:
    trigger = Trigger(1, "s.b.1", 1, part_id, 1, Mode.GOLDEN, "r", 1, 1, 1, 0, 10, "2026-11-22T08:00:00.000Z", True)
    found = tuple(Defect(name, 0, 0.9, (0, 0, 1, 1), "a") for name in defects)
    reason = Reason.DEADLINE if evaluation is UNDEFINED else Reason.NONE
    return InspectionResult(trigger, evaluation, reason, "", found, ("a",), 1, (0.5,), "h", 5, {})


RIGHT = (result("G1", OK), result("G2", OK), result("B1", NOT_OK, "short", "open"))


def shown(how: GoldenSettings, *results: InspectionResult) -> MasterRun:
    run = MasterRun("r", "anna", "2026-11-22T08:00:00.000Z", 1)
    for one in results:
        run = run.after(how, one)
    return run


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_by_part_id_the_order_does_not_matter(order: tuple[int, ...]) -> None:
    parts = [RIGHT[i] for i in order]
    assert shown(settings(), *parts[:2]).word(settings()) == "incomplete"
    assert shown(settings(), *parts).word(settings()) == "passed"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (result("G1", NOT_OK, "short"), "'G1' was NOT_OK, expected OK"),
        (result("G1", DOUBT), "'G1' was NOT_DECIDABLE, expected OK"),
        (result("B1", OK), "'B1' was OK, expected NOT_OK"),
        (result("B1", DOUBT), "'B1' was NOT_DECIDABLE, expected NOT_OK"),
        (result("B1", NOT_OK, "open"), "'B1' was NOT_OK, expected to find short on it"),
    ],
)
def test_a_wrong_verdict_fails_the_run_and_no_later_one_mends_it(wrong: InspectionResult, why: str) -> None:
    run = shown(settings(), wrong, *RIGHT)
    assert run.word(settings()) == "failed"
    assert run.faults == why
    assert shown(settings(), *RIGHT, wrong).word(settings()) == "failed", "a part shown twice must be right twice"


def test_a_part_without_a_verdict_is_neither_right_nor_wrong_and_may_be_shown_again() -> None:
    lost = result("B1", UNDEFINED)
    run = shown(settings(), RIGHT[0], RIGHT[1], lost)
    assert (run.word(settings()), run.faults) == ("incomplete", "")
    assert "'B1' UNDEFINED (deadline); not shown or not judged: 'B1'" in run.detail(settings())
    assert run.after(settings(), RIGHT[2]).word(settings()) == "passed"
    assert shown(settings(), *RIGHT, lost).word(settings()) == "passed", "a verdict that was given stays"


def test_a_part_that_is_no_master_part_proves_nothing() -> None:
    run = shown(settings(), *(result(f"X{i}", OK) for i in range(1000)), *RIGHT[:2])
    assert run.word(settings()) == "incomplete"
    assert "1000 parts were no master parts" in run.detail(settings())
    assert len(run.shown) == 2, "golden mode that somebody forgets must not fill the memory"


def test_by_order_each_place_has_its_part() -> None:
    how = settings("order")
    assert shown(how, *RIGHT).word(how) == "passed"
    assert shown(how, RIGHT[0], RIGHT[2], RIGHT[1]).word(how) == "failed", "swapped"
    assert shown(how, RIGHT[0], *RIGHT).word(how) == "failed", "one part triggered twice"


def test_by_order_a_part_too_many_fails_and_one_without_a_verdict_cannot_be_made_good() -> None:
    how = settings("order")
    further = shown(how, *RIGHT, RIGHT[0])
    assert further.word(how) == "failed"
    assert "a further part" in further.faults
    assert shown(how, *RIGHT, *RIGHT * 50).shown == further.shown
    lost = shown(how, result("", UNDEFINED), RIGHT[1], RIGHT[2])
    assert lost.word(how) == "incomplete"
    assert lost.after(how, RIGHT[0]).word(how) == "failed", "nobody can say which part this was"


def test_a_list_without_parts_never_passes() -> None:
    assert shown(GoldenSettings.model_validate({}), *RIGHT).word(GoldenSettings.model_validate({})) == "incomplete"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (PARTS[:2], "2 of 2 parts are expected to be OK"),
        (PARTS[2:], "0 of 1 parts are expected to be OK"),
        ([PARTS[0], *PARTS], "'G1' is there twice"),
        ([{"id": "G", "expect": "OK", "defects": ["short"]}, PARTS[2]], "defects belong to expect = 'NOT_OK'"),
        ([{"id": "", "expect": "OK"}, PARTS[2]], "at least 1 character"),
        ([{"id": "U", "expect": "UNDEFINED"}, *PARTS], "NOT_DECIDABLE"),
    ],
)
def test_a_list_that_proves_nothing_is_refused(parts: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GoldenSettings.model_validate({"parts": parts})


def test_a_limit_below_its_warning_is_refused() -> None:
    assert HealthSettings.model_validate({"shift_px": (2, 2)}).shift_px == (2, 2)
    for bad in ((2, 1), (0, 1), (-1, 1)):
        with pytest.raises(ValidationError, match="0 < warning <= alarm"):
            HealthSettings.model_validate({"shift_px": bad})


def test_the_run_is_a_value() -> None:
    run = shown(settings(), RIGHT[0])
    run.after(settings(), RIGHT[2])
    assert run == replace(run), "after() gives a new one"
    assert len(run.shown) == 1
