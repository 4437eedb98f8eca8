"""True of all rules: one more defect never helps, a missing view is never OK, order does not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rules_rig import CLASSES, LEFT, boxes, criteria, failed, judged, shown

from edge_inspector.datatypes import (
    SEVERITY,
    Criteria,
    Evaluation,
    Judgement,
    ThresholdState,
)
from edge_inspector.stages.rules import judge

CAMERAS = ("top", "side", "rear")
ZONES = {
    "left": LEFT,
    "rim": {"camera": "side", "exclude": [[[50, 50], [150, 50], [150, 150], [50, 150]]]},
}
SCORES = st.integers(1, 20).map(lambda n: n / 20)
CORNERS = st.tuples(*[st.sampled_from([0, 20, 60, 99, 100, 150])] * 2, *[st.sampled_from([3, 4, 40])] * 2)
PLACES = st.sampled_from([{}, {}, {"zones": ["left"]}, {"zones": ["left", "rim"]}, {"cameras": ["top", "rear"]}])
SOME = st.lists(st.sampled_from(CLASSES[:3]), min_size=1, max_size=2, unique=True)


def given_sometimes(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def defect_rules(draw: st.DrawFn, classes: st.SearchStrategy[list[str]] = SOME) -> dict[str, Any]:
    sizes = draw(
        given_sometimes(
            longer_than_px=st.sampled_from([4, 5, 20]),
            wider_than_px=st.sampled_from([3, 3.5, 20]),
            larger_than_px2=st.sampled_from([9, 12, 150]),
            total_larger_than_px2=st.sampled_from([12, 100, 2000]),
        )
    )
    place = draw(PLACES)
    cameras = {"left": 1, "rim": 2}.get((place.get("zones") or [""])[-1]) or len(place.get("cameras", CAMERAS))
    how: dict[str, Any] = draw(st.sampled_from([{}, {"together": True}, {"in_views": min(2, cameras)}]))
    grey = draw(given_sometimes(grey_score=st.sampled_from([0.05, 0.2])))
    grey |= draw(given_sometimes(grey_size=st.sampled_from([0.1, 0.5]))) if sizes else {}
    counted = draw(given_sometimes(at_least=st.integers(1, 3)))
    return {"kind": "defect", "classes": draw(classes), **place, **how, **sizes, **grey, **counted}


TOLERATES = st.builds(lambda classes, place: {"kind": "tolerate", "classes": classes, **place}, SOME, PLACES)
COUNTS = st.builds(
    lambda place, least, more, grey: {
        **place, "kind": "presence", "classes": ["screw"], "grey_score": grey,
        "at_least": least, "at_most": least + more,
    },
    PLACES, st.integers(1, 2), st.integers(0, 1), st.sampled_from([0.0, 0.2]),
)  # fmt: skip
RULES = st.lists(st.one_of(defect_rules(), defect_rules(), TOLERATES, COUNTS), max_size=4).map(
    lambda rules: criteria(*[{**r, "name": f"r{i}"} for i, r in enumerate(rules)], zones=ZONES, cameras=CAMERAS)
)
FINDING = st.tuples(
    st.integers(0, 3), SCORES, CORNERS.map(lambda c: tuple(map(float, (c[0], c[1], c[0] + c[2], c[1] + c[3]))))
)
VIEWS = st.lists(st.lists(FINDING, max_size=5), min_size=3, max_size=3)
LIMITS = st.tuples(*[SCORES] * 4).map(ThresholdState)


def severity(judgement: Judgement) -> int:
    return SEVERITY.index(judgement.evaluation)


def word(by: Criteria, views: list[list[Any]], limits: ThresholdState) -> Judgement:
    return judged(by, *[boxes(*found) for found in views], thresholds=limits)


@settings(max_examples=40)
@given(by=RULES, views=VIEWS, limits=LIMITS, more=FINDING, camera=st.integers(0, 2))
def test_one_more_defect_never_helps(
    by: Criteria, views: list[list[Any]], limits: ThresholdState, more: Any, camera: int
) -> None:
    assume(CLASSES[more[0]] != "screw")  # one more thing that must be there may well help
    worse = [[*found, more] if i == camera else found for i, found in enumerate(views)]
    before, after = word(by, views, limits), word(by, worse, limits)
    assert severity(after) >= severity(before)
    assert all(high >= low for high, low in zip(after.peaks, before.peaks, strict=True))


@settings(max_examples=40)
@given(by=RULES, views=VIEWS, limits=LIMITS, lower=st.integers(0, 2), by_how_much=SCORES)
def test_a_lower_threshold_of_a_defect_never_helps(
    by: Criteria, views: list[list[Any]], limits: ThresholdState, lower: int, by_how_much: float
) -> None:
    lowered = tuple(max(0.0, t - by_how_much) if i == lower else t for i, t in enumerate(limits.by_class))
    assert severity(word(by, views, ThresholdState(lowered))) >= severity(word(by, views, limits))


@settings(max_examples=40)
@given(by=RULES, views=VIEWS, limits=LIMITS, lost=st.sets(st.integers(0, 2), min_size=1), fails=st.booleans())
def test_a_part_with_a_missing_view_is_never_ok(
    by: Criteria, views: list[list[Any]], limits: ThresholdState, lost: set[int], fails: bool
) -> None:
    kept = [(i, found) for i, found in enumerate(views) if i not in lost]
    there = [replace(failed(), camera=CAMERAS[i]) for i in lost] if fails else []
    there += [replace(failed(), camera=CAMERAS[i], findings=boxes(*found), failure=None) for i, found in kept]
    judgement = judge(CAMERAS, by, limits, there)
    assert judgement.evaluation in (Evaluation.UNDEFINED, Evaluation.NOT_OK)
    assert judgement.views_judged == len(kept)
    if judgement.evaluation is Evaluation.NOT_OK:  # for what was seen, not for what was not
        assert word(by, views, limits).evaluation is Evaluation.NOT_OK


@settings(max_examples=40)
@given(by=RULES, views=VIEWS, limits=LIMITS, shuffle=st.randoms(use_true_random=False))
def test_the_order_of_views_and_of_findings_does_not_matter(
    by: Criteria, views: list[list[Any]], limits: ThresholdState, shuffle: Any
) -> None:
    measured = [
        replace(failed(camera), findings=boxes(*found), failure=None)
        for camera, found in zip(CAMERAS, views, strict=True)
    ]
    mixed = [
        replace(one, findings=boxes(*shuffle.sample(found, len(found))))
        for one, found in zip(measured, views, strict=True)
    ]
    one, other = judge(CAMERAS, by, limits, measured), judge(CAMERAS, by, limits, shuffle.sample(mixed, 3))
    if not by.rules:  # findings of one score are told as they come
        assert sorted(map(repr, one.defects)) == sorted(map(repr, other.defects))
        one, other = (replace(each, defects=(), reason_text="") for each in (one, other))
    assert one == other


@settings(max_examples=40)
@given(views=VIEWS, limits=LIMITS, good=st.sets(st.integers(0, 3), max_size=2))
def test_a_rule_that_says_what_holds_anyway_changes_nothing(
    views: list[list[Any]], limits: ThresholdState, good: set[int]
) -> None:
    plain = word(criteria(cameras=CAMERAS, good=tuple(good)), views, limits)
    ruled = word(criteria({"kind": "defect"}, cameras=CAMERAS, good=tuple(good)), views, limits)
    assert (ruled.evaluation, ruled.reason, ruled.views_judged) == (plain.evaluation, plain.reason, plain.views_judged)
    assert (ruled.peaks, ruled.margin) == (plain.peaks, plain.margin)
    assert sorted(map(repr, ruled.defects)) == sorted(map(repr, plain.defects))
    assert [d.score for d in ruled.defects] == [d.score for d in plain.defects]
    assert ruled.rule == ("defect" if plain.defects else "")


SHARES = st.lists(SCORES, min_size=3, max_size=3)


@settings(max_examples=40)
@given(scores=st.lists(SHARES, min_size=2, max_size=2), limits=st.tuples(*[SCORES] * 3).map(ThresholdState))
def test_a_rule_that_says_what_is_good_anyway_changes_nothing(
    scores: list[list[float]], limits: ThresholdState
) -> None:
    sorts: dict[str, Any] = {"classes": ("a", "b", "dent"), "good": (0, 1), "cameras": CAMERAS[:2], "task": "classify"}
    plain, ruled = (
        judged(criteria(*rules, **sorts), *[shown(*one) for one in scores], thresholds=limits)
        for rules in ([], [{"kind": "classify", "good": ["a", "b"]}])
    )
    assert (ruled.evaluation, ruled.reason, ruled.reason_text) == (plain.evaluation, plain.reason, plain.reason_text)
    assert (ruled.peaks, ruled.margin, ruled.defects) == (plain.peaks, plain.margin, plain.defects)


@settings(max_examples=40)
@given(rule=defect_rules(st.just(["scratch"])), views=VIEWS, limit=SCORES, other=SCORES)
def test_the_peak_of_a_class_is_the_highest_threshold_at_which_it_is_rejected(
    rule: dict[str, Any], views: list[list[Any]], limit: float, other: float
) -> None:
    by = criteria(rule, zones=ZONES, cameras=CAMERAS, classes=("scratch",))
    alone = [[(0, score, box) for _, score, box in found] for found in views]
    judgement = word(by, alone, ThresholdState((limit,)))
    rejected = judgement.evaluation is Evaluation.NOT_OK
    assert rejected == (judgement.peaks[0] >= limit and judgement.peaks[0] > 0)
    assert word(by, alone, ThresholdState((other,))).peaks == judgement.peaks


@settings(max_examples=40)
@given(rule=defect_rules(), views=VIEWS, limits=LIMITS)
def test_a_grey_zone_turns_ok_into_not_decidable_and_nothing_else(
    rule: dict[str, Any], views: list[list[Any]], limits: ThresholdState
) -> None:
    sharp = {key: value for key, value in rule.items() if not key.startswith("grey")}
    made = [word(criteria(one, zones=ZONES, cameras=CAMERAS), views, limits) for one in (sharp, rule)]
    before, after = made
    if after.evaluation is not before.evaluation:
        assert (before.evaluation, after.evaluation) == (Evaluation.OK, Evaluation.NOT_DECIDABLE)
    assert (after.peaks, after.margin) == (before.peaks, before.margin)


@settings(max_examples=40)
@given(by=RULES, views=VIEWS, limits=LIMITS)
def test_what_a_rule_names_is_a_rule_of_the_recipe(
    by: Criteria, views: list[list[Any]], limits: ThresholdState
) -> None:
    judgement = word(by, views, limits)
    assert judgement.rule in {"", *(rule.name for rule in by.rules)}
    assert len(judgement.peaks) == len(CLASSES)
    assert (judgement.evaluation is Evaluation.OK) == (judgement.reason_text == "")
    if not judgement.rule:
        assert judgement.evaluation in (Evaluation.OK, Evaluation.NOT_OK)
