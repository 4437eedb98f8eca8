"""The gate: which pairs of verdicts let an engine pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.datatypes import Evaluation
from edge_inspector.engine.verdicts import Compared, Verdict, compare, worst

OK, NOT_OK = Evaluation.OK, Evaluation.NOT_OK
UNDEFINED, NOT_DECIDABLE = Evaluation.UNDEFINED, Evaluation.NOT_DECIDABLE


def pair(label: str, reference: Evaluation, engine: Evaluation, name: str = "x.png") -> Compared:
    return Compared(name, label, Verdict(reference, "seen by it"), Verdict(engine, "seen here"))  # type: ignore[arg-type]


def golden(*more: Compared, good: int = 20, bad: int = 20) -> list[Compared]:
    """`good` and `bad` pictures of which both models say what they are, and `more`."""
    return [pair("good", OK, OK)] * good + [pair("bad", NOT_OK, NOT_OK)] * bad + list(more)


EVALUATIONS = st.sampled_from(Evaluation)
PAIRS = st.builds(pair, st.sampled_from(["good", "bad", ""]), EVALUATIONS, EVALUATIONS)


@given(st.lists(PAIRS, max_size=20), st.integers(0, 250), st.integers(0, 250), st.floats(0, 0.1), PAIRS)
def test_no_combination_passes_with_a_reject_that_became_an_ok(
    more: list[Compared], good: int, bad: int, limit: float, one: Compared
) -> None:
    flipped = pair(one.label, one.reference.evaluation if one.reference.evaluation is not OK else NOT_OK, OK)
    found = compare(golden(*more, flipped, good=good, bad=bad), limit)
    assert found.outcome == "failed"
    assert any(flip.escape for flip in found.flips)


@given(st.lists(PAIRS, max_size=60), st.integers(0, 250), st.integers(0, 250), st.floats(0, 0.1))
def test_what_passes_has_no_escape_little_overkill_and_enough_pictures(
    more: list[Compared], good: int, bad: int, limit: float
) -> None:
    pictures = golden(*more, good=good, bad=bad)
    found = compare(pictures, limit)
    passed_by_reference = [one for one in pictures if one.reference.evaluation is OK]
    overkill = [one for one in passed_by_reference if one.engine.evaluation is not OK]
    assert found.overkill == len(overkill)
    if found.outcome == "passed":
        assert not any(one.engine.evaluation is OK and one.reference.evaluation is not OK for one in pictures)
        assert len(overkill) <= limit * len(passed_by_reference) + 1e-6
        assert not overkill or len(pictures) >= 200
        assert found.good >= 20
        assert found.bad >= 20


@pytest.mark.parametrize(
    ("reference", "engine", "outcome"),
    [
        (NOT_OK, OK, "failed"),
        (NOT_DECIDABLE, OK, "failed"),
        (UNDEFINED, OK, "failed"),
        (OK, NOT_OK, "failed"),
        (OK, NOT_DECIDABLE, "failed"),
        (OK, UNDEFINED, "failed"),
        (NOT_OK, UNDEFINED, "passed"),
        (NOT_OK, NOT_DECIDABLE, "passed"),
        (NOT_DECIDABLE, NOT_OK, "passed"),
        (UNDEFINED, NOT_OK, "passed"),
        (UNDEFINED, UNDEFINED, "passed"),
        (OK, OK, "passed"),
    ],
)
@pytest.mark.parametrize("label", ["good", "bad", ""])
def test_one_picture_more_decides(label: str, reference: Evaluation, engine: Evaluation, outcome: str) -> None:
    found = compare(golden(pair(label, reference, engine)), overkill_limit=0.1)
    assert found.outcome == outcome
    assert len(found.flips) == (reference is not engine)


@pytest.mark.parametrize(
    ("passed", "rejected", "limit", "outcome"),
    [
        (179, 1, 0.005, "failed"),  # 0.005 of 180 is less than one
        (199, 1, 0.005, "passed"),  # 0.005 of 200 is one
        (198, 2, 0.005, "failed"),
        (399, 1, 0.0, "failed"),
        (150, 1, 0.1, "failed"),  # 20 bad ones more are 171: fewer than 200
        (178, 1, 0.1, "failed"),  # 199
        (178, 2, 0.1, "passed"),  # 200
        (162, 18, 0.1, "passed"),  # 0.1 of 180 is 18, whatever floats say
        (161, 19, 0.1, "failed"),
    ],
)
def test_overkill_is_allowed_as_a_share_of_many_pictures(
    passed: int, rejected: int, limit: float, outcome: str
) -> None:
    found = compare(golden(*[pair("good", OK, NOT_OK)] * rejected, good=passed), limit)
    assert (found.outcome, found.overkill) == (outcome, rejected)


@pytest.mark.parametrize(
    ("good", "bad", "lacking"),
    [(19, 20, "add 1 more good pictures"), (20, 0, "add 20 more bad pictures"), (3, 7, "17 more good and 13 more bad")],
)
def test_too_few_pictures_prove_nothing_and_the_text_says_what_to_add(good: int, bad: int, lacking: str) -> None:
    found = compare(golden(good=good, bad=bad), 0.005)
    assert found.outcome == "unverified"
    assert lacking in found.text


def test_too_few_pictures_can_still_fail() -> None:
    assert compare([pair("bad", NOT_OK, OK)], 0.005).outcome == "failed"
    assert compare([pair("good", OK, UNDEFINED)], 0.005).outcome == "failed"


def test_of_several_thresholds_the_worst_counts() -> None:
    same, other = pair("bad", NOT_OK, NOT_OK), pair("bad", NOT_OK, NOT_DECIDABLE)
    overkill, escape = pair("bad", OK, NOT_OK), pair("bad", NOT_OK, OK)
    assert worst([same, other, overkill, escape]) is escape
    assert worst([same, other, overkill]) is overkill
    assert worst([same, other]) is other
    assert worst([same, pair("bad", OK, OK)]) is same


def test_nothing_is_proven_by_pictures_to_which_the_engine_has_no_answer() -> None:
    found = compare(golden(*[pair("bad", NOT_OK, UNDEFINED)] * 20, bad=0), 0.005)
    assert (found.outcome, found.good, found.bad) == ("unverified", 20, 0)
    assert "(20 of 40 were not)" in found.text
    assert len(found.unanswered) == 20


@pytest.mark.parametrize("word", [OK, NOT_DECIDABLE])
def test_a_reference_that_does_not_see_what_people_see_proves_nothing(word: Evaluation) -> None:
    """An engine that is blind, or always in doubt, would be equal to it."""
    label = "bad" if word is OK else "good"
    found = compare(golden(*[pair(label, word, word)] * 20, **{label: 19}), 0.005)
    assert found.outcome == "unverified"
    assert f"add 1 more {label} pictures" in found.text


def test_nothing_is_proven_by_pictures_to_which_the_reference_has_no_answer() -> None:
    found = compare(golden(*[pair("bad", UNDEFINED, NOT_OK)] * 20, bad=0), 0.005)
    assert (found.outcome, found.bad) == ("unverified", 0)


def test_without_labels_the_reference_says_what_is_good() -> None:
    same = [pair("", OK, OK)] * 20 + [pair("", NOT_OK, NOT_OK)] * 19
    assert compare(same, 0.005).outcome == "unverified"
    found = compare([*same, pair("", NOT_DECIDABLE, NOT_OK)], 0.005)
    assert (found.outcome, found.good, found.bad) == ("passed", 20, 20)


def test_each_flipped_picture_is_named_with_both_verdicts() -> None:
    found = compare(golden(pair("bad", NOT_OK, OK, "a.png"), pair("good", OK, NOT_OK, "b.png")), 0.005)
    assert [(flip.picture, flip.label, flip.reference, flip.engine, flip.escape) for flip in found.flips] == [
        ("a.png", "bad", "NOT_OK", "OK", True),
        ("b.png", "good", "OK", "NOT_OK", False),
    ]
    assert (found.flips[0].reference_text, found.flips[0].engine_text) == ("seen by it", "seen here")
    assert "passed by the engine: a.png;" in found.text
    assert "allowed 0: b.png" in found.text


def test_a_long_list_is_cut_in_the_text_and_whole_in_the_flips() -> None:
    escapes = [pair("bad", NOT_OK, OK, f"{i}.png") for i in range(9)]
    found = compare(golden(*escapes), 0.005)
    assert "9 pictures are rejected" in found.text
    assert "0.png, 1.png, 2.png, 3.png, 4.png and 4 more" in found.text
    assert len(found.flips) == 9
