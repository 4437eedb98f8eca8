"""Which parts' pictures are wanted, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from images_rig import settings
from pydantic import ValidationError

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode
from edge_inspector.store.images.policy import Policy

Make = Callable[..., Any]
OK, NOT_OK, UNDEFINED, DOUBT = Evaluation.OK, Evaluation.NOT_OK, Evaluation.UNDEFINED, Evaluation.NOT_DECIDABLE
ALL = {"rejects": True, "near_margin": 0.1, "every_nth": 2, "golden": True}
NONE = {"rejects": False, "golden": False}


@pytest.fixture
def part(trigger: Make, result: Make) -> Callable[..., InspectionResult]:
    def make(evaluation: Evaluation = OK, margin: float | None = None, mode: Mode = Mode.PRODUCTION) -> Any:
        return result(trigger(mode=mode), evaluation=evaluation, margin=margin)

    return make


@pytest.mark.parametrize(
    ("mode", "evaluation", "margin", "why"),
    [
        pytest.param(Mode.PRODUCTION, NOT_OK, None, ("rejects",), id="a defect"),
        pytest.param(Mode.PRODUCTION, UNDEFINED, None, ("rejects",), id="nobody judged it"),
        pytest.param(Mode.PRODUCTION, DOUBT, None, ("rejects",), id="a doubt"),
        pytest.param(Mode.PRODUCTION, OK, 0.1, ("near_margin", "every_nth"), id="as near as the limit"),
        pytest.param(Mode.PRODUCTION, OK, 0.1001, ("every_nth",), id="not near"),
        pytest.param(Mode.PRODUCTION, NOT_OK, 0.02, ("rejects", "near_margin"), id="a reject that is near"),
        pytest.param(Mode.PRODUCTION, OK, None, ("every_nth",), id="the first good part is a sample"),
        pytest.param(Mode.GOLDEN, NOT_OK, 0.02, ("golden",), id="a golden run has one reason only"),
        pytest.param(Mode.GOLDEN, OK, None, ("golden",), id="a good golden part"),
        pytest.param(Mode.MANUAL, NOT_OK, 0.02, (), id="posted: who posts it has it"),
        pytest.param(Mode.SIMULATION, NOT_OK, 0.02, (), id="simulated"),
        pytest.param(Mode.SETUP, NOT_OK, 0.02, (), id="set-up"),
    ],
)
def test_why_a_part_is_kept(
    part: Make, mode: Mode, evaluation: Evaluation, margin: float | None, why: tuple[str, ...]
) -> None:
    wanted = Policy(settings(originals=ALL, overlays=NONE)).wanted(part(evaluation, margin, mode))
    assert [(one.kind, one.why) for one in wanted] == ([("original", why)] if why else [])


def test_originals_and_overlays_have_policies_of_their_own(part: Make) -> None:
    policy = Policy(settings(originals=NONE, overlays={**NONE, "rejects": True}))
    assert [one.kind for one in policy.wanted(part(NOT_OK))] == ["overlay"]
    assert policy.wanted(part(OK, 0.0)) == ()


def test_by_default_rejects_are_kept_in_both_kinds_and_nothing_else(part: Make) -> None:
    policy = Policy(settings())
    assert [one.kind for one in policy.wanted(part(UNDEFINED))] == ["original", "overlay"]
    assert policy.wanted(part(OK, 0.0)) == ()


def test_one_of_every_n_good_parts_is_kept_whatever_comes_between(part: Make) -> None:
    policy = Policy(settings(originals={"every_nth": 3}, overlays=NONE))
    kept = []
    for number in range(9):
        policy.wanted(part(NOT_OK))
        policy.wanted(part(UNDEFINED))
        policy.wanted(part(OK, mode=Mode.GOLDEN))
        policy.wanted(part(OK, mode=Mode.MANUAL))
        kept += [number for one in policy.wanted(part(OK)) if one.why == ("every_nth",) and one.every_nth == 3]
    assert kept == [0, 3, 6]


def test_a_part_that_is_kept_anyway_stands_for_itself_alone(part: Make) -> None:
    policy = Policy(settings(originals={"every_nth": 5, "near_margin": 0.1}, overlays=NONE))
    (kept,) = policy.wanted(part(OK, 0.05))
    assert (kept.why, kept.every_nth) == (("near_margin", "every_nth"), 1)


def test_what_is_worth_more_has_the_higher_rank(part: Make) -> None:
    policy = Policy(settings(originals=ALL, overlays=NONE))
    parts = [part(OK), part(OK, mode=Mode.GOLDEN), part(OK, 0.0), part(NOT_OK)]
    assert [policy.wanted(one)[0].rank for one in parts] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"originals": {"min_days": 10, "max_days": 9}}, "max_days = 9 is less than min_days = 10"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [9, 9]]}]}, "at least 3 items"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [9, 9], [9, 0], [0, 9]]}]}, "sides 1 and 3 cross"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [9, 0], [9, 9], [4, 0], [0, 9]]}]}, "cross"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [9, 0], [9, 9], [0, 0]]}]}, "a corner is there twice"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [9e9, 0], [9, 9]]}]}, "expected coordinates within"),
        ({"masks": [{"camera": "top", "polygon": [[0, 0], [float("nan"), 0], [9, 9]]}]}, "expected coordinates within"),
        (
            {"masks": [{"camera": "top", "polygon": [[x, x * x] for x in range(101)]}]},
            "101 corners, expected at most 100",
        ),
        ({"overlay": {}}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_mean_nothing_good_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(**changes)


def test_a_polygon_with_a_dent_is_no_crossing() -> None:
    dented = [[0, 0], [10, 0], [5, 4], [10, 10], [0, 10]]
    assert settings(masks=[{"camera": "top", "polygon": dented}]).masks
