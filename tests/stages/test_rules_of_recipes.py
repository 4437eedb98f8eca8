"""Each rule of a recipe: what it rejects, what it doubts, what it lets pass, and what it says."""

# ruff: noqa: E501 - a row of a table reads best on one line
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from rules_rig import CLASSES, LEFT, TENTH, THRESHOLDS, boxes, criteria, failed, judged, outlined, shown, values, view

from edge_inspector.datatypes import (
    Criteria,
    Detections,
    Evaluation,
    Findings,
    Limits,
    Measurement,
    Reason,
    Region,
    ThresholdState,
)

OK, NOT_OK, NOT_DECIDABLE, UNDEFINED = Evaluation.OK, Evaluation.NOT_OK, Evaluation.NOT_DECIDABLE, Evaluation.UNDEFINED
SCRATCH, DENT, DUST, SCREW = range(4)
Rules = dict[str, Any]


def defect(**keys: Any) -> Rules:
    return {"kind": "defect", "classes": ["scratch"], **keys}


def presence(**keys: Any) -> Rules:
    return {"kind": "presence", "classes": ["screw"], **keys}


def at(x1: float, y1: float, x2: float, y2: float, score: float = 0.9, what: int = SCRATCH) -> Detections:
    return boxes((what, score, (x1, y1, x2, y2)))


def both(*findings: Detections) -> Detections:
    return Detections(
        np.concatenate([f.xyxy for f in findings]),
        np.concatenate([f.confidence for f in findings]),
        np.concatenate([f.class_id for f in findings]),
    )


ONE, OTHER = (0, 0, 9, 9), (20, 0, 29, 9)
NEEDLE = ((0, 0), (30, 40), (29.2, 40.6), (-0.8, 0.6))
"""50 long and 1 wide, aslant."""
SLANT = outlined((SCRATCH, 0.9, NEEDLE, 50.0))
ZONES = {
    "left": LEFT,
    "rim": {"camera": "top", "exclude": [[[50, 50], [150, 50], [150, 150], [50, 150]]]},
    "side": {"camera": "side", "include": [[[0, 0], [100, 0], [100, 200], [0, 200]]]},
}


@pytest.mark.parametrize(
    ("rule", "seen", "evaluation"),
    [
        pytest.param(defect(), boxes((SCRATCH, 0.5)), NOT_OK, id="any scratch, at its threshold"),
        pytest.param(defect(), boxes((SCRATCH, 0.49)), OK, id="below it"),
        pytest.param(defect(), boxes((DENT, 0.5)), NOT_OK, id="a class of which no rule speaks rejects by itself"),
        pytest.param(defect(classes=[]), boxes((DUST, 0.5)), NOT_OK, id="no classes are all of them"),
        # sizes, of boxes
        pytest.param(defect(longer_than_px=5), at(0, 0, 4, 3), OK, id="the diagonal of a box is its length: 5 is not longer than 5"),
        pytest.param(defect(longer_than_px=4.99), at(0, 0, 4, 3), NOT_OK, id="it is longer than 4.99"),
        pytest.param(defect(wider_than_px=3), at(0, 0, 4, 3), OK, id="the shorter side is its width"),
        pytest.param(defect(wider_than_px=2.9), at(0, 0, 4, 3), NOT_OK, id="and may not be more"),
        pytest.param(defect(larger_than_px2=12), at(0, 0, 4, 3), OK, id="an area that is the limit"),
        pytest.param(defect(larger_than_px2=11.9), at(0, 0, 4, 3), NOT_OK, id="and beyond"),
        pytest.param(defect(longer_than_px=4, wider_than_px=3), at(0, 0, 4, 3), OK, id="all that is given must be true"),
        pytest.param(defect(longer_than_px=4, wider_than_px=2), at(0, 0, 4, 3), NOT_OK, id="and here it is"),
        # sizes, of outlines
        pytest.param(defect(longer_than_px=49.9), SLANT, NOT_OK, id="the length of an outline aslant"),
        pytest.param(defect(longer_than_px=50.1), SLANT, OK, id="is not its box's"),
        pytest.param(defect(wider_than_px=1.1), SLANT, OK, id="nor is its width"),
        pytest.param(defect(wider_than_px=0.9), SLANT, NOT_OK, id="which is 1"),
        pytest.param(defect(larger_than_px2=50.1), SLANT, OK, id="nor its area"),
        pytest.param(defect(larger_than_px2=49.9), SLANT, NOT_OK, id="which is 50"),
        pytest.param(defect(larger_than_px2=1000), outlined((SCRATCH, 0.9, NEEDLE, 0.0)), NOT_OK, id="an outline without area: the box's, 30.8 x 40.6"),
        # number and area together
        pytest.param(defect(at_least=3), boxes(*[(SCRATCH, 0.9)] * 2), OK, id="two of three"),
        pytest.param(defect(at_least=3), boxes(*[(SCRATCH, 0.9)] * 3), NOT_OK, id="three of three"),
        pytest.param(defect(at_least=3), boxes(*[(SCRATCH, 0.9)] * 2, (SCRATCH, 0.4)), OK, id="one that is too weak does not count"),
        pytest.param(defect(at_least=2, longer_than_px=5), both(at(0, 0, 4, 3), at(0, 0, 40, 3)), OK, id="nor one that is too small"),
        pytest.param(defect(at_least=2, classes=["scratch", "dust"]), boxes((SCRATCH, 0.9), (DUST, 0.9)), NOT_OK, id="classes count together"),
        pytest.param(defect(total_larger_than_px2=24), both(at(0, 0, 4, 3), at(9, 9, 13, 12)), OK, id="together as large as the limit"),
        pytest.param(defect(total_larger_than_px2=23.9), both(at(0, 0, 4, 3), at(9, 9, 13, 12)), NOT_OK, id="and larger"),
        pytest.param(defect(total_larger_than_px2=5, at_least=2), at(0, 0, 4, 3), OK, id="large enough, but not enough of them"),
        # places
        pytest.param(defect(zones=["left"]), at(99, 0, 110, 9), NOT_OK, id="reaching into the zone"),
        pytest.param(defect(zones=["left"]), at(100, 0, 110, 9), OK, id="beside the zone"),
        pytest.param(defect(zones=["left"]), at(120, 0, 130, 9, what=DENT), NOT_OK, id="the zone is the rule's, not the recipe's"),
        pytest.param(defect(zones=["rim"]), at(60, 60, 140, 140), OK, id="wholly in the excluded part"),
        pytest.param(defect(zones=["rim"]), at(60, 60, 151, 140), NOT_OK, id="a pixel out of it"),
        pytest.param(defect(zones=["rim", "left"]), at(60, 60, 90, 90), NOT_OK, id="in one of two zones"),
        pytest.param(defect(zones=["left"]), outlined((SCRATCH, 0.9, ((110, 0), (160, 0), (160, 50)), 1250.0)), OK, id="an outline beside the zone"),
        pytest.param(defect(zones=["left"]), outlined((SCRATCH, 0.9, ((90, 0), (160, 0), (160, 50)), 1.0)), NOT_OK, id="an outline that reaches in"),
        pytest.param(defect(zones=["rim"]), outlined((SCRATCH, 0.9, ((55, 55), (140, 55), (55, 140)), 1.0)), OK, id="an outline wholly in the excluded part"),
        pytest.param(defect(zones=["left"]), outlined((SCRATCH, 0.9, ((95, 0), (160, 0), (160, 90)), 0.0)), NOT_OK, id="an outline without area: its box counts"),
        # grey zones
        pytest.param(defect(grey_score=0.1), boxes((SCRATCH, 0.4)), NOT_DECIDABLE, id="at the edge of the grey zone"),
        pytest.param(defect(grey_score=0.1), boxes((SCRATCH, 0.39)), OK, id="below it"),
        pytest.param(defect(grey_score=0.1), boxes((SCRATCH, 0.4), (SCRATCH, 0.5)), NOT_OK, id="a certain one beside a grey one"),
        pytest.param(defect(grey_score=0.1, at_least=2), boxes((SCRATCH, 0.4), (SCRATCH, 0.5)), NOT_DECIDABLE, id="one of the two is in doubt"),
        pytest.param(defect(grey_size=0.1, longer_than_px=5.5), at(0, 0, 4, 3), NOT_DECIDABLE, id="5 is more than 90 % of 5.5"),
        pytest.param(defect(grey_size=0.1, longer_than_px=5.6), at(0, 0, 4, 3), OK, id="but not of 5.6"),
        pytest.param(defect(grey_size=0.1, total_larger_than_px2=25), both(at(0, 0, 4, 3), at(9, 9, 13, 12)), NOT_DECIDABLE, id="24 together is more than 90 % of 25"),
        pytest.param(defect(grey_size=0.1, total_larger_than_px2=27), both(at(0, 0, 4, 3), at(9, 9, 13, 12)), OK, id="but not of 27"),
        pytest.param(defect(grey_size=0.1, longer_than_px=5.5, zones=["left"]), at(150, 0, 154, 3), OK, id="what is not in the zone is no doubt"),
        # tolerated
        pytest.param({"kind": "tolerate", "classes": ["dust"]}, boxes((DUST, 0.9)), OK, id="tolerated"),
        pytest.param({"kind": "tolerate", "classes": ["dust"]}, boxes((DUST, 0.9), (DENT, 0.5)), NOT_OK, id="the rest is not"),
        pytest.param({"kind": "tolerate", "classes": ["dust"], "zones": ["left"]}, at(0, 0, 100, 9, what=DUST), OK, id="tolerated wholly in its zone"),
        pytest.param({"kind": "tolerate", "classes": ["dust"], "zones": ["left"]}, at(0, 0, 101, 9, what=DUST), NOT_OK, id="not when it sticks out"),
        pytest.param({"kind": "tolerate", "classes": ["dust"], "zones": ["left", "rim"]}, at(160, 0, 170, 9, what=DUST), OK, id="wholly in one of two zones"),
        # presence
        pytest.param(presence(exactly=2), boxes((SCREW, 0.9), (SCREW, 0.5)), OK, id="exactly two"),
        pytest.param(presence(exactly=2), boxes((SCREW, 0.9)), NOT_OK, id="one of two"),
        pytest.param(presence(exactly=2), boxes(*[(SCREW, 0.9)] * 3), NOT_OK, id="three of two"),
        pytest.param(presence(exactly=0), boxes(), OK, id="none of none"),
        pytest.param(presence(exactly=0), boxes((SCREW, 0.5)), NOT_OK, id="one of none"),
        pytest.param(presence(at_least=2), boxes(*[(SCREW, 0.9)] * 9), OK, id="at least two"),
        pytest.param(presence(at_least=2), boxes((SCREW, 0.9)), NOT_OK, id="fewer"),
        pytest.param(presence(at_most=2), boxes(), OK, id="at most two"),
        pytest.param(presence(at_most=2), boxes(*[(SCREW, 0.9)] * 3), NOT_OK, id="more"),
        pytest.param(presence(at_least=2, at_most=3), boxes(*[(SCREW, 0.9)] * 3), OK, id="the upper limit itself"),
        pytest.param(presence(at_least=2, at_most=3), boxes(*[(SCREW, 0.9)] * 4), NOT_OK, id="beyond the upper limit"),
        pytest.param(presence(exactly=1), boxes((SCREW, 0.9), (SCRATCH, 0.9)), NOT_OK, id="a defect beside it"),
        pytest.param(presence(exactly=1, zones=["left"]), at(90, 0, 109, 9, what=SCREW), OK, id="its middle is in the zone"),
        pytest.param(presence(exactly=1, zones=["left"]), at(91, 0, 110, 9, what=SCREW), NOT_OK, id="its middle is not"),
        pytest.param(presence(exactly=0, zones=["left"]), at(91, 0, 110, 9, what=SCREW), OK, id="elsewhere it is no defect"),
        pytest.param(presence(exactly=1, grey_score=0.1), boxes((SCREW, 0.4)), NOT_DECIDABLE, id="there or not"),
        pytest.param(presence(exactly=1, grey_score=0.1), boxes((SCREW, 0.39)), NOT_OK, id="not there"),
        pytest.param(presence(exactly=1, grey_score=0.1), boxes((SCREW, 0.9), (SCREW, 0.4)), NOT_DECIDABLE, id="one or two"),
        pytest.param(presence(at_least=1, grey_score=0.1), boxes((SCREW, 0.9), (SCREW, 0.4)), OK, id="one or two are both at least one"),
        pytest.param(presence(at_least=4, grey_score=0.1), boxes((SCREW, 0.9), (SCREW, 0.4)), NOT_OK, id="neither one nor two are four"),
        pytest.param(presence(classes=["screw", "dust"], exactly=2), boxes((SCREW, 0.9, ONE), (DUST, 0.9, OTHER)), OK, id="classes are counted together"),
        pytest.param(presence(classes=["screw", "dust"], exactly=2), boxes((SCREW, 0.9, ONE), (DUST, 0.8, ONE)), NOT_DECIDABLE, id="two classes in one place may be one thing"),
        pytest.param(presence(classes=["screw", "dust"], at_most=1), boxes((SCREW, 0.9, ONE), (DUST, 0.8, ONE)), NOT_DECIDABLE, id="or two"),
        pytest.param(presence(classes=["screw", "dust"], at_least=2), boxes((SCREW, 0.9, (0, 0, 9, 9)), (DUST, 0.8, (2, 0, 11, 9)), (SCREW, 0.7, (4, 0, 13, 9))), OK, id="two with a third between them are two"),
        pytest.param(presence(classes=["screw", "dust"], at_least=2), boxes((SCREW, 0.8, (0, 0, 9, 9)), (DUST, 0.9, (2, 0, 11, 9)), (SCREW, 0.7, (4, 0, 13, 9))), NOT_DECIDABLE, id="unless it is the surest"),
        pytest.param(presence(classes=["screw", "dust"], exactly=2), boxes((SCREW, 0.9, (0, 0, 9, 9)), (DUST, 0.9, (3, 0, 12, 9))), OK, id="side by side they are two"),
    ],
)  # fmt: skip
def test_a_rule_on_one_picture(rule: Rules, seen: Findings, evaluation: Evaluation) -> None:
    zones = {name: ZONES[name] for name in rule.get("zones", ())}
    judgement = judged(criteria(rule, zones=zones), seen)
    assert judgement.evaluation is evaluation
    reasons = {
        OK: {Reason.NONE},
        NOT_OK: {Reason.DEFECT, Reason.COUNT},
        NOT_DECIDABLE: {Reason.NOT_DECIDABLE},
    }
    assert judgement.reason in reasons[evaluation]
    assert bool(judgement.defects) is (judgement.reason is Reason.DEFECT)


SPECK, GASH = (SCRATCH, 0.9, (0, 0, 4, 3)), (SCRATCH, 0.8, (0, 0, 30, 40))
TWO = ("top", "side")
THREE = ("top", "side", "rear")


@pytest.mark.parametrize(
    ("rule", "seen", "evaluation"),
    [
        pytest.param(defect(in_views=2), [boxes(SPECK), boxes(), boxes()], OK, id="in one of two views"),
        pytest.param(defect(in_views=2), [boxes(SPECK), boxes(), boxes(SPECK)], NOT_OK, id="in two"),
        pytest.param(defect(in_views=2), [boxes(SPECK, SPECK), boxes(), boxes()], OK, id="two in one view are one view"),
        pytest.param(defect(in_views=2), [boxes(SPECK), failed("side"), boxes()], UNDEFINED, id="one of two, and a view failed"),
        pytest.param(defect(in_views=2), [boxes(SPECK), failed("side"), boxes(SPECK)], NOT_OK, id="what is seen stays"),
        pytest.param(defect(in_views=2, at_least=2), [boxes(SPECK, SPECK), boxes(SPECK), boxes()], OK, id="two in each of two views: not in the second"),
        pytest.param(defect(in_views=2, grey_score=0.1), [boxes((SCRATCH, 0.45)), boxes(SPECK), boxes()], NOT_DECIDABLE, id="in two, if it is one"),
        pytest.param(defect(at_least=2), [boxes(SPECK), boxes(SPECK), boxes()], OK, id="each view counts for itself"),
        pytest.param(defect(at_least=2, together=True), [boxes(SPECK), boxes(SPECK), boxes()], NOT_OK, id="or all together"),
        pytest.param(defect(total_larger_than_px2=23), [boxes(SPECK), boxes(SPECK), boxes()], OK, id="so do areas"),
        pytest.param(defect(total_larger_than_px2=23, together=True), [boxes(SPECK), boxes(SPECK), boxes()], NOT_OK, id="or together"),
        pytest.param(defect(cameras=["top"], longer_than_px=9), [boxes(SPECK), boxes(), boxes()], OK, id="small, on its camera"),
        pytest.param(defect(cameras=["top"], longer_than_px=9), [boxes(), boxes(SPECK), boxes()], NOT_OK, id="a camera of which no rule speaks rejects any"),
        pytest.param(defect(zones=["left"]), [at(150, 0, 160, 9), boxes(), boxes()], OK, id="outside of the zone"),
        pytest.param(defect(zones=["left"]), [boxes(), at(150, 0, 160, 9), boxes()], NOT_OK, id="a zone is of one camera"),
        pytest.param(defect(zones=["left", "side"], in_views=2), [at(0, 0, 9, 9), at(0, 0, 9, 9), boxes()], NOT_OK, id="in the zones of two views"),
        pytest.param(defect(zones=["left", "side"], in_views=2), [at(0, 0, 9, 9), at(150, 0, 160, 9), boxes()], OK, id="in one zone, beside the other"),
        pytest.param({"kind": "tolerate", "classes": ["dust"], "cameras": ["side"]}, [boxes(), boxes((DUST, 0.9)), boxes()], OK, id="tolerated on its camera"),
        pytest.param({"kind": "tolerate", "classes": ["dust"], "cameras": ["side"]}, [boxes((DUST, 0.9)), boxes(), boxes()], NOT_OK, id="and on no other"),
        pytest.param(presence(exactly=1), [boxes((SCREW, 0.9)), boxes((SCREW, 0.9)), boxes((SCREW, 0.9))], OK, id="one in each picture"),
        pytest.param(presence(exactly=1), [boxes((SCREW, 0.9)), boxes((SCREW, 0.9)), boxes()], NOT_OK, id="one is missing in one picture"),
        pytest.param(presence(exactly=1, cameras=["side"]), [boxes((SCREW, 0.9), (SCREW, 0.9)), boxes((SCREW, 0.9)), boxes()], OK, id="counted on one camera alone"),
        pytest.param(presence(exactly=1, cameras=["side"]), [boxes(), failed("side"), boxes()], UNDEFINED, id="nobody knows how many"),
        pytest.param(presence(exactly=1, cameras=["side"]), [failed(), boxes(), boxes()], NOT_OK, id="the count is outside, whatever the other shows"),
    ],
)  # fmt: skip
def test_a_rule_on_three_pictures(rule: Rules, seen: list[Findings], evaluation: Evaluation) -> None:
    zones = {name: ZONES[name] for name in rule.get("zones", ())}
    assert judged(criteria(rule, zones=zones, cameras=THREE), *seen).evaluation is evaluation


@pytest.mark.parametrize(
    ("key", "small", "large"),
    [
        ("longer_than_mm", 5.01, 4.99),
        ("wider_than_mm", 3.01, 2.99),
        ("larger_than_mm2", 12.1, 11.9),
        ("total_larger_than_mm2", 12.1, 11.9),
    ],
)
def test_sizes_in_mm(key: str, small: float, large: float) -> None:
    seen = at(20, 20, 60, 50)  # 4 x 3 mm
    assert judged(criteria(defect(**{key: small})), seen, plane=TENTH).evaluation is OK
    assert judged(criteria(defect(**{key: large})), seen, plane=TENTH).evaluation is NOT_OK
    assert judged(criteria(defect(**{key: large})), boxes(), plane=TENTH).evaluation is OK
    assert judged(criteria(defect(**{key: large})), outlined(), plane=TENTH).evaluation is OK


def test_a_size_that_is_no_number_is_a_defect() -> None:
    horizon = (0.1, 0, 0, 0, 0.1, 0, 0, 0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        judgement = judged(criteria(defect(larger_than_mm2=1e9)), at(20, 20, 60, 50), plane=horizon)
    assert judgement.evaluation is NOT_OK


GAUGES: dict[str, Any] = {
    "classes": ("width", "depth"),
    "limits": (Limits(1.0, 3.0, "mm"), Limits(-4.0, 4.0)),
    "task": "measure",
}
WIDTH: Rules = {"kind": "measure", "value": "width", "low": 1.5, "high": 2.5, "grey": 0.25}


@pytest.mark.parametrize(
    ("read", "evaluation", "text"),
    [
        pytest.param((2.0, 0.0), OK, "", id="inside"),
        pytest.param((1.75, 0.0), OK, "", id="as far from the limit as it must be"),
        pytest.param((2.25, 0.0), OK, "", id="and from the upper one"),
        pytest.param((1.7, 0.0), NOT_DECIDABLE, "width 1.7 mm in top is in doubt: nearer than 0.25 mm to a limit of 1.5 to 2.5", id="near the lower limit"),
        pytest.param((2.3, 0.0), NOT_DECIDABLE, "width 2.3 mm in top is in doubt: nearer than 0.25 mm to a limit of 1.5 to 2.5", id="near the upper limit"),
        pytest.param((2.6, 0.0), NOT_OK, "width 2.6 mm in top, expected 1.5 to 2.5", id="within the bundle's limits, outside the recipe's"),
        pytest.param((1.4, 0.0), NOT_OK, "width 1.4 mm in top, expected 1.5 to 2.5", id="below"),
        pytest.param((math.nan, 0.0), NOT_OK, "width nan mm in top, expected 1.5 to 2.5", id="no number"),
        pytest.param((2.0, 5.0), NOT_OK, "depth 5 in top, expected -4 to 4", id="no rule speaks of it: the bundle's limits"),
        pytest.param((1.7, 5.0), NOT_OK, "depth 5 in top, expected -4 to 4", id="outside is worse than doubt"),
    ],
)  # fmt: skip
def test_a_measured_value(read: tuple[float, ...], evaluation: Evaluation, text: str) -> None:
    judgement = judged(criteria(WIDTH, **GAUGES), Measurement(read))
    assert (judgement.evaluation, judgement.reason_text) == (evaluation, text)
    assert judgement.peaks == (0.0, 0.0)
    assert judgement.margin is None


def test_a_recipe_may_widen_one_limit_and_tolerate_another_value() -> None:
    by = criteria(
        {"kind": "measure", "value": "width", "high": 9}, {"kind": "tolerate", "classes": ["depth"]}, **GAUGES
    )
    assert judged(by, values(8, 99)).evaluation is OK
    assert judged(by, values(0.9, 0)).reason_text == "width 0.9 mm in top, expected 1 to 9"


def test_a_value_outside_its_limits_is_a_defect_of_the_whole_view() -> None:
    (found,) = judged(criteria(WIDTH, **GAUGES), values(2.6, 0)).defects
    assert (found.class_name, found.class_id, found.score, found.box) == ("width", 0, 1.0, (0, 0, 200, 200))


def test_a_margin_on_one_camera_is_asked_for_there_alone() -> None:
    by = criteria({"kind": "classify", "margin": 0.5, "cameras": ["side"]}, cameras=TWO, **SORTS)
    unsure, sure = shown(0.625, 0.0, 0.375), shown(0.9, 0.0, 0.1)
    assert judged(by, unsure, sure).evaluation is OK
    assert judged(by, sure, unsure).evaluation is NOT_DECIDABLE


def test_limits_on_one_camera_leave_the_bundles_on_the_others() -> None:
    by = criteria({**WIDTH, "cameras": ["side"]}, cameras=TWO, **GAUGES)
    assert judged(by, values(2.9, 0), values(2.0, 0)).evaluation is OK
    assert judged(by, values(2.0, 0), values(2.9, 0)).evaluation is NOT_OK


SORTS: dict[str, Any] = {"classes": ("red", "blue", "dent"), "good": (0, 1), "task": "classify"}


@pytest.mark.parametrize(
    ("rule", "scores", "evaluation", "text"),
    [
        pytest.param({"margin": 0.2}, (0.75, 0.0, 0.5), NOT_OK, "dent 0.50 in top", id="good leads, but the defect is loud"),
        pytest.param({"margin": 0.25}, (0.625, 0.0, 0.375), OK, "", id="the lead that it must have"),
        pytest.param({"margin": 0.26}, (0.625, 0.0, 0.375), NOT_DECIDABLE, "red leads dent by 0.250 in top, expected 0.26", id="less"),
        pytest.param({"margin": 0.9}, (0.5, 0.5, 0.0), NOT_DECIDABLE, "red leads dent by 0.500 in top, expected 0.9", id="ahead of what is not good"),
        pytest.param({"margin": 0.2}, (0.375, 0.5, 0.125), OK, "", id="two good classes need no lead over each other"),
        pytest.param({"margin": 0.2}, (0.375, 0.4, 0.125), NOT_DECIDABLE, "blue only 0.40 in top, expected 0.50", id="below its threshold"),
        pytest.param({"good": ["red"]}, (0.4, 0.6, 0.0), NOT_OK, "blue 0.60 in top", id="good for the bundle, not for this recipe"),
        pytest.param({"good": ["red"]}, (0.6, 0.4, 0.0), OK, "", id="the one that is"),
        pytest.param({"good": ["dent"]}, (0.2, 0.0, 0.8), OK, "", id="bad for the bundle, wanted by this recipe"),
        pytest.param({"good": ["red"]}, (0.5, 0.5, 0.0), NOT_OK, "blue 0.50 in top", id="a tie is a doubt: not good"),
        pytest.param({"good": ["red"]}, (0.3, 0.4, 0.0), NOT_OK, "blue 0.40 in top", id="looks most like what is not good, however unsure"),
    ],
)  # fmt: skip
def test_a_classified_view(rule: Rules, scores: tuple[float, ...], evaluation: Evaluation, text: str) -> None:
    judgement = judged(criteria({"kind": "classify", **rule}, **SORTS), shown(*scores))
    assert (judgement.evaluation, judgement.reason_text) == (evaluation, text)
    assert judgement.peaks == pytest.approx(scores)


@pytest.mark.parametrize(
    ("views", "evaluation"),
    [
        pytest.param(
            [(0.1, 0.1, 0.8), (0.9, 0.0, 0.0)], NOT_DECIDABLE, id="in one of two: a rule may not make it good"
        ),
        pytest.param([(0.6, 0.1, 0.6), (0.9, 0.0, 0.0)], NOT_DECIDABLE, id="in one of two, as much as good"),
        pytest.param([(0.6, 0.1, 0.55), (0.9, 0.0, 0.0)], OK, id="in one of two, where it looks more like good"),
        pytest.param([(0.1, 0.1, 0.8), (0.6, 0.0, 0.55)], NOT_OK, id="in both"),
    ],
)
def test_a_class_that_must_be_seen_in_two_views(views: list[tuple[float, ...]], evaluation: Evaluation) -> None:
    by = criteria(defect(classes=["dent"], in_views=2), cameras=TWO, **SORTS)
    assert judged(by, *[shown(*scores) for scores in views]).evaluation is evaluation


BLOB = ((20, 20), (40, 20), (40, 30), (20, 30))
WHOLE = ((0, 0), (200, 0), (200, 200), (0, 200))
TILE = ((100, 0), (200, 0), (200, 200), (100, 200))
HEAT: dict[str, Any] = {"classes": ("anomaly",), "task": "anomaly"}


@pytest.mark.parametrize(
    ("rule", "seen", "evaluation"),
    [
        pytest.param({"total_larger_than_px2": 150}, [(0, 0.9, BLOB, 200.0), (0, 0.9, WHOLE, 0.0)], NOT_OK, id="more area above the level"),
        pytest.param({"total_larger_than_px2": 250}, [(0, 0.9, BLOB, 200.0), (0, 0.9, WHOLE, 0.0)], OK, id="less: what only stands for the view has no area"),
        pytest.param({"total_larger_than_px2": 250}, [(0, 0.4, BLOB, 200.0), (0, 0.9, WHOLE, 0.0)], NOT_OK, id="an anomaly that has no outline may be anywhere"),
        pytest.param({"zones": ["left"]}, [(0, 0.9, BLOB, 200.0), (0, 0.9, WHOLE, 0.0)], NOT_OK, id="in the zone"),
        pytest.param({"zones": ["right"]}, [(0, 0.9, BLOB, 200.0), (0, 0.9, WHOLE, 0.0)], OK, id="beside the zone"),
        pytest.param({"zones": ["right"]}, [(0, 0.9, WHOLE, 0.0)], NOT_OK, id="anywhere is in the zone"),
        pytest.param({"larger_than_px2": 250}, [(0, 0.9, BLOB, 200.0), (0, 0.6, TILE, 0.0)], NOT_OK, id="an outline in another tile does not explain a tile"),
    ],
)  # fmt: skip
def test_an_anomaly_map(rule: Rules, seen: Any, evaluation: Evaluation) -> None:
    right = {"camera": "top", "include": [[[100, 0], [200, 0], [200, 200], [100, 200]]]}
    by = criteria({"kind": "defect", **rule}, zones={"left": LEFT, "right": right}, **HEAT)
    assert judged(by, outlined(*seen)).evaluation is evaluation


def test_without_an_area_an_instance_is_still_a_defect_of_its_own() -> None:
    seen = outlined((SCRATCH, 0.9, BLOB, 200.0), (SCRATCH, 0.9, WHOLE, 0.0))
    assert judged(criteria(defect(larger_than_px2=250), task="segment"), seen).evaluation is NOT_OK


@pytest.mark.parametrize(
    ("rules", "seen", "rule", "reason", "text"),
    [
        pytest.param([defect(name="long", longer_than_px=20)], boxes(GASH), "long", Reason.DEFECT, "scratch 0.80, 50 px long, in top", id="its sizes"),
        pytest.param([defect(name="many", at_least=2)], boxes(SPECK, GASH), "many", Reason.DEFECT, "2 scratch in top", id="their number"),
        pytest.param([defect(name="all", total_larger_than_px2=100, classes=["scratch", "dust"])], boxes(SPECK, GASH, (DUST, 0.9)), "all", Reason.DEFECT, "2 scratch and 1 dust, 1224 px² large together, in top", id="their area"),
        pytest.param([defect(name="any")], boxes(GASH, SPECK), "any", Reason.DEFECT, "scratch 0.90 in top", id="the strongest"),
        pytest.param([defect(name="left", zones=["left"])], at(0, 0, 9, 9), "left", Reason.DEFECT, "scratch 0.90 in zone left of top", id="its zone"),
        pytest.param([defect(name="both", zones=["left", "rim"], at_least=2)], both(at(0, 0, 9, 9), at(0, 0, 8, 8)), "both", Reason.DEFECT, "2 scratch in zone left or rim of top", id="its zones"),
        pytest.param([defect(name="any")], boxes((DENT, 0.9)), "", Reason.DEFECT, "dent 0.90 in top", id="of which no rule speaks"),
        pytest.param([defect(name="any"), presence(name="screws", exactly=4)], boxes(SPECK), "any", Reason.DEFECT, "scratch 0.90 in top", id="the first rule of two"),
        pytest.param([presence(name="screws", exactly=4), defect(name="any")], boxes(SPECK), "screws", Reason.COUNT, "0 screw in top, expected exactly 4", id="the other way round"),
        pytest.param([presence(name="screws", exactly=4), defect(name="any")], boxes(SPECK, *[(SCREW, 0.9)] * 4), "any", Reason.DEFECT, "scratch 0.90 in top", id="only one has an objection"),
        pytest.param([defect(name="any", grey_score=0.2)], boxes((SCRATCH, 0.4)), "any", Reason.NOT_DECIDABLE, "scratch 0.40 in top is in doubt", id="a doubt"),
        pytest.param([defect(name="any", grey_score=0.2)], boxes((SCRATCH, 0.4), (DENT, 0.6)), "", Reason.DEFECT, "dent 0.60 in top", id="a defect is worse than a doubt"),
        pytest.param([presence(name="screws", at_least=1, at_most=2, grey_score=0.2, zones=["left"])], boxes((SCREW, 0.4)), "screws", Reason.NOT_DECIDABLE, "0 to 1 screw in zone left of top, expected 1 to 2", id="a count in doubt"),
        pytest.param([presence(name="screws", at_most=0)], boxes((SCREW, 0.9)), "screws", Reason.COUNT, "1 screw in top, expected exactly 0", id="none may be there"),
        pytest.param([presence(name="screws", at_most=1)], boxes((SCREW, 0.9), (SCREW, 0.9)), "screws", Reason.COUNT, "2 screw in top, expected at most 1", id="at most"),
        pytest.param([presence(name="screws", at_least=1)], boxes(), "screws", Reason.COUNT, "0 screw in top, expected at least 1", id="at least"),
        pytest.param([defect(name="any")], boxes(), "", Reason.NONE, "", id="nobody has anything against it"),
    ],
)  # fmt: skip
def test_the_verdict_says_which_rule_decided(
    rules: list[Rules], seen: Findings, rule: str, reason: Reason, text: str
) -> None:
    zones = {name: ZONES[name] for one in rules for name in one.get("zones", ())}
    judgement = judged(criteria(*rules, zones=zones), seen)
    assert (judgement.rule, judgement.reason, judgement.reason_text) == (rule, reason, text)


def test_the_deciding_rules_defects_come_first_then_the_others_strongest_first() -> None:
    by = criteria(defect(name="long", longer_than_px=20), defect(name="dents", classes=["dent"]))
    judgement = judged(by, boxes((DUST, 0.7), (DENT, 0.95), GASH, (DENT, 0.6), SPECK))
    assert judgement.rule == "long"
    assert [(d.class_name, d.score) for d in judgement.defects] == [
        ("scratch", 0.8),
        ("dent", 0.95),
        ("dust", 0.7),
        ("dent", 0.6),
    ]


def test_a_finding_that_two_rules_reject_is_one_defect() -> None:
    by = criteria(defect(name="long", longer_than_px=20), defect(name="large", larger_than_px2=100))
    assert len(judged(by, boxes(GASH)).defects) == 1


def test_a_defect_has_its_box_and_its_size_on_the_plane() -> None:
    (found,) = judged(criteria(defect()), at(20, 20, 60, 50), plane=TENTH).defects
    assert (found.box, found.size_mm, found.camera) == ((20, 20, 40, 30), (4.0, 3.0), "top")


def test_in_two_views_the_text_names_both() -> None:
    judgement = judged(criteria(defect(in_views=2), cameras=THREE), boxes(SPECK), boxes(), boxes(GASH))
    assert judgement.reason_text == "scratch 0.90 in top and rear"
    assert judgement.views_judged == 3


def test_a_class_that_is_good_is_a_defect_where_a_rule_says_so() -> None:
    gear = defect(classes=["screw"], zones=["left"])
    by = criteria(gear, zones={"left": LEFT}, good=(SCREW,))
    assert judged(by, at(10, 10, 20, 20, what=SCREW)).evaluation is NOT_OK
    assert judged(by, at(150, 10, 160, 20, what=SCREW)).evaluation is OK


def test_one_zone_may_be_where_dust_is_tolerated_and_scratches_are_not() -> None:
    by = criteria(
        {"kind": "tolerate", "classes": ["dust"], "zones": ["left"]}, defect(zones=["left"]), zones={"left": LEFT}
    )
    assert judged(by, at(10, 10, 20, 20)).evaluation is NOT_OK
    assert judged(by, at(110, 10, 120, 20)).evaluation is OK
    assert judged(by, at(10, 10, 20, 20, what=DUST)).evaluation is OK


def test_what_is_good_on_one_camera_is_no_defect_there_for_a_rule_of_all() -> None:
    here = {"kind": "classify", "good": ["red"], "cameras": ["top"]}
    by = criteria(here, {"kind": "defect"}, cameras=TWO, **SORTS)
    blue, red = shown(0.1, 0.9, 0.0), shown(0.9, 0.1, 0.0)
    assert judged(by, red, blue).evaluation is OK
    assert judged(by, blue, red).evaluation is NOT_OK


def test_thresholds_are_compared_in_the_models_own_precision() -> None:
    limits = ThresholdState((0.35,) * 4)
    judgement = judged(criteria(defect()), boxes((SCRATCH, 0.35)), thresholds=limits)
    assert (judgement.evaluation, judgement.margin, judgement.peaks[SCRATCH]) == (NOT_OK, 0.0, 0.35)


@pytest.mark.parametrize(
    ("seen", "margin"),
    [
        pytest.param(at(0, 0, 10, 10, 0.45), 0.05, id="where the rule looks"),
        pytest.param(at(150, 0, 160, 10, 0.45), None, id="where it does not"),
        pytest.param(at(150, 0, 160, 10, 0.8, DENT), 0.3, id="a class that rejects by itself"),
        pytest.param(boxes((SCREW, 0.7)), 0.2, id="what is counted bears on the verdict"),
    ],
)
def test_the_margin_is_that_of_what_rules_look_at(seen: Findings, margin: float | None) -> None:
    by = criteria(defect(zones=["left"]), presence(at_most=9), zones={"left": LEFT})
    assert judged(by, seen).margin == margin


def test_a_recipe_without_rules_keeps_the_bundles_criteria() -> None:
    assert criteria() == Criteria(CLASSES)
    assert judged(criteria(), boxes((DUST, 0.7), (SCRATCH, 0.2), (DUST, 0.3))).peaks == (0.2, 0.0, 0.7, 0.0)
    assert judged(criteria(), view(boxes()), failed("side")).peaks == (0.0,) * len(THRESHOLDS.by_class)


def test_a_region_without_area_stands_for_its_whole_box() -> None:
    findings = boxes((SCRATCH, 0.9, (0, 0, 40, 30)))
    drawn = Detections(
        findings.xyxy,
        findings.confidence,
        findings.class_id,
        regions=(Region(np.array([[0, 0], [1, 0], [0, 1]], np.float32), 0.0),),
    )
    assert judged(criteria(defect(longer_than_px=49)), drawn).evaluation is NOT_OK
