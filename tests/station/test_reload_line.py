"""What a reload does to the parts of the station, event by event: nothing runs but what the test hands over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from file_rig import FileRig, hands

from edge_inspector.datatypes import Mode, Picture, Reason
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.settings.golden import HealthSettings
from edge_inspector.settings.line_rules import ConsecutiveRule
from edge_inspector.station.camera_health import Nothing
from edge_inspector.station.events import PostedPictures, ViewFailed
from edge_inspector.station.manual import _Request
from edge_inspector.station.reload import MOST_WAITING
from edge_inspector.station.renewal import differences

pytestmark = pytest.mark.anyio
GOLDEN = {"after_changeover": False, "parts": [{"id": "G", "expect": "OK"}, {"id": "B", "expect": "NOT_OK"}]}


@pytest.fixture
def rig(tmp_path: Path) -> FileRig:
    rig = FileRig(tmp_path)
    rig.recipe("r", golden=GOLDEN, adaptive={"policy": "guarded"})
    rig.recipe("other", number=2)
    return rig


async def test_a_recipe_that_is_as_it_was_stays_the_same_object(rig: FileRig) -> None:
    async with hands(rig) as on:
        r, other = on.now, on.line.parts.recipes["other"]
        rig.recipes["other"] = replace(other)
        rig.judge_by("r", 0.7)
        assert (await on.reload()) is not None
        assert on.now is on.line.parts.recipes["r"] is not r
        assert on.now.settings is rig.recipes["r"].settings
        assert on.line.parts.recipes["other"] is other
        assert not on.line.changeover.under_way


async def test_a_file_without_any_difference_says_so(rig: FileRig) -> None:
    async with hands(rig) as on:
        before = on.now
        answer = await on.reload()
        assert answer == OrderAnswer(done=True, text="nothing has changed", facts={"changed": ()})
        assert (on.now, on.renewals) == (before, [])


async def test_the_gpu_thread_keeps_its_models_until_the_last_part_by_them_is_settled(rig: FileRig) -> None:
    async with hands(rig) as on:
        seq = await on.part()
        rig.retrain("r")
        await on.reload()
        on.look()
        assert on.renewals == []
        assert on.line.changeover.why_not() == "recipe r waits for the last picture of recipe r"
        await on.settle(seq)
        on.look()
        assert [one.outdated for one in on.renewals] == [{"r"}]
        assert "waits for the last verdict" in on.line.changeover.why_not()
        loads: list[str] = []
        on.line.models.order_load = loads.append
        await on.obey()
        assert loads == ["r"]


async def test_a_file_that_was_read_waits_while_a_changeover_has_parts_in_work(rig: FileRig) -> None:
    async with hands(rig) as on:
        seq = await on.part()
        on.line._plc_orders.select(on.line.parts.recipes["other"], "test")
        on.look()
        rig.judge_by("other", 0.7)
        assert await on.reload() is None
        assert on.now.thresholds.by_class == (0.5, 0.5)
        await on.settle(seq)
        on.look()
        on.look()
        assert on.answers[-1].done
        assert on.now.thresholds.by_class == (0.7, 0.7)


async def test_a_part_by_the_recipe_before_has_its_thresholds_even_when_it_is_accepted_later(rig: FileRig) -> None:
    """A line camera's picture that was there when the file was taken over."""
    async with hands(rig) as on:
        before = on.now
        rig.judge_by("r", 0.7)
        await on.reload()
        seq = on.line._accept(1, "", on.line.parts.clock.monotonic_ns(), None, 0, before)
        assert on.line.work.open[seq].inspection.job.thresholds.by_class == (0.5, 0.5)
        seq = await on.part()
        assert on.line.work.open[seq].inspection.job.thresholds.by_class == (0.7, 0.7)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"deadline_ms": 77.0}, "", id="what does not judge changes nothing of it"),
        pytest.param(
            {"thresholds": 0.7}, "model, rules or the numbers of [adaptive] are others now", id="another limit"
        ),
        pytest.param(
            {"adaptive": AdaptiveSettings.model_validate({"policy": "guarded", "window": 150})},
            "model, rules or the numbers of [adaptive] are others now",
            id="another window",
        ),
    ],
)
async def test_thresholds_go_on_with_what_they_have_learnt_where_it_still_holds(
    rig: FileRig, change: dict[str, object], why: str
) -> None:
    async with hands(rig) as on:
        thresholds = on.line.condition.thresholds
        old = thresholds.learners["r"]
        old.seq = 41
        learnt = old._states["guarded"]
        old._states["guarded"] = learnt = replace(learnt, frozen="by a test")
        limit = change.pop("thresholds", 0.5)
        rig.judge_by("r", limit, **change)  # type: ignore[arg-type]
        await on.reload()
        new = thresholds.learners["r"]
        assert new is not old
        assert new.seq == (on.line.parts.ledger.next_seq - 1 if why else 41), "anew: from the next part on"
        assert (new._states["guarded"].frozen == learnt.frozen) is (not why)
        assert thresholds.learners["other"].recipe is on.line.parts.recipes["other"]
    told = rig.events("thresholds_anew")
    assert told == ([f"recipe r learns its thresholds anew: {why}"] if why else [])


async def test_master_parts_that_were_shown_before_prove_nothing_of_the_recipe_now(rig: FileRig) -> None:
    async with hands(rig) as on:
        golden = on.line.condition.golden
        golden.mode_on(on.now, "anna")
        on.line.condition.mode = Mode.GOLDEN
        good = await on.part("G", Mode.GOLDEN)
        bad = await on.part("B", Mode.GOLDEN)
        rig.judge_by("r", 0.7)
        await on.reload()
        for seq in (good, bad):
            await on.settle(seq)
        assert golden._book.run is not None
        assert golden._book.run.shown == ()
        assert golden._book.run.who == "anna"
        why = golden.why_not(on.now)
        assert why is not None
        assert why[0] is Reason.GOLDEN


async def test_line_rules_that_stay_go_on_counting_and_new_ones_begin(rig: FileRig) -> None:
    def rule(name: str, parts: int) -> ConsecutiveRule:
        return ConsecutiveRule.model_validate({"kind": "consecutive", "name": name, "parts": parts})

    rig.line_rules = [rule("stays", 3), rule("changes", 3), rule("goes", 3)]
    async with hands(rig) as on:
        rules = on.line.condition.line_rules
        before = {name: row for name, _, row in rules._rows}
        rig.line_rules = [rule("new", 2), rule("changes", 4), rule("stays", 3)]
        answer = await on.reload()
        assert answer is not None
        assert answer.done
        now = {name: row for name, _, row in rules._rows}
        assert list(now) == ["new", "changes", "stays"]
        assert now["stays"] is before["stays"]
        assert now["changes"] is not before["changes"]


async def test_limits_of_what_is_kept_hold_at_once(rig: FileRig) -> None:
    async with hands(rig) as on:
        rig.more = "[ledger]\nkeep_days = 3\nmax_mb = 77\n"
        rig.judge_by("r", 0.7)
        answer = await on.reload()
        assert answer is not None
        assert answer.done
        ledger = on.line.parts.ledger
        assert (ledger.settings.keep_days, ledger.settings.max_mb) == (3, 77)
        assert ledger._upkeep.retention.settings is ledger.settings


async def test_a_station_that_stops_takes_nothing_over(rig: FileRig) -> None:
    async with hands(rig) as on:
        rig.judge_by("r", 0.7)
        on.line.condition.stopping = True
        answer = await on.reload()
        assert answer is not None
        assert not answer.done
        assert on.now.thresholds.by_class == (0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "proven", "outdated"),
    [
        pytest.param("limit", False, set(), id="a limit where nothing is proven"),
        pytest.param("limit", True, {"r"}, id="an engine is proven by its recipe's limits"),
        pytest.param("golden", False, set(), id="a golden set where nothing is proven"),
        pytest.param("golden", True, {"r", "other"}, id="an engine is proven by its golden set"),
        pytest.param("model", False, {"r"}, id="another model"),
        pytest.param("features", False, {"r"}, id="another exposure"),
        pytest.param("trigger", False, {"r"}, id="pictures come another way"),
        pytest.param("deadline", True, set(), id="another deadline"),
        pytest.param("new", False, {"third"}, id="a new recipe"),
        pytest.param("gone", False, {"other"}, id="a recipe that is gone"),
    ],
)
def test_models_and_cameras_are_made_ready_anew_only_where_they_must(
    rig: FileRig, change: str, proven: bool, outdated: set[str]
) -> None:
    before = rig.read()
    rig.judge_by("r", 0.7 if change == "limit" else 0.5)
    settings = rig.recipes["r"].settings
    if change == "golden":
        rig.golden = "sha256 f00"
    elif change == "model":
        rig.retrain("r")
    elif change == "features":
        rig.judge_by("r", 0.5, views=(settings.views[0].model_copy(update={"features": {"Gain": 3.0}}),))
    elif change == "trigger":
        rig.judge_by("r", 0.5, trigger="timer", period_s=1.0)
    elif change == "deadline":
        rig.judge_by("r", 0.5, deadline_ms=5.0)
    elif change == "new":
        rig.recipe("third", number=3)
    elif change == "gone":
        del rig.recipes["other"]
    found = differences(before, rig.read(), proven=proven)
    assert found.outdated == outdated
    assert found.changed >= outdated & before.recipes.keys() & found.recipes.keys()


async def test_what_was_found_of_a_camera_stands_where_its_limits_and_features_are_as_they_were(rig: FileRig) -> None:
    rig.judge_by("r", 0.5, health=HealthSettings.model_validate({}))
    rig.judge_by("other", 0.5, health=HealthSettings.model_validate({}))
    async with hands(rig) as on:
        health = on.line.camera_health
        before = dict(health._sights)
        rig.judge_by("r", 0.7)
        rig.judge_by("other", 0.5, health=HealthSettings.model_validate({"pictures": 7}))
        await on.reload()
        assert health._sights["r", "a"] is before["r", "a"]
        assert health._sights["other", "a"].settings.pictures == 7
        await on.obey()
        rig.judge_by("r", 0.7, health=None)
        await on.reload()
        assert list(health._sights) == [("other", "a")]
        assert health.warning(on.now) == ""


async def test_reference_pictures_of_a_recipe_that_was_changed_meanwhile_are_not_kept(rig: FileRig) -> None:
    rig.judge_by("r", 0.5, health=HealthSettings.model_validate({}))
    async with hands(rig) as on:
        health = on.line.camera_health
        assert health._take(on.now, 20, "anna").done
        rig.judge_by("r", 0.7)
        await on.reload()
        progress = health._progress("", Nothing(), None)
        assert not progress.done
        assert progress.text == "the recipe was changed meanwhile; take the pictures again"


async def test_posted_pictures_that_were_prepared_for_the_recipe_before_are_not_judged(rig: FileRig) -> None:
    async with hands(rig) as on:
        manual, answers = on.line.manual, list[OrderAnswer]()
        manual._request = _Request("anna", "p", {}, on.now, answers.append)
        rig.judge_by("r", 0.7)
        await on.reload()
        await on.line.handle(PostedPictures((ViewFailed(Picture("a", -1), None, Reason.BAD_FRAME, ""),), ""))
        manual.turn()
        assert [answer.text for answer in answers] == ["recipe r was changed meanwhile; try again"]


async def test_a_posted_picture_in_work_holds_its_model(rig: FileRig) -> None:
    async with hands(rig) as on:
        manual, answers = on.line.manual, list[OrderAnswer]()
        manual._request = _Request("anna", "p", {}, on.now, answers.append)
        assert manual._begin(manual._request)
        rig.retrain("r")
        await on.reload()
        on.look()
        assert on.renewals == []
        manual.end()
        on.look()
        assert [one.outdated for one in on.renewals] == [{"r"}]


async def test_more_orders_than_a_few_are_not_kept_waiting(rig: FileRig) -> None:
    async with hands(rig) as on:
        order = on.line.reload.order
        assert [order("anna", None, on.answers.append) for _ in range(MOST_WAITING)] == [None] * MOST_WAITING
        refused = order("anna", None, on.answers.append)
        assert refused is not None
        assert refused.facts == {"busy": True}
