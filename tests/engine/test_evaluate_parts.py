from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_rig import boxes, classified, picture, seen, subject, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import (
    Calibration,
    Criteria,
    DefectRule,
    Detections,
    Limits,
    Measurement,
    Place,
    PresenceRule,
    TolerateRule,
)
from edge_inspector.engine.evaluate import with_good
from edge_inspector.engine.evaluate.assess import Evaluated, assess
from edge_inspector.engine.evaluate.labels import check_fit, findings_of, whole_class
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.evaluate.parts import check_views, parts_of
from edge_inspector.engine.evaluate.pictures import worst
from edge_inspector.engine.evaluate.shares import parts_to_prove, wilson
from edge_inspector.engine.evaluate.subject import Subject, with_thresholds
from edge_inspector.engine.evaluate.wanted import critical, wanted
from edge_inspector.engine.truth import Thing
from edge_inspector.errors import ConfigError

TWO = subject(["a", "b"])


def assessed(looks: list[Seen], of: Subject = TWO, escapes: float | None = None) -> Evaluated:
    return assess(looks, truth([one.picture for one in looks]), of, escapes)


def counts(made: Evaluated) -> tuple[int, int, int, int]:
    report = made.report
    return report.escapes.count, report.escapes.total, report.overkill.count, report.overkill.total


def test_several_pictures_of_one_part_are_one_part() -> None:
    """Its defect is on one picture only, and seen on the other: the part is rejected, and counted once."""
    looks = [
        seen(picture("1.png", "a", part="P"), Detections.none()),
        seen(picture("2.png", part="P"), boxes((1, 0.9))),
        seen(picture("3.png", part="Q"), Detections.none()),
        seen(picture("4.png", part="Q"), boxes((0, 0.4))),
    ]
    made = assessed(looks)
    assert counts(made) == (0, 1, 0, 1)
    assert (made.report.pictures, made.report.parts, made.report.bad_parts) == (4, 2, 1)
    assert "4 pictures show 2 parts." in made.report.notes
    alone = assessed([replace(one, picture=replace(one.picture, part=one.picture.name)) for one in looks])
    assert counts(alone) == (1, 1, 1, 3)


def test_each_class_has_its_own_escapes() -> None:
    """Part 1 shows a and b, and is rejected for b: a is not found, and nothing escapes. Part 2 escapes with its a."""
    looks = [
        seen(picture("1", "a", "b"), boxes((1, 0.9))),
        seen(picture("2", "a"), boxes((0, 0.4))),
        seen(picture("3", "a"), boxes((0, 0.6))),
    ]
    a, b = assessed(looks).report.classes
    assert (a.parts_found.count, a.parts_found.total, a.escapes.count, a.escapes.total) == (1, 3, 1, 3)
    assert (b.parts_found.count, b.parts_found.total, b.escapes.count, b.escapes.total) == (1, 1, 0, 1)


def test_a_picture_without_an_answer_is_a_reject_and_is_told() -> None:
    looks = [
        seen(picture("1"), Detections.none(), failure="nan"),
        seen(picture("2", "a"), Detections.none(), failure="nan"),
        seen(picture("3"), Detections.none()),
    ]
    made = assessed(looks)
    assert counts(made) == (0, 1, 1, 2)
    assert made.report.unanswered == ("1: nan", "2: nan")
    assert made.report.verdicts == {"UNDEFINED": 2, "OK": 1}
    assert made.report.wrong[0].kind == "overkill"
    assert made.report.wrong[0].text == "nan"


def test_wrong_parts_are_told_the_least_seen_escape_first() -> None:
    looks = [
        seen(picture("over"), boxes((0, 0.7))),
        seen(picture("surely over"), boxes((0, 0.9))),
        seen(picture("hinted", "a"), boxes((0, 0.4))),
        seen(picture("blind", "a"), Detections.none()),
    ]
    wrong = assessed(looks).report.wrong
    assert [(one.part, one.kind, one.score) for one in wrong] == [
        ("blind", "escape", 0.0),
        ("hinted", "escape", 0.4),
        ("surely over", "overkill", 0.9),
        ("over", "overkill", 0.7),
    ]


def test_a_classified_part_in_doubt_is_overkill_but_no_escape() -> None:
    of = subject(["fine", "dent"], task="classify", good=[0], thresholds=[0.8, 0.5])
    looks = [
        seen(picture("doubt", classes=("fine",), things=None), classified(0.7, 0.3)),
        seen(picture("sure", classes=("fine",), things=None), classified(0.9, 0.1)),
        seen(picture("doubtful", classes=("dent",), things=None), classified(0.6, 0.4)),
        seen(picture("missed", classes=("dent",), things=None), classified(0.9, 0.1)),
    ]
    made = assessed(looks, of)
    assert counts(made) == (1, 2, 1, 2)
    assert made.report.verdicts == {"NOT_DECIDABLE": 2, "OK": 2}


def test_a_good_picture_without_a_class_has_that_of_the_only_good_one() -> None:
    one = subject(["fine", "dent"], task="classify", good=[0]).bundle
    two = subject(["fine", "shiny", "dent"], task="classify", good=[0, 1]).bundle
    told = picture("1", things=None, good=True)
    assert (whole_class(told, one), whole_class(told, two)) == (0, None)


def test_pictures_on_which_nobody_drew_boxes_count_as_parts_only() -> None:
    looks = [
        seen(picture("1", "a"), boxes((0, 0.9))),
        seen(picture("2", classes=("a",), things=None), boxes((0, 0.9), (0, 0.8))),
    ]
    made = assessed(looks)
    assert counts(made) == (0, 2, 0, 0)
    assert (made.report.boxes["0.5"].labelled, made.report.boxes["0.5"].detected) == (1, 1)
    assert made.report.map50 == pytest.approx(1.0)
    assert "1 of 2 pictures have no boxes in the truth: box figures leave them out." in made.report.notes
    assert worst(made, 9) == ()


def test_pictures_of_several_classes_are_judged_but_not_classified() -> None:
    of = subject(["fine", "dent", "scratch"], task="classify", good=[0])
    looks = [
        seen(picture("both", classes=("dent", "scratch"), things=None), classified(0.1, 0.6, 0.3)),
        seen(picture("one", classes=("dent",), things=None), classified(0.1, 0.6, 0.3)),
        seen(picture("good", things=None, good=True), classified(0.6, 0.1, 0.3)),
        seen(picture("bad", things=None, good=False), classified(0.6, 0.1, 0.3)),
    ]
    made = assessed(looks, of)
    assert counts(made) == (1, 3, 0, 1)
    assert made.report.whole is not None
    assert (made.report.whole.pictures, made.report.whole.accuracy) == (2, 1.0)
    assert "2 of 4 pictures do not have one class: class figures leave them out." in made.report.notes


def test_a_class_that_is_seen_but_never_labelled_counts_in_the_mean_f1() -> None:
    of = subject(["fine", "dent", "scratch"], task="classify", good=[0])
    looks = [
        seen(picture("1", classes=("dent",), things=None), classified(0.1, 0.6, 0.3)),
        seen(picture("2", classes=("dent",), things=None), classified(0.1, 0.3, 0.6)),
    ]
    whole = assessed(looks, of).report.whole
    assert whole is not None
    assert (whole.macro_f1, whole.balanced_accuracy) == pytest.approx(((2 / 3 + 0) / 2, 0.5))


# --- a recipe ---------------------------------------------------------------------------------------------------------

EVERYWHERE = Place(("top",))
LONG = DefectRule("long", frozenset([0]), EVERYWHERE, larger_than=(("length_px", 20.0),))
REST = DefectRule("", frozenset([1]), EVERYWHERE)


def scratch(length: float) -> Thing:
    return Thing("a", (0.0, 0.0, length, 4.0))


def of_length(length: float, score: float = 0.9) -> Detections:
    return Detections(np.array([[0, 0, length, 4]], np.float32), np.array([score], np.float32), np.zeros(1, np.int64))


def test_a_recipe_judges_the_labels_by_its_rules_too() -> None:
    """A short scratch is labelled and found, and makes no part bad."""
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(LONG, REST)), cameras=["top"])
    looks = [
        seen(picture("short", things=(scratch(10),)), of_length(10)),
        seen(picture("long", things=(scratch(30),)), of_length(10)),
        seen(picture("found", things=(scratch(30),)), of_length(30)),
        seen(picture("said", things=(scratch(10),), good=False), of_length(10)),
        seen(picture("forgiven", things=(scratch(30),), good=True), of_length(10)),
    ]
    check_fit(truth([one.picture for one in looks]), of.bundle, of.criteria)
    made = assessed(looks, of)
    assert [(part.name, part.bad, part.labelled) for part in made.parts] == [
        ("short", False, frozenset()),
        ("long", True, frozenset([0])),
        ("found", True, frozenset([0])),
        ("said", True, frozenset()),
        ("forgiven", False, frozenset()),
    ]
    assert counts(made) == (2, 3, 0, 2)
    assert counts(assessed(looks)) == (0, 4, 1, 1)  # the bundle alone knows of no length


def test_a_part_that_lacks_a_screw_is_bad_though_nothing_on_it_is_a_defect() -> None:
    rule = PresenceRule("screws", frozenset([0]), EVERYWHERE, 2, 2)
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), frozenset([0]), rules=(rule, REST)), cameras=["top"])
    looks = [
        seen(picture("whole", "a", "a"), boxes((0, 0.9), (0, 0.9))),
        seen(picture("lacking", "a"), boxes((0, 0.9))),
        seen(picture("lacking and passed", "a"), boxes((0, 0.9), (0, 0.8))),
    ]
    made = assessed(looks, of, 0.4)
    assert counts(made) == (1, 2, 0, 1)
    assert made.report.wanted is not None
    assert made.report.wanted.classes == ()  # only b may reject by its score, and nobody labelled one


def test_a_good_part_stays_good_when_the_model_gives_no_answer() -> None:
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(LONG, REST)), cameras=["top"])
    looks = [
        seen(picture("good"), Detections.none(), failure="nan"),
        seen(picture("bad", things=(scratch(30),)), Detections.none(), failure="nan"),
    ]
    assert counts(assessed(looks, of)) == (0, 1, 1, 1)


def test_the_pieces_of_one_drawn_thing_are_one_thing() -> None:
    small, large = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)), ((9.0, 0.0), (29.0, 0.0), (29.0, 5.0), (9.0, 5.0))
    thing = Thing("b", (0.0, 0.0, 29.0, 5.0), (small, large))
    found = findings_of(picture("1", things=(thing,)), TWO.bundle)
    assert isinstance(found, Detections)
    assert found.class_id.tolist() == [1]
    assert found.regions is not None
    assert found.regions[0].area_px == 16 + 100
    assert found.regions[0].outline.tolist() == [list(point) for point in large]


def test_what_a_recipe_tolerates_is_no_defect() -> None:
    rule = TolerateRule("dust", frozenset([0]), EVERYWHERE)
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(rule, REST)), cameras=["top"])
    made = assessed([seen(picture("1", "a"), boxes((0, 0.9)))], of)
    assert counts(made) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        pytest.param([{"camera": "left"}], r"1 is of camera 'left'; recipe wheel has top, side", id="another camera"),
        pytest.param([{}], "1 does not say of which camera it is", id="no camera"),
        pytest.param([{"camera": "top"}], "part P has no picture of side", id="a view is missing"),
        pytest.param(
            [{"camera": "top"}, {"camera": "side"}, {"camera": "top"}], "part P has several pictures of top", id="twice"
        ),
    ],
)
def test_views_that_are_not_the_recipes_are_refused(pictures: list[dict], words: str) -> None:
    told = [picture(str(i), part="P", **keys) for i, keys in enumerate(pictures, start=1)]
    with pytest.raises(ConfigError, match=words):
        check_views(truth(told), subject(["a"], cameras=["top", "side"]))


def test_the_only_camera_of_a_recipe_needs_no_name_but_gives_one_view() -> None:
    one_camera = subject(["a"], cameras=["top"])
    check_views(truth([picture("1", part="P")]), one_camera)
    with pytest.raises(ConfigError, match="several pictures of top"):
        check_views(truth([picture("1", part="P"), picture("2", part="P")]), one_camera)


def test_all_views_of_a_recipe_judge_one_part() -> None:
    """By the names of their cameras, in whatever order the truth has them."""
    rule = DefectRule("deep", frozenset([0]), Place(("top", "side")), in_views=2)
    rest = DefectRule("", frozenset([1]), Place(("top", "side")))
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(rule, rest)), cameras=["top", "side"])
    looks = [
        seen(picture("1", "a", part="both", camera="side"), boxes((0, 0.9))),
        seen(picture("2", "a", part="both", camera="top"), boxes((0, 0.9))),
        seen(picture("3", "a", part="one", camera="top"), boxes((0, 0.9))),
        seen(picture("4", part="one", camera="side"), Detections.none()),
    ]
    made = assessed(looks, of)
    assert [(part.name, part.bad) for part in made.parts] == [("both", True), ("one", False)]
    assert counts(made) == (0, 1, 0, 1)
    assert any("a part is bad when they reject what is labelled" in note for note in made.report.notes)


def test_lengths_in_mm_are_those_of_the_camera() -> None:
    """Ten pixels are one mm: the scratch of 30 px is longer than 2 mm, that of 10 px is not."""
    rule = DefectRule("long", frozenset([0]), EVERYWHERE, larger_than=(("length_mm", 2.0),))
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(rule, REST)), cameras=["top"])
    plane = (0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0)
    lens = Calibration((100, 100), (90.0, 90.0, 50.0, 50.0), (0.0,) * 4, plane=plane)
    of = replace(of, plans={"top": replace(of.plans["top"], calibration=lens)})
    looks = [
        seen(picture("long", things=(scratch(30),)), of_length(30)),
        seen(picture("short", things=(scratch(10),)), of_length(10)),
    ]
    made = assessed(looks, of)
    assert [part.bad for part in made.parts] == [True, False]
    assert counts(made) == (0, 1, 0, 1)


def test_good_pictures_of_one_name_stay_apart(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
        files.append(tmp_path / name / "1.png")
    for part in ("1.png", "0.png"):  # the first is somebody's part already
        told = with_good(truth([picture("0.png", part=part)]), [*files, files[0]])
        assert len(told.pictures) == 3
        assert len({one.part for one in told.pictures}) == 3
        assert len({one.name for one in told.pictures}) == 3
    with pytest.raises(ConfigError, match=r"good pictures are missing: .*none\.png"):
        with_good(told, [tmp_path / "none.png"])


# --- labels that do not fit -------------------------------------------------------------------------------------------

MEASURES = subject(["gap"], task="measure", criteria=Criteria(("gap",), limits=(Limits(1, 2, "mm"),)))


@pytest.mark.parametrize(
    ("of", "labelled", "words"),
    [
        pytest.param(TWO, picture("1", "c"), "of the classes c; bundle handmade has the classes a, b", id="a class"),
        pytest.param(TWO, picture("1", "a", good=True), "said to be good, but has a; correct one", id="contradiction"),
        pytest.param(TWO, picture("1", values={"gap": 1.0}), "measures none", id="values for a detector"),
        pytest.param(MEASURES, picture("1", values={"size": 1.0}), "values size; bundle handmade measures gap", id="v"),
        pytest.param(MEASURES, picture("1", "a"), r"expected columns such as value\.gap", id="boxes for a gauge"),
        pytest.param(
            MEASURES,
            picture("1", values={"gap": 5.0}, good=True),
            "said to be good, but has gap 5; correct one",
            id="good beyond limits",
        ),
    ],
)
def test_labels_that_the_bundle_cannot_have_meant_are_refused(of: Subject, labelled, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_fit(truth([labelled]), of.bundle, of.criteria)


def test_an_anomaly_has_any_name_and_good_is_none() -> None:
    of = subject(["anomaly"], task="anomaly")
    pictures = [picture(name, classes=(name,), things=None) for name in ("good", "hole", "crack")]
    check_fit(truth(pictures), of.bundle, of.criteria)
    looks = [seen(one, boxes((0, score))) for one, score in zip(pictures, (0.6, 0.4, 0.9), strict=True)]
    made = assessed(looks, of)
    assert counts(made) == (1, 2, 1, 1)
    assert made.report.auroc == pytest.approx(0.5)


@pytest.mark.parametrize(("name", "value"), [("c", 0.5), ("a", 0.01), ("a", 1.5)])
def test_thresholds_of_no_class_or_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"threshold {name}={value:g}"):
        with_thresholds(TWO, {name: value})


# --- wanted escapes ---------------------------------------------------------------------------------------------------


def scored(bad: list[float], good: list[float], c: int = 0) -> list[Seen]:
    name = "ab"[c]
    looks = [seen(picture(f"bad {i}", name), boxes((c, s)) if s else Detections.none()) for i, s in enumerate(bad)]
    return looks + [seen(picture(f"good {i}"), boxes((c, s)) if s else Detections.none()) for i, s in enumerate(good)]


@pytest.mark.parametrize(
    ("bad", "good", "escapes", "threshold", "counted"),
    [
        pytest.param([0.9, 0.8], [0.2, 0.4], 0.1, 0.6, (0, 0), id="the middle of the gap"),
        pytest.param([0.9, 0.3], [0.2, 0.4], 0.1, 0.25, (0, 1), id="every bad part must be caught"),
        pytest.param([0.9, 0.3], [0.2, 0.4], 0.5, 0.65, (1, 0), id="one of two may escape"),
        pytest.param([0.9, 0.8, 0.5], [0.2], 0.4, 0.35, (0, 0), id="what costs nothing is caught, too"),
        pytest.param([0.9], [0.0], 0.1, 0.475, (0, 0), id="nothing seen on good parts: down to the floor"),
        pytest.param([0.9, 0.0], [0.2], 0.1, None, (1, 1), id="one that shows nothing: no threshold reaches it"),
        pytest.param([0.6], [], 0.1, 0.6, (0, 0), id="no good part: nothing speaks for less"),
        pytest.param([0.60002], [0.60001], 0.1, 0.60002, (0, 0), id="a gap that is finer than four digits"),
    ],
)
def test_the_threshold_for_wanted_escapes(
    bad: list[float], good: list[float], escapes: float, threshold: float | None, counted: tuple[int, int]
) -> None:
    made = assessed(scored(bad, good), escapes=escapes)
    assert made.report.wanted is not None
    for one in (made.report.wanted.common, made.report.wanted.classes[0]):
        if threshold is None:
            assert one.threshold is None
        else:
            assert one.threshold == pytest.approx(threshold, abs=1.01e-4)
        assert (one.escapes.count, one.overkill.count) == counted
    together = made.report.wanted.together  # of one class
    assert (together.escapes.count, together.overkill.count) == counted


@pytest.mark.parametrize("floor", [0.25, 0.35])  # as a float32 the second is less
def test_a_bad_part_that_shows_no_more_than_the_floor_is_caught(floor: float) -> None:
    of = replace(TWO, bundle=replace(TWO.bundle, score_floor=floor))
    found = wanted(parts_of(scored([floor, 0.8], [0.0]), of), of, 0.1)
    assert found is not None
    assert (found.common.threshold, found.common.escapes.count) == (floor, 0)


def test_a_class_by_itself_is_not_helped_by_the_others() -> None:
    """Part 1 has both defects, and b is what the model sees of it."""
    looks = [
        seen(picture("1", "a", "b"), boxes((0, 0.3), (1, 0.9))),
        seen(picture("2"), boxes((0, 0.4))),
    ]
    made = assessed(looks, escapes=0.1)
    assert made.report.wanted is not None
    a, b = made.report.wanted.classes
    assert (a.name, a.overkill.count) == ("a", 1)
    assert a.threshold == pytest.approx(0.175, abs=1e-4)
    assert (b.name, b.overkill.count, b.threshold) == ("b", 0, pytest.approx(0.475, abs=1e-4))
    common = made.report.wanted.common
    assert (common.threshold, common.overkill.count) == (pytest.approx(0.65, abs=1e-4), 0)
    assert (made.report.wanted.together.escapes.count, made.report.wanted.together.overkill.count) == (0, 1)


def test_proof_takes_many_parts() -> None:
    few = assessed(scored([0.9] * 20, [0.1]), escapes=0.1).report.wanted
    many = assessed(scored([0.9] * 40, [0.1]), escapes=0.1).report.wanted
    assert few is not None
    assert many is not None
    assert (few.common.proven, many.common.proven) == (False, True)
    assert few.parts_to_prove == 35


@pytest.mark.parametrize("escapes", [0.5, 0.1, 0.02, 0.01, 0.001])
def test_so_many_parts_prove_it_and_one_less_does_not(escapes: float) -> None:
    n = parts_to_prove(escapes)
    assert wilson(0, n)[1] <= escapes + 1e-12
    assert wilson(0, n - 1)[1] > escapes


def test_the_critical_score_knows_rules() -> None:
    """Three of a make the part bad: the third strongest decides."""
    rule = DefectRule("three", frozenset([0]), EVERYWHERE, at_least=3)
    of = subject(["a", "b"], criteria=Criteria(("a", "b"), rules=(rule, REST)), cameras=["top"])
    (part,) = parts_of([seen(picture("1", "a"), boxes((0, 0.9), (0, 0.7), (0, 0.3), (0, 0.2)))], of)
    assert critical(part, of, [0], alone=True) == np.float32(0.3)
    (two,) = parts_of([seen(picture("1", "a"), boxes((0, 0.9), (0, 0.7)))], of)
    assert critical(two, of, [0], alone=True) == -math.inf


def test_a_score_of_one_is_still_a_matter_of_thresholds() -> None:
    """Maps of classes are sure of all that they show."""
    (part,) = parts_of([seen(picture("1", "a"), boxes((0, 1.0), (1, 1.0)))], TWO)
    assert critical(part, TWO, [0], alone=True) == 1.0
    assert critical(part, TWO, [0], alone=False) == math.inf  # b rejects it anyway
    assert critical(part, TWO, [0, 1], alone=False) == 1.0


def test_what_is_rejected_anyway_is_no_matter_of_thresholds() -> None:
    of = subject(["fine", "dent"], task="classify", good=[0])
    (part,) = parts_of([seen(picture("1", classes=("dent",), things=None), classified(0.1, 0.9))], of)
    assert critical(part, of, [1], alone=False) == math.inf


SCORES = st.lists(st.floats(0.0625, 1.0, width=32), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(bad=SCORES, good=SCORES, escapes=st.sampled_from([0.05, 0.2, 0.5]))
def test_a_found_threshold_keeps_what_it_promises_at_the_least_overkill(
    bad: list[float], good: list[float], escapes: float
) -> None:
    parts = parts_of(scored(bad, good), TWO)
    found = wanted(parts, TWO, escapes)
    assert found is not None
    assert found.common.threshold is not None  # everything is seen
    assert found.common.escapes.count <= escapes * len(bad)
    possible = [  # every threshold that makes a difference
        sum(np.float32(s) >= t for s in good)
        for t in map(np.float32, [*bad, *good, 0.05])
        if sum(np.float32(s) < t for s in bad) <= escapes * len(bad)
    ]
    assert found.common.overkill.count == min(possible)


@pytest.mark.parametrize("escapes", [0.0, 1.0, -0.1, math.nan])
def test_a_share_that_is_none_is_refused(escapes: float) -> None:
    with pytest.raises(ConfigError, match="expected a share above 0 and below 1"):
        assessed(scored([0.9], [0.1]), escapes=escapes)


def test_without_a_bad_part_there_is_nothing_to_reach() -> None:
    with pytest.raises(ConfigError, match="no part of the truth is bad"):
        assessed(scored([], [0.1]), escapes=0.1)


def test_measured_values_have_no_threshold(tmp_path: Path) -> None:
    looks = [
        seen(picture("1", values={"gap": 1.5}, things=None), Measurement((1.4,))),
        seen(picture("2", values={"gap": 2.5}, things=None), Measurement((1.9,))),
        seen(picture("3", values={"gap": 1.1}, things=None), Measurement((0.9,))),
    ]
    made = assessed(looks, MEASURES, 0.1)
    assert counts(made) == (1, 1, 1, 2)
    assert (made.report.wanted, made.report.auroc, made.report.classes) == (None, None, ())
    (gap,) = made.report.values
    assert (gap.name, gap.unit, gap.pictures) == ("gap", "mm", 3)
    assert (gap.mae, gap.bias, gap.worst) == pytest.approx((0.3, -0.3, 0.6))
    json.loads(made.report.to_json())
