"""A reload and what lies around the parts: builds, rates, releases, limits, log, images, keys, the last good file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from file_rig import FileRig, hands, settings_of
from order_rig import JumpingClock

from edge_inspector import log
from edge_inspector.config import StationConfig
from edge_inspector.config.reload import changed_keys
from edge_inspector.datatypes import ThresholdState
from edge_inspector.settings.line_rules import RejectRateRule, TrendRule
from edge_inspector.station.changes import Configuration
from edge_inspector.station.events import FileRead
from edge_inspector.station.renewal import differences
from edge_inspector.station.rereading import FileNow, read_again
from edge_inspector.station.threshold_kept import Release

pytestmark = pytest.mark.anyio


@pytest.fixture
def rig(tmp_path: Path) -> FileRig:
    rig = FileRig(tmp_path)
    rig.recipe("r")
    rig.recipe("other", number=2)
    return rig


@pytest.fixture
def level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    log.set_level("info")
    logging.getLogger().setLevel(before)


def changed(before: str, after: str, folder: Path) -> tuple[list[str], list[str]]:
    return changed_keys(settings_of(folder, before), settings_of(folder, after))


@pytest.mark.parametrize(
    ("before", "after", "live", "fixed"),
    [
        pytest.param("", "[images]\n", [], ["images"], id="a table that is new is one key"),
        pytest.param("[images]\n", "", [], ["images"], id="and so is one that is gone"),
        pytest.param("[images]\n", "[images]\nmax_gb = 9.0\n", ["images.max_gb"], [], id="a limit"),
        pytest.param("[images]\n", "[images]\nqueue_mb = 77\n", [], ["images.queue_mb"], id="a queue is made once"),
        pytest.param("", '[log]\nlevel = "debug"\n', ["log.level"], [], id="level"),
        pytest.param("", "[log]\njson_lines = true\n", [], ["log.json_lines"], id="what it looks like"),
        pytest.param("", "[ledger]\nmax_mb = 77\n", ["ledger.max_mb"], [], id="the book's size"),
        pytest.param("", '[ledger]\nsynchronous = "normal"\n', [], ["ledger.synchronous"], id="how safe it is"),
        pytest.param("", '[publishers.x]\ntype = "mqtt"\nhost = "h"\n', [], ["publishers.x"], id="a publisher"),
    ],
)
def test_each_key_counts_at_once_or_needs_a_restart(
    tmp_path: Path, before: str, after: str, live: list[str], fixed: list[str]
) -> None:
    assert changed(before, after, tmp_path) == (live, fixed)


def test_a_window_of_arrival_is_another_way_for_pictures_to_come(rig: FileRig) -> None:
    rig.judge_by("r", 0.5, window_ms=(0, 50))
    before = rig.read()
    rig.judge_by("r", 0.5, window_ms=(0, 70))
    assert differences(before, rig.read(), proven=False).outdated == {"r"}


def test_a_calibration_that_is_another_in_the_same_file_needs_a_restart(rig: FileRig) -> None:
    key = "cameras.a.calibration_file"
    one, other = (
        replace(now, configuration=Configuration({**now.configuration.values, key: words}))
        for now, words in zip([rig.read()] * 2, ("sha256 1", "sha256 2"), strict=True)
    )
    outcome = cast(FileNow, read_again(lambda: other, one, JumpingClock(), proven=False))
    assert outcome.fixed == (f"{key} (its content)",)


@pytest.mark.usefixtures("level")
async def test_level_images_and_builds_hear_of_the_new_file(rig: FileRig) -> None:
    async with hands(rig) as on:
        heard: dict[str, Any] = {}
        images = SimpleNamespace(renew=lambda *said: heard.update(images=said))
        object.__setattr__(on.line.parts, "images", images)
        on.line.reload.forget_builds = lambda recipes: heard.update(forgotten=recipes)
        rig.retrain("r")
        outcome = read_again(rig.read, on.line.reload._now, JumpingClock(), proven=False)
        assert isinstance(outcome, FileNow)
        now: StationConfig = settings_of(rig.folder, '[images]\nmax_gb = 9.0\n[log]\nlevel = "error"\n')
        await on.line.handle(
            FileRead("anna", replace(outcome, now=replace(outcome.now, settings=now)), on.answers.append)
        )
        on.line.reload.look()
        assert on.answers[-1].done
        settings, calibrations = heard["images"]
        assert (settings.max_gb, calibrations) == (9.0, {"a": None})
        assert heard["forgotten"] == {"r"}
        assert log._enough.least == logging.ERROR
        object.__setattr__(on.line.parts, "images", None)


async def test_why_a_file_was_refused_is_said_until_one_is_taken(rig: FileRig) -> None:
    async with hands(rig) as on:
        assert on.line.reload.refused == ""
        rig.broken = ["is odd"]
        await on.reload()
        assert "is odd" in on.line.reload.refused
        rig.broken = []
        await on.reload()
        assert on.line.reload.refused == ""


async def test_only_a_content_with_which_the_station_was_ready_is_a_good_one(rig: FileRig) -> None:
    async with hands(rig) as on:
        reload, condition = on.line.reload, on.line.condition
        condition.halted = True
        reload.look()
        assert reload._good.empty()
        condition.halted = False
        reload.look()
        first = reload._good.get_nowait()
        assert first == reload._now.content
        rig.judge_by("r", 0.7)
        condition.halted = True
        await on.reload()
        assert reload._good.empty()
        condition.halted = False
        reload.look()
        assert reload._good.get_nowait() == reload._now.content != first


async def test_a_release_is_the_recipes_also_when_it_has_changed(rig: FileRig) -> None:
    async with hands(rig) as on:
        thresholds = on.line.condition.thresholds
        release = Release(limits="x", who="anna", utc="2026-11-22T00:00:00.000Z")
        thresholds.learners["r"].set_release(release)
        rig.judge_by("r", 0.7)
        await on.reload()
        assert thresholds.learners["r"].release == release
        assert thresholds.now(on.now) == ThresholdState((0.7, 0.7)), "it was for another threshold, and has lapsed"


async def test_a_rate_that_was_told_is_told_no_more_when_its_rule_is_gone_and_stays_with_one_that_stays(
    rig: FileRig,
) -> None:
    def rate(name: str, parts: int = 10) -> RejectRateRule:
        return RejectRateRule.model_validate({"kind": "reject_rate", "name": name, "above": 0.5, "parts": parts})

    trend = TrendRule.model_validate({"kind": "trend", "name": "t", "rise": 0.1})
    rig.line_rules = [rate("stays"), rate("goes"), rate("changes"), trend]
    async with hands(rig) as on:
        rules = on.line.condition.line_rules
        before, rising = {rule.name: rate for rule, rate in rules._rates}, rules._trends[0][1]
        rules._keep(told=("stays", "goes"))
        rig.line_rules = [trend, rate("changes", 20), rate("stays")]
        await on.reload()
        now = {rule.name: rate for rule, rate in rules._rates}
        assert now["stays"] is before["stays"]
        assert now["changes"] is not before["changes"]
        assert rules._trends[0][1] is rising
        assert rules._kept.told == ("stays",)


async def test_an_answer_to_an_earlier_order_of_recipes_is_no_answer_to_this_one(rig: FileRig) -> None:
    async with hands(rig) as on:
        rig.retrain("r")
        await on.reload()
        on.look()
        (renewal,) = on.renewals
        on.renewals[-1] = replace(renewal, number=renewal.number - 1)
        why = on.line.models.why_not("r")
        await on.obey()
        assert on.line.models.why_not("r") == why


async def test_a_changeover_that_is_under_way_goes_to_the_recipe_as_it_is_now(rig: FileRig) -> None:
    async with hands(rig) as on:
        changeover = on.line.changeover
        on.line._plc_orders.select(on.line.parts.recipes["other"], "test")
        on.look()
        assert changeover.under_way
        assert not changeover.waits_for_parts
        rig.judge_by("other", 0.7)
        await on.reload()
        assert changeover._under_way is not None
        assert changeover._under_way.after is on.now
        assert on.now.thresholds.by_class == (0.7, 0.7)
