"""Thresholds of a running line: what teaches them, who may let them rise, and what they never do."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from station_rig import Rig
from threshold_rig import BASE, GOLDEN, Fed, adaptive_recipe, book, fed, limits_of

from edge_inspector.control.client import MAX_LINE
from edge_inspector.datatypes import Evaluation, Mode
from edge_inspector.engine.limits_file import LimitsFile, read_limits, write_limits
from edge_inspector.interfaces import OrderAnswer, PartFeedback
from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.thresholds import ClassLimits
from edge_inspector.station.threshold_orders import Feedback, Freeze, OfRecipe, Show

POLICIES: Sequence[Policy] = ("percentile", "guarded", "tail")
GOOD = [(0.02 + (i * 37 % 100) / 5000, 0.03 + (i * 53 % 100) / 5000) for i in range(200)]
"""Peaks of good parts, all below 0.05: every policy would like stricter thresholds than 0.5."""
DRIFTED = [(0.40 + (i * 37 % 100) / 1000, 0.1) for i in range(200)]
"""Good parts that reach the threshold of 0.5: every policy would like a looser one."""


def ordered(fed: Fed, name: str, asked: Any) -> OrderAnswer:
    """As `Orders` carries it out."""
    answer: OrderAnswer = fed.thresholds.orders()[name][1]("anna", asked, lambda _: None)
    return answer


def released(rig: Rig, **adaptive: Any) -> LimitsFile:
    """A recipe with limits in its state folder, and a release in the book."""
    limits = limits_of(adaptive_recipe(rig, **adaptive))
    write_limits(rig.folder, limits)
    with fed(rig) as first:
        assert ordered(first, "thresholds_release", OfRecipe(recipe="r")).done
    return limits


# --- who judges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shadow", POLICIES)
def test_a_shadow_changes_no_verdict(rig: Rig, shadow: Policy) -> None:
    write_limits(rig.folder, limits_of(adaptive_recipe(rig, policy="fixed", shadow=shadow)))
    with fed(rig) as line:
        ordered(line, "thresholds_release", OfRecipe(recipe="r"))
        results = [line.part(*row) for row in [*GOOD, *DRIFTED[:60]]]
        proposed = line.thresholds.learners["r"].shown()[0].classes[0].now
    assert proposed != BASE[0], "it would move"
    assert {(one.thresholds, one.policy) for one in results} == {(BASE, "fixed")}


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_release_no_threshold_is_ever_looser_than_the_recipe(rig: Rig, policy: Policy) -> None:
    write_limits(rig.folder, limits_of(adaptive_recipe(rig, policy=policy, shadow="fixed")))
    with fed(rig) as line:
        results = [line.part(*row, ok=True) for row in [*GOOD[:120], *DRIFTED, *[(0.79, 0.79)] * 60]]
    assert {one.policy for one in results} == {policy}
    assert max(max(one.thresholds) for one in results) == 0.5
    assert results[119].thresholds < BASE, "but stricter it may be"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_burst_of_100_true_defects_moves_no_threshold_above_its_ceiling(rig: Rig, policy: Policy) -> None:
    released(rig, policy=policy, shadow="fixed")
    with fed(rig) as line:
        line.run(GOOD)
        before = line.now().by_class
        for i in range(100):
            line.part(0.82 + i / 1000, 0.9)
        assert line.now().by_class == before, "rejects teach nothing"
        for i in range(100):  # and those that slip through
            line.part(0.75, 0.6 + i / 400, ok=True)
        assert max(line.now().by_class) <= 0.8
        line.run(GOOD)
        assert max(line.now().by_class) <= 0.8


@pytest.mark.parametrize("policy", ["guarded", "tail"])
def test_after_the_release_thresholds_follow_good_parts_up_to_the_ceiling(rig: Rig, policy: Policy) -> None:
    released(rig, policy=policy, shadow="fixed")
    with fed(rig) as line:
        for row in DRIFTED:
            line.part(*row, ok=True)
        assert 0.5 < line.now().by_class[0] <= 0.8


def test_classes_that_are_no_defect_keep_their_threshold(rig: Rig) -> None:
    recipe = adaptive_recipe(rig, policy="guarded")
    rig.recipes["r"] = replace(recipe, criteria=replace(recipe.criteria, good=frozenset({1})))
    with fed(rig) as line:
        line.run(GOOD)
        first, second = line.now().by_class
    assert first < 0.5
    assert second == 0.5


def test_only_whole_production_parts_of_this_model_teach(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as line:

        def learnt() -> int:
            return line.thresholds.learners["r"].shown()[0].classes[0].learnt

        line.part(0.1, 0.1)
        assert learnt() == 1
        line.part(0.1, 0.1, evaluation=Evaluation.UNDEFINED)
        line.part(0.1, 0.1, evaluation=Evaluation.NOT_DECIDABLE)
        line.part(0.1, 0.1, views_judged=0)
        line.part(0.1, 0.1, model_hash="another")
        line.part(0.1, 0.1, peaks=())
        line.part(0.9, 0.1)
        for mode in (Mode.GOLDEN, Mode.SETUP, Mode.SIMULATION, Mode.MANUAL):
            line.settle(line.accept(mode=mode), 0.1, 0.1)
        assert learnt() == 1
        line.part(0.1, 0.1)
        assert learnt() == 2


def test_verdicts_out_of_order_are_learnt_from_in_the_order_of_acceptance(rig: Rig) -> None:
    adaptive_recipe(rig, policy="percentile")
    with fed(rig) as line:
        line.run(GOOD[:30])
        slow, quick = line.accept(), line.accept()
        before = line.now()
        line.settle(quick, 0.4, 0.4)
        assert line.now() == before
        line.settle(slow, 0.3, 0.3)
        assert line.thresholds.learners["r"].seq == quick.seq


# --- a release --------------------------------------------------------------------------------------------------------


def test_a_release_is_given_once_and_stands_in_the_audit_trail(rig: Rig) -> None:
    write_limits(rig.folder, limits_of(adaptive_recipe(rig, policy="guarded")))
    with fed(rig) as line:
        assert ordered(line, "thresholds_release", OfRecipe(recipe="r")) == OrderAnswer(done=True)
        again = ordered(line, "thresholds_release", OfRecipe(recipe="r"))
        assert again.text.startswith("was released by anna at ")
        book(line)
        audit = rows(rig, "SELECT who, detail FROM audit WHERE what = 'thresholds_released'")
    assert len(audit) == 1
    assert audit[0][0] == "anna"
    assert "dark 0.500, from 0.100 to 0.800: 0 of 40 golden defects missed at the ceiling, at most 7.2%" in audit[0][1]


def test_a_release_survives_a_restart_and_its_end_too(rig: Rig) -> None:
    released(rig, policy="guarded")
    with fed(rig) as line:
        assert line.thresholds.learners["r"].released
        assert line.thresholds.warning(rig.recipes["r"]) == ""
        for row in DRIFTED:
            line.part(*row, ok=True)
        assert line.now().by_class[0] > 0.5
        assert ordered(line, "thresholds_revoke", OfRecipe(recipe="r")).done
        assert line.now().by_class[0] == 0.5, "at once, not after a while"
    with fed(rig) as line:
        assert not line.thresholds.learners["r"].released
        assert line.now().by_class[0] <= 0.5
        assert ordered(line, "thresholds_revoke", OfRecipe(recipe="r")).text == "was not released"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model": "d" * 64}, "another model"),
        ({"golden": "d" * 64}, "another golden set"),
        ({"rules": "d" * 64}, "other rules"),
        ({"by_class": ((0.1, 0.8, 40, 0, 0.07),)}, "of 1 classes, expected 2"),
    ],
)
def test_limits_of_something_else_are_told_and_not_taken(rig: Rig, changed: dict[str, Any], why: str) -> None:
    recipe = adaptive_recipe(rig, policy="guarded")
    write_limits(rig.folder, limits_of(recipe, **changed))
    with fed(rig) as line:
        assert why in line.events[0].text
        answer = ordered(line, "thresholds_limits", limits_of(recipe, **changed))
        assert not answer.done
        assert why in answer.text
        assert "has no limits" in ordered(line, "thresholds_release", OfRecipe(recipe="r")).text


def test_a_release_does_not_outlive_its_golden_set(rig: Rig) -> None:
    limits = released(rig, policy="guarded")
    other = limits_of(rig.recipes["r"], golden="d" * 64)
    with fed(rig, golden="d" * 64) as line:
        assert not line.thresholds.learners["r"].released
        assert ordered(line, "thresholds_limits", other).done
        assert not line.thresholds.learners["r"].released, "new limits need a new release"
        assert "by anna was for another model, golden set" in line.thresholds.warning(rig.recipes["r"])
        assert [event.code for event in line.events] == ["thresholds_limits", "thresholds_release_lapsed"]
    with fed(rig, golden=GOLDEN) as line:
        assert ordered(line, "thresholds_limits", limits).done
        assert line.thresholds.learners["r"].released, "the old ones are what was released"


def test_the_same_limits_made_again_need_no_new_release(rig: Rig) -> None:
    released(rig, policy="guarded")
    write_limits(rig.folder, limits_of(rig.recipes["r"], utc="2027-01-01T00:00:00.000Z"))
    with fed(rig) as line:
        assert line.thresholds.learners["r"].released


def test_nothing_is_released_without_enough_golden_defects(rig: Rig) -> None:
    few = ((0.1, 0.5, 29, 0, 0.1), (0.1, 0.5, 0, 0, 1.0))
    write_limits(rig.folder, limits_of(adaptive_recipe(rig, policy="guarded"), by_class=few))
    with fed(rig) as line:
        answer = ordered(line, "thresholds_release", OfRecipe(recipe="r"))
    assert not answer.done
    assert "that takes 30 golden defects of it" in answer.text


def test_a_damaged_file_of_limits_is_told_and_nothing_rises(rig: Rig) -> None:
    limits = released(rig, policy="guarded")
    (rig.folder / "thresholds" / "r.json").write_text(limits.to_json()[:-9])
    with fed(rig) as line:
        assert "run it again" in line.events[0].text
        assert not line.thresholds.learners["r"].released


@pytest.mark.parametrize(
    "name", ["thresholds_limits", "thresholds_release", "thresholds_revoke", "thresholds_freeze", "feedback"]
)
def test_what_cannot_be_written_down_is_not_done(rig: Rig, name: str) -> None:
    recipe = adaptive_recipe(rig, policy="guarded")
    write_limits(rig.folder, limits_of(recipe))
    with fed(rig) as line:
        result = line.part(0.9, 0.9)
        line.parts.ledger.healthy = False
        asked = {"thresholds_limits": limits_of(recipe, good=7), "thresholds_freeze": Freeze(recipe="r", on=True)}
        asked |= {"feedback": Feedback(result_id=result.result_id, good=True)}
        before = line.learnt()
        answer = ordered(line, name, asked.get(name, OfRecipe(recipe="r")))
        assert (answer.done, answer.facts) == (False, {"not_ready": True})
        assert line.learnt() == before


# --- what people say, and freezing -----------------------------------------------------------------------------------


def test_a_reject_that_somebody_calls_good_is_learnt(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as line:
        line.run(GOOD[:30])
        reject = line.part(0.6, 0.1)
        assert line.thresholds.learners["r"].shown()[0].classes[0].learnt == 30
        assert ordered(line, "feedback", Feedback(result_id=reject.result_id, good=True)).done
        assert line.thresholds.learners["r"].shown()[0].classes[0].learnt == 31
        book(line)
        assert rows(rig, "SELECT trigger_seq, plc_boot_id, good FROM feedback") == [(31, 9, 1)]
        assert rows(rig, "SELECT who, detail FROM audit WHERE what = 'part_feedback'") == [
            ("anna", f"{reject.result_id} was good")
        ]


def test_the_plc_speaks_of_the_newest_part_of_its_number(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as line:
        line.run(GOOD[:30])
        old = line.part(0.9, 0.1)
        line.run(GOOD[:49])
        new = line.part(0.6, 0.1)
        assert old.trigger.trigger_seq == new.trigger.trigger_seq
        before = line.thresholds.learners["r"].shown()[0].classes[0].learnt
        line.thresholds.feedback(PartFeedback(new.trigger.trigger_seq, 8, good=True))
        assert line.thresholds.learners["r"].shown()[0].classes[0].learnt == before, "another start of the PLC"
        line.thresholds.feedback(PartFeedback(new.trigger.trigger_seq, 9, good=True))
        assert line.thresholds.learners["r"].shown()[0].classes[0].learnt == before + 1


def test_what_was_said_survives_a_kill(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as line:
        line.run(GOOD[:30])
        reject = line.part(0.6, 0.1)
        ordered(line, "feedback", Feedback(result_id=reject.result_id, good=True))
        book(line)
        line.run(GOOD[30:40])
        learnt = line.learnt()
    with fed(rig) as line:
        assert line.learnt() == learnt
        assert ordered(line, "feedback", Feedback(result_id=reject.result_id, good=False)).done, "it is remembered"


def test_who_never_stops_talking_fills_no_book(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as line:
        reject = line.part(0.6, 0.1)
        for i in range(250):
            line.thresholds.feedback(PartFeedback(reject.trigger.trigger_seq, 9, good=i % 2 == 0))
        book(line)
        ((noted,),) = rows(rig, "SELECT value FROM kept WHERE name = 'thresholds-since/r'")
        assert len(json.loads(noted)["noted"]) == 50
        learnt = line.learnt()
    with fed(rig) as line:
        assert line.learnt() == learnt


@pytest.mark.parametrize(
    "wrong", ["", "s.00000000.1", "x.y", "s.{book}.99", "s.{book}.-1", "s.{book}.١", "s.{book}." + "9" * 30]
)
def test_feedback_on_what_nobody_knows_is_refused(rig: Rig, wrong: str) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as line:
        line.part(0.9, 0.9)
        answer = ordered(line, "feedback", Feedback(result_id=wrong.format(book=line.parts.ledger.book), good=True))
        assert not answer.done
        assert "none of the last 10000 production parts" in answer.text


def test_frozen_thresholds_do_not_move_until_somebody_lets_them_also_over_a_restart(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as line:
        line.run(GOOD[:60])
        assert ordered(line, "thresholds_freeze", Freeze(recipe="r", on=True)).done
        assert ordered(line, "thresholds_freeze", Freeze(recipe="r", on=True)).text == "was frozen by anna"
        held = line.now()
        line.run(GOOD[60:100])
        assert line.now() == held
        book(line)
    with fed(rig) as line:
        line.run(GOOD[100:130])
        assert line.now() == held
        assert ordered(line, "thresholds_freeze", Freeze(recipe="r", on=False)).done
        line.run(GOOD[:60])
        assert line.now() != held


def test_a_bad_part_is_heard_of_while_frozen_also_over_a_kill(rig: Rig) -> None:
    recipe = adaptive_recipe(rig, policy="guarded")
    write_limits(rig.folder, limits_of(recipe))
    with fed(rig, power_cut=True) as line:
        ordered(line, "thresholds_release", OfRecipe(recipe="r"))
        passed = line.part(0.6, 0.1, ok=True)
        ordered(line, "thresholds_freeze", Freeze(recipe="r", on=True))
        ordered(line, "feedback", Feedback(result_id=passed.result_id, good=False))
        book(line)
    with fed(rig) as line:
        ceilings = [one.ceiling for one in line.thresholds.learners["r"].shown()[0].classes]
        assert ceilings[0] < 0.6 < ceilings[1]


@pytest.mark.parametrize("peak", [1.5, -0.1, float("nan")])
def test_scores_that_are_no_shares_teach_nothing_and_stop_no_line(rig: Rig, peak: float) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as line:
        before = line.learnt()["states"]
        line.part(peak, 0.1)
        assert line.learnt()["states"] == before


def test_while_the_pictures_drift_nothing_moves_and_one_alarm_says_so(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as line:
        line.run(GOOD[:60])
        held = line.now()
        line.drift[0] = "camera a is out of focus"
        line.run(GOOD[60:90])
        assert line.now() == held
        alarms = [event for event in line.events if event.severity == "alarm"]
        assert [event.text for event in alarms] == ["recipe r: camera a is out of focus"]
        assert "camera a" in line.thresholds.warning(rig.recipes["r"])
        book(line)
        line.run(GOOD[90:95])
        learnt = line.learnt()
    with fed(rig) as line:
        assert line.learnt() == learnt, "the replay knows that it drifted"
        line.run(GOOD[:60])
        assert line.now() != held


def test_a_drift_in_shadow_alarms_nobody(rig: Rig) -> None:
    adaptive_recipe(rig, policy="fixed", shadow="guarded")
    with fed(rig) as line:
        line.drift[0] = "camera a is out of focus"
        line.run(GOOD[:30])
        assert line.events == []
        assert line.thresholds.warning(rig.recipes["r"]) == ""


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_what_is_shown_names_each_policy_and_where_it_would_go(rig: Rig) -> None:
    write_limits(rig.folder, limits_of(adaptive_recipe(rig, policy="fixed", shadow="guarded")))
    with fed(rig) as line:
        line.run(GOOD)
        answer = ordered(line, "thresholds", Show(recipe=None))
        assert "has r" in ordered(line, "thresholds", Show(recipe="no")).text
    shown = answer.facts["recipes"]["r"]
    assert (shown["policy"], shown["shadow"], shown["released"]) == ("fixed", "guarded", False)
    assert (shown["fixed"], shown["now"]) == ([0.5, 0.5], [0.5, 0.5])
    (guarded,) = shown["policies"]
    assert (guarded["policy"], guarded["judges"]) == ("guarded", False)
    first = guarded["classes"][0]
    assert (first["class_name"], first["floor"], first["ceiling"], first["learnt"]) == ("dark", 0.1, 0.8, 100)
    assert first["estimate"]["low"] <= first["estimate"]["wanted"] <= first["estimate"]["high"]


def test_limits_are_read_as_they_were_written(rig: Rig) -> None:
    limits = limits_of(adaptive_recipe(rig))
    assert read_limits(rig.folder, "r") is None
    write_limits(rig.folder, limits)
    assert read_limits(rig.folder, "r") == limits


@pytest.mark.parametrize(
    "row",
    [(0.8, 0.1, 40, 0, 0.07), (0.1, 1.5, 40, 0, 0.07), (0.1, float("nan"), 40, 0, 0.07), (0.1, 0.8, 3, 4, 0.07)],
    ids=["floor above ceiling", "above 1", "no number", "more missed than there are"],
)
def test_limits_that_cannot_be_are_refused_before_the_line_sees_them(
    rig: Rig, row: tuple[float, float, int, int, float]
) -> None:
    good = limits_of(adaptive_recipe(rig, policy="guarded"))
    with pytest.raises(ValidationError):
        limits_of(rig.recipes["r"], by_class=(row, row))
    said = good.to_json().replace("[0.1,0.8,40,0,0.0722]", json.dumps(row).replace("(", "[").replace(")", "]"))
    (rig.folder / "thresholds").mkdir()
    (rig.folder / "thresholds" / "r.json").write_text(said)
    with fed(rig) as line:
        assert "is not what `edge-inspector thresholds limits` writes" in line.events[0].text
        assert line.thresholds.learners["r"].limits is None


def test_limits_of_many_classes_fit_one_request_and_lose_nothing_that_counts() -> None:
    found = [ClassLimits(0.1 + 0.2, 2 / 3, 12_345, 123, 0.012301)] * 80
    (first, *_) = made = LimitsFile.rows(found)
    assert first == (0.3, 0.666666666, 12_345, 123, 0.0124)
    assert len(json.dumps(made)) < MAX_LINE - 500


def rows(rig: Rig, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{rig.ledger}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
