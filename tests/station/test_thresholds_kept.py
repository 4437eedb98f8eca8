"""What thresholds have learnt is a function of the verdicts: killed and started again they are where they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from station_rig import Rig
from threshold_rig import Fed, adaptive_recipe, book, fed, limits_of

from edge_inspector.engine.limits_file import write_limits
from edge_inspector.interfaces import PartFeedback
from edge_inspector.station.threshold_book import EVERY
from edge_inspector.station.threshold_learner import Learner

NOISE = [((i * 37 % 100) / 250, (i * 53 % 100) / 200) for i in range(400)]
"""Peaks of good parts: up to 0.4 and 0.5."""


DOINGS = st.lists(
    st.sampled_from(("part", "part", "part", "reject", "good", "bad", "blurred", "sharp", "late")), max_size=25
)


@settings(deadline=None, max_examples=6)
@given(first=st.sampled_from((0, 40, 90)), doings=DOINGS, more=st.integers(0, 12))
def test_killed_at_any_moment_they_go_on_as_if_nothing_had_been(first: int, doings: Sequence[str], more: int) -> None:
    with TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        recipe = adaptive_recipe(rig, policy="guarded", shadow="percentile")
        write_limits(rig.folder, limits_of(recipe))
        with fed(rig, power_cut=True) as before:
            before.run(NOISE[:first])
            for i, doing in enumerate(doings):
                do(before, doing, NOISE[200 + i])
            before.part(*NOISE[399])  # notes that the pictures have become better or worse
            book(before)
            before.run(NOISE[:more])  # these are in the flight record alone
            learnt, now = before.learnt(), before.now()
        with fed(rig) as after:
            assert after.learnt() == learnt
            assert after.now() == now


def do(line: Fed, doing: str, peaks: tuple[float, float]) -> None:
    """One thing that may happen on a line."""
    if doing == "late":  # the first is settled last
        triggers = [line.accept() for _ in range(3)]
        for trigger in reversed(triggers):
            line.settle(trigger, *peaks)
    elif doing in ("good", "bad"):
        seq = line.seq - 3
        if seq > 0:
            line.thresholds.feedback(PartFeedback(seq % 50, 9, good=doing == "good"))
    elif doing in ("blurred", "sharp"):
        line.drift[0] = "camera a is out of focus" if doing == "blurred" else ""
    elif doing == "reject":
        line.part(0.7, peaks[1])
    else:
        line.part(*peaks)


def test_what_is_open_when_the_process_is_killed_teaches_nothing_and_holds_nothing_up(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as before:
        before.run(NOISE[:30])
        lost = before.accept()
        before.settle(before.accept(), 0.2, 0.2)
        assert before.thresholds.learners["r"].seq == lost.seq - 1, "the one before it is open"
    with fed(rig) as after:
        assert after.thresholds.learners["r"].seq == lost.seq + 1
        after.part(0.1, 0.1)
        assert after.thresholds.learners["r"].seq == lost.seq + 2


def test_little_is_learnt_again_after_a_kill(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig, power_cut=True) as before:
        before.run(NOISE[:EVERY] * 3)
        book(before)
        before.run(NOISE[:7])
    replayed: list[int] = []
    judged = Learner._judged
    monkeypatch.setattr(Learner, "_judged", lambda *a: replayed.append(1) or judged(*a))  # type: ignore[func-returns-value]
    with fed(rig):
        assert len(replayed) == 7


@pytest.mark.parametrize(
    ("changed", "anew"),
    [({"policy": "tail", "shadow": "guarded"}, False), ({"window": 120}, True), ({"reserve": 0.2}, True)],
    ids=["the shadow becomes the judge", "other numbers", "another reserve"],
)
def test_only_what_bears_on_learning_makes_it_begin_anew(rig: Rig, changed: dict[str, object], anew: bool) -> None:
    adaptive_recipe(rig, policy="fixed", shadow="guarded")
    with fed(rig) as before:
        before.run(NOISE[:60])
        learnt = before.thresholds.learners["r"].shown()[0].classes[0].learnt
    assert learnt == 60
    adaptive_recipe(rig, **{"policy": "guarded", "shadow": "fixed", **changed})
    with fed(rig) as after:
        guarded = next(one for one in after.thresholds.learners["r"].shown() if one.policy != "tail")
        assert guarded.classes[0].learnt == (0 if anew else 60)
        assert [event.code for event in after.events] == (["thresholds_anew"] if anew else [])


def test_another_model_begins_anew_and_older_parts_teach_it_nothing(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as before:
        before.run(NOISE[:60])
    rig.recipes["r"] = replace(rig.recipes["r"], model_hash="c" * 64)
    with fed(rig) as after:
        assert after.thresholds.learners["r"].shown()[0].classes[0].learnt == 0
        assert "model, rules or the numbers" in after.events[0].text


def test_what_cannot_be_read_begins_anew_and_says_so(rig: Rig) -> None:
    adaptive_recipe(rig, policy="guarded")
    with fed(rig) as before:
        before.run(NOISE[:60])
    with closing(sqlite3.connect(rig.ledger)) as connection, connection:
        connection.execute("UPDATE kept SET value = '{\"of\": 7}' WHERE name = 'thresholds/r'")
    with fed(rig) as after:
        assert after.thresholds.learners["r"].shown()[0].classes[0].learnt == 0
        assert after.events[0].text.startswith("recipe r learns its thresholds anew: what was learnt cannot be read: ")


def test_a_recipe_that_rested_while_another_ran_is_where_it_was(rig: Rig) -> None:
    adaptive_recipe(rig, "r", policy="guarded")
    adaptive_recipe(rig, "other", policy="guarded")
    with fed(rig, power_cut=True) as before:
        before.run(NOISE[:50])
        before.run(NOISE[:EVERY], recipe="other")
        book(before)
        before.run(NOISE[:20], recipe="other")
        learnt = before.learnt("r"), before.learnt("other")
    with fed(rig) as after:
        assert (after.learnt("r"), after.learnt("other")) == learnt
