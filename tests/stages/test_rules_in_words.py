"""Rules as sentences: what `edge-inspector check` prints must be what is judged."""

# ruff: noqa: E501 - a row of a table reads best on one line
from __future__ import annotations

from typing import Any

import pytest
from rules_rig import CLASSES, LEFT, recipe

from edge_inspector.datatypes import Criteria, Limits
from edge_inspector.stages.rule_words import rules_in_words, zones_in_words
from edge_inspector.stages.rules import adaptable, fingerprint, with_rules

RIM = {"camera": "side", "exclude": [[[50, 50], [150, 50], [150, 150], [50, 150]]]}
ZONES = {"left": LEFT, "rim": RIM}
THREE = ("top", "side", "rear")


def words(*rules: dict[str, Any], cameras: tuple[str, ...] = ("top",), **keys: Any) -> list[tuple[str, str]]:
    task, zones = keys.pop("task", "detect"), keys.pop("zones", None)
    made = recipe(*[{"name": rule["kind"], **rule} for rule in rules], zones=zones, cameras=cameras)
    by = Criteria(**{"classes": CLASSES, **keys})
    return list(rules_in_words(made, with_rules(by, made, task)))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "reject if any scratch"),
        ({"longer_than_mm": 0.5, "zones": ["left"]}, "reject if any scratch longer than 0.5 mm in zone left"),
        ({"classes": ["scratch", "dent", "dust"], "wider_than_px": 3, "larger_than_px2": 9.5}, "reject if any scratch, dent or dust wider than 3 px and larger than 9.5 px²"),
        ({"at_least": 3, "cameras": ["side"]}, "reject if 3 or more scratch in side"),
        ({"at_least": 3}, "reject if 3 or more scratch, in one picture"),
        ({"at_least": 3, "together": True, "longer_than_px": 4}, "reject if 3 or more scratch longer than 4 px, over all pictures of the part"),
        ({"total_larger_than_mm2": 5}, "reject if all scratch together cover more than 5 mm², in one picture"),
        ({"total_larger_than_px2": 5, "at_least": 2, "zones": ["rim"]}, "reject if all scratch, 2 or more of them, together cover more than 5 px² in zone rim"),
        ({"in_views": 2}, "reject if any scratch, in at least 2 of top, side and rear"),
        ({"zones": ["left", "rim"], "in_views": 2}, "reject if any scratch in zone left or zone rim, in at least 2 of top and side"),
        ({"grey_score": 0.1}, "reject if any scratch; not decidable up to 0.1 below its threshold"),
        ({"grey_score": 0.1, "grey_size": 0.25, "longer_than_px": 8}, "reject if any scratch longer than 8 px; not decidable up to 0.1 below its threshold and from 0.75 of its size limits on"),
    ],
)  # fmt: skip
def test_a_defect_rule(keys: dict[str, Any], sentence: str) -> None:
    rule = {"kind": "defect", "classes": ["scratch"], "name": "r", **keys}
    zones = {name: ZONES[name] for name in keys.get("zones", ())}
    assert words(rule, zones=zones, cameras=THREE)[0] == ("r", sentence)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"exactly": 4, "zones": ["left"]}, "expect exactly 4 screw in zone left"),
        ({"at_least": 2, "at_most": 3}, "expect 2 to 3 screw, in each picture"),
        ({"at_most": 2, "cameras": ["top"]}, "expect at most 2 screw in top"),
        ({"at_least": 2, "cameras": ["top"], "grey_score": 0.2}, "expect at least 2 screw in top; not decidable up to 0.2 below their threshold"),
    ],
)  # fmt: skip
def test_a_presence_rule(keys: dict[str, Any], sentence: str) -> None:
    zones = {name: ZONES[name] for name in keys.get("zones", ())}
    assert words({"kind": "presence", "classes": ["screw"], **keys}, zones=zones, cameras=THREE)[0][1] == sentence


def test_what_no_rule_speaks_of_is_told_for_each_camera() -> None:
    assert words(
        {"kind": "defect", "name": "rim", "classes": ["scratch"], "zones": ["left"]},
        {"kind": "tolerate", "name": "dusty", "classes": ["dust"], "cameras": ["side", "rear"]},
        {"kind": "presence", "name": "screws", "classes": ["screw"], "exactly": 4, "cameras": ["top"]},
        zones={"left": LEFT},
        cameras=THREE,
    ) == [
        ("rim", "reject if any scratch in zone left"),
        ("dusty", "ignore dust in side or rear"),
        ("screws", "expect exactly 4 screw in top"),
        ("", "reject if any dent or dust in top"),
        ("", "reject if any scratch or dent in side or rear"),
        ("", "accept any other scratch in top"),
        ("", "accept any other screw in side or rear"),
    ]


def test_a_tolerance_in_a_zone_is_for_what_lies_in_it_wholly() -> None:
    told = words({"kind": "tolerate", "classes": ["dust"], "zones": ["left"]}, zones={"left": LEFT})
    assert told == [
        ("tolerate", "ignore dust in zone left (what lies in it wholly)"),
        ("", "reject if any scratch, dent, dust or screw"),
    ]


def test_without_rules_the_bundles_word_is_told() -> None:
    assert words(good=frozenset({3})) == [("", "reject if any scratch, dent or dust")]
    assert words(good=frozenset(range(4))) == [("", "every class is good: nothing is rejected")]
    gauges = (Limits(1, 2, "mm"), Limits(-4, 4))
    assert words(classes=("width", "depth"), limits=gauges, task="measure") == [
        ("", "expect width 1 to 2 mm, depth -4 to 4")
    ]


def test_limits_of_values_are_told_with_the_bundles() -> None:
    gauges: dict[str, Any] = {
        "classes": ("width", "depth"),
        "limits": (Limits(1, 3, "mm"), Limits(-4, 4)),
        "task": "measure",
    }
    assert words({"kind": "measure", "value": "width", "high": 2.5, "grey": 0.05}, **gauges) == [
        ("measure", "expect width 1 to 2.5 mm (the bundle says 1 to 3); not decidable nearer than 0.05 mm to a limit"),
        ("", "expect depth -4 to 4"),
    ]


def test_what_a_classified_view_must_show() -> None:
    sorts: dict[str, Any] = {"classes": ("red", "blue", "dent"), "good": frozenset({0, 1}), "task": "classify"}
    assert words({"kind": "classify", "margin": 0.2, "cameras": ["top"]}, cameras=THREE, **sorts) == [
        ("classify", "expect red or blue in top, ahead of every other class by 0.2 or more, else not decidable"),
        ("", "reject if any dent"),
        ("", "expect red or blue in side or rear"),
    ]
    assert words({"kind": "classify", "good": ["red"]}, **sorts)[:2] == [
        ("classify", "expect red"),
        ("", "reject if any blue or dent"),
    ]


def test_a_view_that_looks_like_a_defect_most_is_not_said_to_be_accepted() -> None:
    sorts: dict[str, Any] = {"classes": ("red", "dent"), "good": frozenset({0}), "task": "classify"}
    assert words({"kind": "defect", "classes": ["dent"], "in_views": 2}, cameras=THREE, **sorts)[1:] == [
        ("", "expect red"),
        ("", "accept any other dent in a view that looks more like what is expected"),
    ]


def test_zones_are_told_by_where_they_lie() -> None:
    notch = {"camera": "top", "include": LEFT["include"], "exclude": [[[0, 0], [10, 0], [0, 10]]]}
    made = recipe({"kind": "defect", "name": "r", "zones": ["n"]}, zones={"n": notch, "rim": RIM})
    assert list(zones_in_words(made)) == [
        ("n", "of top: inside x 0 to 100, y 0 to 200 (4 corners), without x 0 to 10, y 0 to 10 (3 corners), 19950 px²"),
        ("rim", "of side: the whole picture, without x 50 to 150, y 50 to 150 (4 corners)"),
    ]


def test_names_from_other_peoples_files_do_not_command_the_terminal() -> None:
    assert words(classes=("a\x1b[2J", "b\nc")) == [("", "reject if any a?[2J or b?c")]


def test_thresholds_may_follow_the_line_for_classes_that_reject_and_no_others() -> None:
    made = recipe(
        {"kind": "presence", "name": "p", "classes": ["screw"], "exactly": 1},
        {"kind": "tolerate", "name": "t", "classes": ["dust"]},
    )
    by = Criteria((*CLASSES, "label"), frozenset({4}))
    assert adaptable(with_rules(by, made, "detect")) == {0, 1}
    assert adaptable(by) == {0, 1, 2, 3}
    partly = recipe({"kind": "tolerate", "name": "t", "classes": ["dust"], "cameras": ["top"]}, cameras=("top", "side"))
    assert adaptable(with_rules(by, partly, "detect")) == {0, 1, 2, 3}
    sorts = Criteria(("red", "blue", "dent"), frozenset({0, 1}))
    one = recipe({"kind": "classify", "name": "c", "good": ["red"]})
    assert adaptable(with_rules(sorts, one, "classify")) == {2}
    assert adaptable(Criteria(("width",), limits=(Limits(1, 2),))) == frozenset()


def test_a_fingerprint_is_of_zones_and_rules_alone() -> None:
    rule = {"kind": "defect", "name": "r", "classes": ["scratch"], "zones": ["left"]}
    first = fingerprint(recipe(rule, zones={"left": LEFT}))
    assert first == fingerprint(recipe(rule, zones={"left": LEFT}, deadline_ms=77))
    changed = [
        recipe({**rule, "at_least": 2}, zones={"left": LEFT}),
        recipe(rule, zones={"left": {**LEFT, "camera": "side"}}),
        recipe(),
    ]
    assert len({first, *map(fingerprint, changed)}) == 4
