"""Setup mode: pictures for the live view, no part, and the way back to READY."""

from __future__ import annotations

import base64
import time
from typing import Any

import anyio
import cv2
import numpy as np
import pytest
from order_rig import JumpingClock, Still, audited, order, quiet_line
from station_rig import SIDE, Rig

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.interfaces import Order, OrderAnswer, RecipeRequest, TriggerRefused, TriggerRequest
from edge_inspector.station.events import CameraDown, CameraUp, FromPlc, Ordered, Pulse, SettingDone
from edge_inspector.station.line import Line

pytestmark = pytest.mark.anyio


async def live(rig: Rig, camera: str = "a", newer_than: int = -1) -> dict[str, Any]:
    """The first picture that is newer than that frame."""
    with anyio.fail_after(10):
        while True:
            answer = await order(rig, "live", camera=camera)
            if answer.done and answer.facts["frame_id"] > newer_than:
                return dict(answer.facts)
            await anyio.sleep(0.02)


async def test_in_setup_mode_the_cameras_take_pictures_that_are_no_parts(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    rig.cameras["a"].gray = 100
    async with rig.running() as link:
        await link.ready()
        assert (await order(rig, "setup", on=True)).done
        status = await link.status(lambda s: not s.ready)
        assert status.mode is Mode.SETUP
        assert status.error_text.startswith("setup mode, ordered by anna")
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        seen = await live(rig)
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(seen["jpeg"]), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        assert picture.shape == (SIDE, SIDE) == (seen["height"], seen["width"])
        assert abs(int(picture.mean()) - 100) <= 1
        assert (seen["sharpness"], seen["saturated"]) == (0.0, 0.0)
        assert seen["mean"] == pytest.approx(100 / 255)
        rig.cameras["a"].gray = 255
        assert (await live(rig, newer_than=seen["frame_id"] + 1))["saturated"] == 1.0
        assert rig.cameras["b"].statistics.frames == 0, "nobody watches it"
        assert (await order(rig, "setup", "bert", on=False)).done
        await link.ready()
        rig.cameras["a"].gray = 0
        link.trigger(2)
        result = await link.result(2)
        assert (result.evaluation, result.trigger.mode, result.trigger.seq) == (Evaluation.OK, Mode.PRODUCTION, 1)
        assert len(link.results) == 1
    assert rig.books().accepted == 1
    assert [(who, what) for who, what, _ in audited(rig)] == [
        ("anna", "setup_on"),
        ("anna", "live_view"),
        ("bert", "setup_off"),
    ]


async def test_a_picture_of_the_live_view_that_comes_again_is_not_the_next_parts(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await order(rig, "setup", on=True)
        await live(rig)
        await order(rig, "setup", on=False)
        await link.ready()
        rig.cameras["a"].step = 0
        link.trigger(1)
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.BAD_FRAME)


async def test_a_damaged_picture_of_the_live_view_has_its_place_before_the_next_parts(rig: Rig) -> None:
    rig.recipe("r")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.damaged = True
        await order(rig, "setup", on=True)
        with anyio.fail_after(10):
            while not camera._number:
                await order(rig, "live", camera="a")
                await anyio.sleep(0.02)
        await order(rig, "setup", on=False)
        await link.ready()
        camera.damaged, camera.step = False, 0
        link.trigger(1)
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.BAD_FRAME)


async def test_in_production_the_live_view_shows_the_parts_own_pictures_and_asks_for_none(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        answer = await order(rig, "live", camera="a")
        assert (answer.done, answer.text[:34]) == (False, "camera a has taken no picture yet;")
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK
        assert (await live(rig))["frame_id"] == 1
        assert rig.cameras["a"].statistics.frames == 1


async def test_a_part_of_a_camera_that_triggers_itself_stays_a_part_in_setup_mode(rig: Rig) -> None:
    """The PLC counts parts: one that passes must have its UNDEFINED."""
    rig.recipe("r", trigger="line")
    async with rig.running() as link:
        await link.ready()
        await order(rig, "setup", on=True)
        await link.status(lambda s: s.mode is Mode.SETUP)
        await order(rig, "live", camera="a")
        rig.cameras["a"].push(100)
        result = await link.until(InspectionResult)
        assert (result.evaluation, result.trigger.mode) == (Evaluation.UNDEFINED, Mode.SETUP)
        assert result.reason_text.startswith("setup mode")
        assert (await live(rig))["mean"] == pytest.approx(100 / 255)


async def test_a_camera_that_is_lost_in_setup_mode_comes_back_to_it(rig: Rig) -> None:
    rig.recipe("r")
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        await order(rig, "setup", on=True)
        before = await live(rig)
        camera.damaged = True
        with anyio.fail_after(10):
            while camera._number < before["frame_id"] + 2:
                await order(rig, "live", camera="a")
                await anyio.sleep(0.02)
        camera.damaged = False
        again = await live(rig, newer_than=before["frame_id"])
        assert camera.opened == 1, "a damaged picture is no reason to open it again"
        camera.lost.set()
        await rig.booked("camera_lost")
        camera.lost.clear()
        assert (await live(rig, newer_than=again["frame_id"]))["frame_id"] > again["frame_id"]
        assert camera.opened == 2
        await order(rig, "setup", on=False)
        await link.ready()
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


# --- event by event ---------------------------------------------------------------------------------------------------


async def set_up(line: Line, on: bool, who: str = "anna") -> OrderAnswer:
    answers: list[OrderAnswer] = []
    await line.handle(Ordered(Order("setup", who, {"on": on}), answers.append))
    return answers[0]


async def watch(line: Line, camera: str) -> None:
    await line.handle(Ordered(Order("live", "anna", {"camera": camera}), lambda _: None))


def ready(line: Line) -> bool:
    return line.condition.blocked() is None


def cameras_of(line: Line) -> Still:
    assert isinstance(line.cameras, Still)
    return line.cameras


async def test_only_cameras_that_are_watched_take_pictures_and_at_most_five_a_second(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        await line.handle(Pulse(alive=True))
        await watch(line, "a")
        await line.handle(Pulse(alive=True))
        assert cameras_of(line).snapped == [], "not in setup mode"
        await set_up(line, True)
        for _ in range(20):
            clock.jump(0.1)
            await watch(line, "a")
            await line.handle(Pulse(alive=True))
        assert set(cameras_of(line).snapped) == {"a"}
        assert 9 <= len(cameras_of(line).snapped) <= 11
        clock.jump(3.1)
        await line.handle(Pulse(alive=True))
        assert len(cameras_of(line).snapped) <= 11, "nobody watches any more"


async def test_no_picture_is_taken_while_a_part_is_still_in_work_or_the_camera_is_away(rig: Rig) -> None:
    rig.recipe("r")
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await set_up(line, True)
        await watch(line, "a")
        await line.handle(Pulse(alive=True))
        assert cameras_of(line).snapped == []
        await line.handle(CameraDown("a", "unplugged"))
        assert not line.work.open
        await line.handle(Pulse(alive=True))
        assert cameras_of(line).snapped == []


async def test_setup_mode_lasts_until_the_last_picture_for_it_is_taken(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        await set_up(line, True)
        cameras_of(line).at_it.add("a")
        assert await set_up(line, False) == OrderAnswer(done=True)
        await line.handle(Pulse(alive=True))
        assert not ready(line)
        assert (await set_up(line, False)).text == "was not in setup mode"
        cameras_of(line).at_it.clear()
        await line.handle(Pulse(alive=True))
        assert ready(line)


async def test_setup_mode_that_is_ordered_again_while_it_ends_goes_on(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        await set_up(line, True)
        assert (await set_up(line, True, "bert")).text == "was in setup mode before"
        await set_up(line, False)
        assert await set_up(line, True, "carl") == OrderAnswer(done=True)
        await line.handle(Pulse(alive=True))
        assert not ready(line)
        assert line.condition.setup_by == "carl"


async def test_setup_mode_ends_by_itself_ten_minutes_after_the_last_look(rig: Rig) -> None:
    rig.recipe("r")
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        await set_up(line, True)
        for _ in range(3):
            clock.jump(500)
            await watch(line, "a")
            await line.handle(Pulse(alive=True))
        clock.jump(599)
        await line.handle(Pulse(alive=True))
        await line.handle(Pulse(alive=True))
        assert not ready(line)
        clock.jump(2)
        await line.handle(Pulse(alive=True))
        await line.handle(Pulse(alive=True))
        assert ready(line)


async def test_setup_mode_waits_ten_minutes_for_its_first_look_however_long_the_station_runs(rig: Rig) -> None:
    rig.recipe("r")
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        for _ in range(2):
            clock.jump(2000)
            await set_up(line, True)
            for _ in range(2):
                await line.handle(Pulse(alive=True))
            assert not ready(line)
            await set_up(line, False)
            await line.handle(Pulse(alive=True))
            assert ready(line)


async def test_a_station_that_stops_begins_no_setup(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        line.condition.stopping = True
        assert await set_up(line, True) == OrderAnswer(done=False, text="the station is stopping")


async def test_setup_mode_lasts_until_a_camera_that_only_the_recipe_before_uses_has_done_too(rig: Rig) -> None:
    """The PLC may change back at once, and the next part's picture would come behind the live view's."""
    rig.recipe("r", number=1)
    rig.recipe("s", cameras=("b",), number=2)
    async with quiet_line(rig, JumpingClock()) as line:
        await set_up(line, True)
        cameras_of(line).at_it.add("a")
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        for camera in "ab":
            await line.handle(SettingDone(camera, line.condition.asked[camera], ""))
        await set_up(line, False)
        await line.handle(Pulse(alive=True))
        assert not ready(line)
        cameras_of(line).at_it.clear()
        await line.handle(Pulse(alive=True))
        assert ready(line)


async def test_a_camera_that_is_lost_while_setup_mode_ends_does_not_keep_it(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        await set_up(line, True)
        cameras_of(line).at_it.add("a")
        await set_up(line, False)
        await line.handle(CameraDown("a", "unplugged"))
        await line.handle(Pulse(alive=True))
        cameras_of(line).at_it.clear()
        await line.handle(CameraUp("a", 2))
        assert ready(line)
