"""Cameras that hang, freeze, go dark, are swapped or refuse a recipe's features, in a running station."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial

import anyio
import pytest
from station_rig import SIDE, FakeCamera, FakeLink, Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import Calibration, Evaluation, InspectionResult, Reason
from edge_inspector.interfaces import RecipeRequest, StationStatus, TriggerRefused
from edge_inspector.settings import PictureGate
from edge_inspector.station import camera_thread, daemon
from edge_inspector.station.parts import CameraPlan

pytestmark = pytest.mark.anyio
CALIBRATION = Calibration((SIDE, SIDE), (40.0, 40.0, 15.5, 15.5), (0.0, 0.0, 0.0, 0.0), serial="111")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's call counts as hung after a second."""
    monkeypatch.setattr(camera_thread, "PATIENCE_S", 0.0)


async def part(link: FakeLink, seq: int) -> InspectionResult:
    await link.ready()
    link.trigger(seq)
    return await link.result(seq)


@pytest.mark.usefixtures("impatient")
async def test_a_camera_whose_call_hangs_is_replaced_and_what_the_old_one_says_later_is_not_heard(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=300)
    hung, fresh = rig.cameras["a"], FakeCamera("a")
    made = iter([hung, fresh])
    parts = replace(rig.parts(), cameras={"a": CameraPlan(partial(next, made), rig.gate)})
    link, control = rig.link, Control(rig.folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, parts, control)
        assert (await part(link, 1)).evaluation is Evaluation.OK
        hung.stuck.set()
        assert (await part(link, 2)).reason is Reason.DEADLINE
        status = await link.until(StationStatus, lambda s: s.error_code == 101 and "hangs" in s.error_text)
        assert "camera a: the driver hangs in taking a picture" in status.error_text
        assert (await part(link, 3)).evaluation is Evaluation.OK
        hung.gray = 255
        hung.stuck.clear()
        await anyio.sleep(0.3)
        assert (await part(link, 4)).evaluation is Evaluation.OK
        control.stop()
    assert [r.trigger.trigger_seq for r in link.results] == [1, 2, 3, 4]
    assert (hung.opened, fresh.opened) == (1, 1)
    assert rig.books().late == 0


async def test_a_triggered_camera_that_gives_no_picture_is_opened_again(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=5000)
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].hang.set()
        link.trigger(1)
        result = await link.result(1)
        assert (result.reason, result.reason_text) == (
            Reason.NO_FRAME,
            "camera a gave no picture within 0.5 s of its trigger",
        )
        await link.until(StationStatus, lambda s: "gave no picture" in s.error_text)
        rig.cameras["a"].hang.clear()
        await link.ready()
    assert rig.cameras["a"].opened == 2


async def test_a_frozen_camera_gives_no_verdict_and_is_opened_again_after_some_pictures(rig: Rig) -> None:
    rig.recipe("r")
    rig.gate = PictureGate(identical=True, min_brightness=0, max_saturated=1)
    camera = rig.cameras["a"]
    async with rig.running() as link:
        assert (await part(link, 1)).evaluation is Evaluation.OK
        for seq in range(2, 7):
            result = await part(link, seq)
            assert result.reason is Reason.BAD_FRAME
            assert "pixel for pixel the one before" in result.reason_text
        await link.until(StationStatus, lambda s: "5 pictures in a row are the same" in s.error_text)
        camera.gray = 255
        assert (await part(link, 7)).evaluation is Evaluation.NOT_OK
    assert camera.opened == 2


@pytest.mark.parametrize(("gray", "said"), [(0, "gate.min_brightness"), (255, "gate.max_saturated")])
async def test_a_black_or_saturated_picture_is_no_verdict(rig: Rig, gray: int, said: str) -> None:
    rig.recipe("r")
    rig.gate = PictureGate(identical=False)
    rig.cameras["a"].gray = gray
    async with rig.running() as link:
        result = await part(link, 1)
    assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.BAD_FRAME)
    assert said in result.reason_text


@pytest.mark.parametrize(
    ("serial", "image_hw", "said"),
    [
        ("222", (SIDE, SIDE), "has serial 222, its calibration is that of camera 111; are two cameras swapped?"),
        ("111", (SIDE, 2 * SIDE), f"gives pictures of {2 * SIDE} x {SIDE}, its calibration was made at {SIDE} x"),
    ],
)
async def test_a_camera_that_is_not_the_calibrated_one_never_becomes_ready(
    rig: Rig, serial: str, image_hw: tuple[int, int], said: str
) -> None:
    recipe = rig.recipe("r")
    plans = {"a": replace(recipe.plans["a"], calibration=CALIBRATION)}
    rig.recipes["r"] = replace(recipe, plans=plans)
    camera = rig.cameras["a"]
    camera.serial, camera.image_hw = serial, image_hw
    async with rig.running() as link:
        status = await link.status(lambda s: s.error_code == 101 and said in s.error_text)
        assert not status.ready
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.CAMERA
        camera.serial, camera.image_hw = "111", (SIDE, SIDE)
        assert (await part(link, 2)).evaluation is Evaluation.OK


async def test_a_recipes_features_are_applied_before_its_first_part_and_again_after_a_loss(rig: Rig) -> None:
    rig.recipe("short", features={"ExposureTime": 100.0})
    rig.recipe("long", number=2, features={"ExposureTime": 900.0, "Gain": 3.0})
    camera = rig.cameras["a"]
    async with rig.running() as link:
        assert (await part(link, 1)).evaluation is Evaluation.OK
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda s: s.recipe == "long" and s.ready)
        assert camera.features == [{"ExposureTime": 100.0}, {"ExposureTime": 900.0, "Gain": 3.0}]
        camera.lost.set()
        await link.status(lambda s: not s.ready)
        camera.lost.clear()
        await link.ready()
        assert camera.features[2:] == [{"ExposureTime": 900.0, "Gain": 3.0}]


async def test_a_recipe_whose_features_are_refused_keeps_the_station_not_ready_until_another_is_taken(rig: Rig) -> None:
    rig.recipe("good")
    rig.recipe("bad", number=2, features={"ExposureTime": 1e9})
    rig.cameras["a"].refuses = "ExposureTime"
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 2, ""))
        status = await link.status(lambda s: s.recipe == "bad" and s.error_code == 301)
        assert (status.ready, status.recipe_ready) == (False, False)
        assert "camera a: ExposureTime = 1000000000.0, expected less" in status.error_text
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.RECIPE
        link.ask(RecipeRequest(2, 1, ""))
        assert (await part(link, 2)).evaluation is Evaluation.OK


async def test_an_old_picture_is_never_this_parts(rig: Rig) -> None:
    """A driver that gives a picture again that it has given before: the part before was black, this one would be OK."""
    rig.recipe("r")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        assert (await part(link, 1)).evaluation is Evaluation.OK
        camera.step = 0
        result = await part(link, 2)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.BAD_FRAME)
        assert "picture 1: came after picture 1, so it is not of this part" in result.reason_text
        camera.step = 1
        assert (await part(link, 3)).evaluation is Evaluation.OK


async def test_an_old_picture_after_a_damaged_one_is_not_this_parts_either(rig: Rig) -> None:
    """Pictures 1 and 2 change places, and 2 is damaged: what comes for the second part is of the first."""
    rig.recipe("r")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.damaged = True
        camera.step = 2
        assert (await part(link, 1)).reason is Reason.BAD_FRAME
        camera.damaged = False
        camera.step = -1
        result = await part(link, 2)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.BAD_FRAME)
        assert "picture 1: came after picture 2" in result.reason_text
        camera.step = 2
        assert (await part(link, 3)).evaluation is Evaluation.OK


async def test_a_camera_that_is_unplugged_between_parts_is_missed_at_once(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].lost.set()
        status = await link.status(lambda s: not s.ready)
        assert "camera a: unplugged" in status.error_text
        rig.cameras["a"].lost.clear()
        assert (await part(link, 1)).evaluation is Evaluation.OK


async def test_a_camera_that_is_held_at_the_start_is_an_alarm_only_after_its_heartbeat_time_out(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    rig.cameras["a"].lost.set()
    async with rig.running() as link:
        await link.until(StationStatus, lambda s: "camera a: not there" in s.error_text)
        rig.cameras["a"].lost.clear()
        await link.ready()
        rig.cameras["b"].lost.set()
        await link.status(lambda s: not s.ready)
        rig.cameras["b"].lost.clear()
        await link.ready()
    with closing(sqlite3.connect(rig.ledger)) as ledger:
        alarms = ledger.execute("SELECT text FROM events WHERE code = 'camera_lost'").fetchall()
    assert alarms == [("b: camera b: unplugged",)]


async def test_what_every_camera_has_done_is_counted_over_all_its_openings(rig: Rig) -> None:
    rig.recipe("r")
    camera = rig.cameras["a"]
    parts = rig.parts()
    control = Control(rig.folder / "c.sock")
    link = rig.link
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, parts, control)
        await part(link, 1)
        camera.lost.set()
        await link.status(lambda s: not s.ready)
        camera.lost.clear()
        await part(link, 2)
        counted = control.counters()
        control.stop()
    assert (counted["camera_a_frames"], counted["camera_a_opened"], counted["camera_a_lost"]) == (2, 2, 1)


async def test_features_refused_by_a_wrong_camera_are_forgotten_when_the_right_one_is_back(rig: Rig) -> None:
    rig.recipe("r", features={"ExposureTime": 100.0})
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.lost.set()
        await link.status(lambda s: not s.ready)
        camera.refuses = "ExposureTime"
        camera.lost.clear()
        await link.status(lambda s: s.error_code == 301)
        camera.lost.set()
        await link.status(lambda s: s.error_code == 101)
        camera.refuses = ""
        camera.lost.clear()
        assert (await part(link, 1)).evaluation is Evaluation.OK


async def test_a_camera_that_opens_and_fails_again_and_again_is_tried_ever_more_slowly_and_is_one_alarm(
    rig: Rig,
) -> None:
    rig.recipe("r")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.fails_at_once = True
        camera.lost.set()
        await anyio.sleep(3)  # openings after 0.5 s, then 1, then 2
    assert camera.opened <= 4
    with closing(sqlite3.connect(rig.ledger)) as ledger:
        assert ledger.execute("SELECT count(*) FROM events WHERE code = 'camera_lost'").fetchone() == (1,)


async def test_a_picture_that_a_line_camera_lost_is_a_part_without_a_verdict_and_shifts_nothing(rig: Rig) -> None:
    rig.recipe("r", trigger="line")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.push(0)
        camera.push(255, step=3)
        first, *lost, last = [await link.result(seq) for seq in (1, 2, 3, 4)]
    assert (first.evaluation, last.evaluation) == (Evaluation.OK, Evaluation.NOT_OK)
    assert [(r.evaluation, r.reason) for r in lost] == [(Evaluation.UNDEFINED, Reason.NO_FRAME)] * 2
    assert "2 pictures before number 4 are lost" in lost[0].reason_text
    assert rig.books().accepted == 4


async def test_pictures_that_another_recipe_took_are_not_lost_parts_of_a_line_recipe(rig: Rig) -> None:
    rig.recipe("line", trigger="line")
    rig.recipe("announced", number=2, trigger="announced", window_ms=(0, 60), deadline_ms=5000)
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.push(0)
        await link.result(1)
        link.ask(RecipeRequest(1, 2, ""))
        for seq in (101, 102):
            await link.status(lambda s: s.ready and s.recipe == "announced")
            link.trigger(seq)
            camera.push(0)
            assert (await link.result(seq)).evaluation is Evaluation.OK
        link.ask(RecipeRequest(2, 1, ""))
        await link.status(lambda s: s.ready and s.recipe == "line")
        camera.push(255)
        assert (await link.until(InspectionResult, lambda r: r.trigger.plc_boot_id == 0 and r.trigger.seq > 1)).views
    assert [row.evaluation for row in rig.rows()] == [Evaluation.OK] * 3 + [Evaluation.NOT_OK]
