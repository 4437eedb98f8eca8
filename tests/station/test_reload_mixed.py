"""What was begun by the recipe before a reload, and comes in after it: it is never judged by a mixture of both."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from file_rig import FileRig, Hands, hands
from order_rig import JumpingClock
from station_rig import SIDE
from structlog.testing import capture_logs

from edge_inspector import pipeline
from edge_inspector.datatypes import Evaluation, Frame, Mode, Picture, PreparePlan, Reason
from edge_inspector.engine.limits_file import LimitsFile
from edge_inspector.health.progress import ProgressBook
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.settings.golden import HealthSettings
from edge_inspector.stages.camera_findings import Finding
from edge_inspector.station.camera_health import NAME
from edge_inspector.station.events import (
    Exposed,
    Inferred,
    Job,
    LineEvent,
    ModelLoaded,
    ModelWarm,
    Pulse,
    RecipesTaken,
    SettingDone,
    ViewFailed,
)
from edge_inspector.station.gpu_thread import GpuThread
from edge_inspector.station.health_words import kept_alarms
from edge_inspector.station.model_room import ModelRoom, Renewal
from edge_inspector.station.parts import RecipeSet
from edge_inspector.station.rereading import read_again

pytestmark = pytest.mark.anyio
GOLDEN = {"after_changeover": False, "parts": [{"id": "G", "expect": "OK"}, {"id": "B", "expect": "NOT_OK"}]}


@pytest.fixture
def rig(tmp_path: Path) -> FileRig:
    rig = FileRig(tmp_path)
    rig.recipe("r", trigger="line", deadline_ms=60_000)
    rig.recipe("other", number=2, trigger="line", deadline_ms=60_000)
    return rig


def refeature(rig: FileRig, name: str) -> None:
    """Other pictures: another exposure."""
    old = rig.recipes[name]
    views = tuple(view.model_copy(update={"features": {"Gain": 3.0}}) for view in old.settings.views)
    settings = old.settings.model_copy(update={"views": views})
    rig.recipes[name] = replace(
        old, settings=settings, plans={camera: replace(plan) for camera, plan in old.plans.items()}
    )


async def exposed(on: Hands, number: int, arrival_ns: int, plan: PreparePlan) -> None:
    await on.line.handle(Exposed(Picture("a", number), None, "r", arrival_ns, plan=plan))


async def test_a_picture_of_before_that_was_prepared_by_the_new_recipe_is_no_part_of_the_old_one(rig: FileRig) -> None:
    async with hands(rig) as on:
        old_plan, came_ns = on.now.plans["a"], time.monotonic_ns()
        refeature(rig, "r")
        await on.reload()
        on.look()
        shown = on.line.by_itself("a")
        assert shown is not None
        assert shown[1] is on.now.plans["a"] is not old_plan
        await exposed(on, 1, came_ns, shown[1])
        await exposed(on, 2, came_ns, old_plan)
        assert [(r.evaluation, r.reason) for r in rig.link.results] == [(Evaluation.UNDEFINED, Reason.NOT_READY)]
        assert len(on.line.work.open) == 1, "the one by the plan before, and by its recipe"


async def test_a_picture_by_the_plan_before_is_never_judged_by_the_new_recipe(rig: FileRig) -> None:
    async with hands(rig) as on:
        old_plan = on.now.plans["a"]
        refeature(rig, "r")
        await on.reload()
        on.look()
        await on.obey()
        await on.line.handle(ModelLoaded("r", ""))
        await on.line.handle(SettingDone("a", on.line.condition.asked["a"], ""))
        on.look()
        assert on.line.condition.blocked() is None
        await exposed(on, 1, time.monotonic_ns(), old_plan)
        assert [(r.evaluation, r.reason) for r in rig.link.results] == [(Evaluation.UNDEFINED, Reason.RECIPE)]
        await exposed(on, 2, time.monotonic_ns(), on.now.plans["a"])
        assert len(on.line.work.open) == 1


async def test_a_limit_that_changes_makes_no_picture_foreign(rig: FileRig) -> None:
    async with hands(rig) as on:
        old_plan = on.now.plans["a"]
        rig.judge_by("r", 0.7)
        rig.recipes["r"] = replace(rig.recipes["r"], plans={"a": replace(old_plan)})
        await on.reload()
        await exposed(on, 1, time.monotonic_ns(), old_plan)
        (opened,) = on.line.work.open.values()
        assert opened.inspection.job.thresholds.by_class == (0.7, 0.7)


async def test_an_announced_part_still_gets_its_picture_when_the_file_changes_the_trigger(tmp_path: Path) -> None:
    rig = FileRig(tmp_path)
    made = rig.recipe("r", trigger="announced", window_ms=(0, 5000), deadline_ms=60_000)
    async with hands(rig) as on:
        on.line.parts.clock.jump(60)  # type: ignore[attr-defined]
        await on.line.handle(Pulse(alive=True))
        seq = await on.part()
        on.line._by_itself.announce(seq, on.line.parts.clock.monotonic_ns())
        settings = made.settings.model_copy(update={"trigger": "line", "window_ms": None})
        rig.recipes["r"] = replace(made, settings=settings, plans={"a": replace(made.plans["a"])})
        await on.reload()
        await exposed(on, 1, on.line.parts.clock.monotonic_ns(), made.plans["a"])
        assert list(on.line.work.open) == [seq], "no second part of it"
        assert on.line.work.parts_of == {Picture("a", 1): seq}


def test_the_model_refuses_a_picture_that_was_prepared_for_the_recipe_before(rig: FileRig) -> None:
    parts, events, seen = rig.parts(), list[LineEvent](), threading.Semaphore(0)
    old = rig.recipes["r"]
    rig.retrain("r")
    new = replace(rig.recipes["r"], plans={"a": replace(old.plans["a"])})
    recipes = {**rig.recipes, "r": new}

    def post(event: LineEvent) -> None:
        if isinstance(event, RecipesTaken | Inferred | ViewFailed):
            events.append(event)
            seen.release()

    gpu = GpuThread(parts.backend, parts.engines, dict(parts.recipes), parts.clock, ProgressBook(parts.clock), 8, post)
    thread = threading.Thread(target=gpu.run)
    thread.start()
    try:
        gpu.order_renewal(Renewal(1, recipes, {}, frozenset({"r"})))
        assert seen.acquire(timeout=10)
        gpu.order_load("r")
        frame = Frame("a", 1, 0, 0, np.zeros((SIDE, SIDE), np.uint8), "Mono8")
        for number, plan in enumerate((old.plans["a"], new.plans["a"])):
            while gpu.loaded().get("r") is None:
                time.sleep(0.002)
            job = Job(Picture("a", number), "r", pipeline.prepare(frame, plan), 1, 0, 0, None, plan)
            assert gpu.put(job)
            assert seen.acquire(timeout=10)
    finally:
        gpu.stop()
        thread.join()
    taken, refused, judged = events
    assert isinstance(taken, RecipesTaken)
    assert isinstance(refused, ViewFailed)
    assert refused.reason is Reason.NOT_READY
    assert isinstance(judged, Inferred)


async def test_posted_pictures_wait_until_the_model_is_the_new_recipes(rig: FileRig) -> None:
    """The GPU thread may be loading, and has the model of before under the same name."""
    async with hands(rig) as on:
        rig.retrain("r")
        await on.reload()
        answers: list[OrderAnswer] = []
        on.line.manual.order("anna", "p", {}, answers.append)
        assert answers[-1].text == "the recipes of the station file are being taken over"
        assert answers[-1].facts == {"not_ready": True}


async def test_a_master_part_that_the_recipe_before_has_judged_proves_nothing_of_the_one_now(rig: FileRig) -> None:
    """A line camera's picture that was there when the file was taken over, and whose part begins after it."""
    rig.judge_by("r", 0.5, golden=rig.recipe("g", number=9, golden=GOLDEN).settings.golden)
    del rig.recipes["g"]
    async with hands(rig) as on:
        golden, before = on.line.condition.golden, on.now
        golden.mode_on(on.now, "anna")
        on.line.condition.mode = Mode.GOLDEN
        rig.judge_by("r", 0.7)
        await on.reload()
        for recipe in (before, on.now):
            seq = on.line._accept(1, "G", on.line.parts.clock.monotonic_ns(), None, 0, recipe)
            await on.settle(seq)
        assert golden._book.run is not None
        assert [one.part for one in golden._book.run.shown] == ["G"]
        assert golden._judged_before == set()


async def test_parts_in_work_by_the_rules_before_teach_the_thresholds_of_the_new_ones_nothing(rig: FileRig) -> None:
    rig.judge_by("r", 0.5, adaptive=AdaptiveSettings.model_validate({"policy": "guarded"}))
    async with hands(rig) as on:
        first = await on.part()
        rig.judge_by("r", 0.7)
        await on.reload()
        own = await on.part()
        learner, taught = on.line.condition.thresholds.learners["r"], list[int]()
        learner._judged = lambda part: taught.append(part.seq)  # type: ignore[method-assign]
        for seq in (first, own):
            await on.settle(seq)
        assert taught == [own]
        assert learner.seq == first, "where a restart goes on"


async def test_what_a_person_has_said_of_thresholds_comes_back_with_the_recipe(rig: FileRig) -> None:
    """A file that has it no more, or other rules, for a while."""
    rig.judge_by("other", 0.5, adaptive=AdaptiveSettings.model_validate({"policy": "guarded"}))
    async with hands(rig) as on:
        thresholds, kept = on.line.condition.thresholds, rig.recipes["other"]
        thresholds.learners["other"].freeze("anna")
        sums = dict.fromkeys(("model", "golden", "rules"), "f" * 64)
        limits = LimitsFile.model_validate(
            {"schema": 1, "recipe": "other", **sums, "utc": "", "good": 0, "by_class": ()}
        )
        thresholds._limit(thresholds.learners["other"], limits)
        del rig.recipes["other"]
        await on.reload()
        await on.obey()
        assert "other" not in thresholds.learners
        rig.recipes["other"] = replace(kept)
        await on.reload()
        await on.obey()
        assert thresholds.learners["other"].frozen_by == "anna"
    told = rig.events("thresholds_limits")
    assert len(told) == 2, "they are looked at again"


@pytest.mark.parametrize("stops", [True, False])
async def test_an_alarm_of_a_camera_that_stops_the_station_outlives_other_limits(rig: FileRig, *, stops: bool) -> None:
    """As it outlives a restart: somebody has to look at the camera, and to say so."""
    rig.judge_by("r", 0.5, health=HealthSettings.model_validate({"stops": stops}))
    async with hands(rig) as on:
        health = on.line.camera_health
        health._sights["r", "a"].found = (
            Finding("position", "alarm", "it has moved"),
            Finding("dirt", "warning", "dirt"),
        )
        rig.judge_by("r", 0.5, health=HealthSettings.model_validate({"stops": stops, "pictures": 7}))
        await on.reload()
        await on.obey()
        assert [one.kind for one in health._sights["r", "a"].found] == (["position"] if stops else [])
        assert ("it has moved" in health.why_not(on.now)) is stops
        rig.judge_by("r", 0.5, health=None)
        await on.reload()
    with closing(sqlite3.connect(rig.ledger)) as book:
        ((kept,),) = book.execute("SELECT value FROM kept WHERE name = ?", (NAME,))
    assert kept_alarms(kept) == []


def test_whatever_the_checks_do_ends_no_running_station(rig: FileRig) -> None:
    before = rig.read()

    def broken() -> RecipeSet:
        raise RecursionError("too deep")

    def odd() -> RecipeSet:
        return replace(before, configuration=None)  # type: ignore[arg-type]

    for again in (broken, odd):
        with capture_logs():  # to print a traceback for people takes seconds
            (mistake,) = cast(tuple[str, ...], read_again(again, before, JumpingClock(), proven=False))
        assert mistake.startswith("the checks themselves failed: ")


def test_nothing_of_models_that_are_gone_is_kept_over_many_reloads(rig: FileRig) -> None:
    parts, posted = rig.parts(), list[LineEvent]()
    room = ModelRoom(parts.backend, parts.engines, dict(rig.recipes), None, posted.append)
    room.preload("r")
    for number in range(1, 40):
        rig.retrain("r")
        room.renew(Renewal(number, dict(rig.recipes), {}, frozenset({"r"})))
        room.select("r")
    assert {key[0] for key in room._sizes} == {key[0] for key in room._models} == {"sha-other", "sha-r" + "+" * 39}
    assert len(room._loaded) == len(room._keys) == 2
    assert sum(isinstance(one, ModelWarm) for one in posted) == 39
