"""The health of the cameras of a running line: found, told, stopped for, mended, and never at a part's cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import cv2
import numpy as np
import pytest
from order_rig import audited, order
from station_rig import FakeCamera, FakeLink, Pushed, Rig

from edge_inspector.datatypes import ERROR_CODE, Evaluation, Frame, InspectionResult, Mode, Picture, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import CommandAnswer, CommandRequest, StationStatus, TriggerRefused
from edge_inspector.stages.camera_health import reference_of
from edge_inspector.stages.camera_reference import Gray
from edge_inspector.station import commands
from edge_inspector.station.health_samples import KEPT, Samples
from edge_inspector.station.reference_files import FOLDER, read_reference
from edge_inspector.station.reference_taking import keep_references

pytestmark = pytest.mark.anyio
SIDE = 96
FEW = {"pictures": 3, "every_s": 0.1}


def still() -> Gray:
    rng = np.random.default_rng(3)
    blurred = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE + 16, SIDE + 16)).astype(np.float32), (0, 0), 2.0)
    return ((blurred - 127) * 3 + 120).clip(30, 230).astype(np.uint8)


class Seeing(FakeCamera):
    """Shows a scene, moved as the test says. It is dark: the rig's model finds no defect in what is below a half."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.image_hw = (SIDE, SIDE)
        self.moved = 0
        self.whole = (still() // 2).astype(np.uint8)
        self.lease: Any = None

    def _frame(self, pushed: Pushed) -> Frame:
        frame = super()._frame(pushed)
        left = 8 - self.moved
        seen = self.whole[8 : 8 + SIDE, left : left + SIDE]
        return replace(frame, pixels=np.ascontiguousarray(seen), lease=self.lease)


def looked_after(rig: Rig, *, reference: bool = True, **health: Any) -> Seeing:
    rig.recipe("r", health={**FEW, **health})
    camera = Seeing("a")
    rig.cameras["a"] = camera
    if reference:
        take(rig)
    return camera


def take(rig: Rig, who: str = "test") -> None:
    picture = np.ascontiguousarray((still() // 2)[8 : 8 + SIDE, 8 : 8 + SIDE])
    keep_references(rig.folder, rig.recipes["r"], {"a": [picture] * 5}, who, "2026-11-22T08:00:00.000Z")


@dataclass
class Parts:
    """Parts one after the other, by number."""

    link: FakeLink
    number: int = 0
    seen: list[InspectionResult] = field(default_factory=list)

    async def come(self, until: Callable[[StationStatus], bool], most: int = 60) -> StationStatus:
        """Parts until the station's status fits."""
        for _ in range(most):
            status = await self.link.status(lambda s: s.ready or until(s))
            if until(status):
                return status
            self.number += 1
            self.link.trigger(self.number)
            with anyio.move_on_after(5):
                self.seen.append(await self.link.result(self.number))
            await anyio.sleep(0.03)  # the thread that measures has the lowest priority
        raise AssertionError(f"no such status within {most} parts: {status}")

    async def some(self, count: int) -> None:
        end = self.number + count
        await self.come(lambda s: self.number >= end and s.ready)


async def test_a_camera_that_is_knocked_stops_the_station_until_somebody_resets(rig: Rig) -> None:
    camera = looked_after(rig)
    async with rig.running() as link:
        parts = Parts(link)
        await parts.some(6)
        camera.moved = 4
        status = await parts.come(lambda s: not s.ready and not s.busy and s.error_code != 0)
        assert status.error_code == ERROR_CODE[Reason.CAMERA]
        assert status.error_text.startswith("camera a: the scene is 4.0 px from where it was (4.0 px right")
        assert status.error_text.endswith("mend it, then Reset")
        assert (status.degraded, status.alarm) == (True, True)
        link.trigger(5000)
        assert (await link.until(TriggerRefused)).reason is Reason.CAMERA
        link.ask(CommandRequest(1, commands.RESET))
        await link.until(CommandAnswer)
        await link.status(lambda s: s.ready and not s.alarm)
        await parts.come(lambda s: not s.ready and s.error_code == ERROR_CODE[Reason.CAMERA])  # nobody has mended it
        assert (await order(rig, "reset")).done
        camera.moved = 0
        await link.status(lambda s: s.ready and not s.degraded)
        await parts.some(6)
        assert not (await link.ready()).degraded
    first, second = rig.events("camera_position")
    assert first == second
    assert first.startswith("recipe r, camera a: the scene is 4.0 px")
    assert rig.books().balanced


async def test_a_warning_lets_parts_through_and_goes_when_the_camera_is_well(rig: Rig) -> None:
    camera = looked_after(rig)
    async with rig.running() as link:
        parts = Parts(link)
        camera.moved = 2
        status = await parts.come(lambda s: s.degraded)
        assert (status.ready, status.error_code) == (True, 0)
        camera.moved = 0
        await parts.come(lambda s: not s.degraded)
    assert [len(rig.events(code)) for code in ("camera_position", "camera_well")] == [1, 1]


async def test_what_stays_on_a_master_part_that_is_shown_again_and_again_is_no_dirt(rig: Rig) -> None:
    camera = looked_after(rig)
    async with rig.running() as link:
        parts = Parts(link)
        link.ask(CommandRequest(1, commands.GOLDEN_RUN))
        await link.status(lambda s: s.ready and s.mode is Mode.GOLDEN)
        camera.whole[40:60, 40:60] = 0
        await parts.some(6)
    assert rig.events("camera_dirt") == []


async def test_while_a_reference_is_taken_the_station_says_that_nothing_is_compared(rig: Rig) -> None:
    looked_after(rig)
    async with rig.running() as link:
        await link.status(lambda s: s.ready and not s.degraded)
        assert (await order(rig, "reference")).done
        assert (await link.status(lambda s: s.degraded)).ready


async def test_an_alarm_that_does_not_stop_comes_and_goes(rig: Rig) -> None:
    camera = looked_after(rig, stops=False)
    async with rig.running() as link:
        parts = Parts(link)
        camera.moved = 4
        assert (await parts.come(lambda s: s.degraded)).ready
        camera.moved = 0
        await parts.come(lambda s: not s.degraded)


async def test_an_alarm_outlives_a_restart(rig: Rig) -> None:
    camera = looked_after(rig)
    async with rig.running() as link:
        camera.moved = 4
        await Parts(link).come(lambda s: not s.ready and s.error_code == ERROR_CODE[Reason.CAMERA])
    link.told.clear()
    async with rig.running() as link:
        await link.status(lambda s: s.error_text.startswith("camera a: the scene is 4.0 px"))
        camera.moved = 0
        await order(rig, "reset")
        await link.ready()
    link.told.clear()
    async with rig.running() as link:
        await Parts(link, 100).some(4)


async def test_without_a_reference_the_station_says_so_and_works(rig: Rig) -> None:
    looked_after(rig, reference=False)
    async with rig.running() as link:
        await link.status(lambda s: s.ready and s.degraded)
        await Parts(link).some(2)
        await rig.booked("camera_no_reference")
    (told,) = rig.events("camera_no_reference")
    assert told == "recipe r, camera a: has no reference picture; take it again: `edge-inspector reference take`"


@pytest.mark.parametrize("what", ["picture", "facts", "features", "no facts"])
async def test_a_reference_that_is_not_what_was_taken_is_not_used(rig: Rig, what: str) -> None:
    camera = looked_after(rig)
    folder = rig.folder / FOLDER / "r"
    if what == "picture":
        cv2.imwrite(str(folder / "a.png"), np.zeros((SIDE, SIDE, 3), np.uint8))
    elif what == "facts":
        facts = json.loads((folder / "a.json").read_text())
        (folder / "a.json").write_text(json.dumps({**facts, "spread": {**facts["spread"], "shift_px": 99.0}}))
    elif what == "features":
        recipe = rig.recipes["r"]
        views = (recipe.settings.views[0].model_copy(update={"features": {"ExposureTime": 9.0}}),)
        rig.recipes["r"] = replace(recipe, settings=recipe.settings.model_copy(update={"views": views}))
    else:
        (folder / "a.json").write_text("{}")
    async with rig.running() as link:
        await link.status(lambda s: s.ready and s.degraded)
        camera.moved = 4
        await Parts(link).some(8)
    (told,) = rig.events("camera_no_reference")
    assert told.endswith("take it again: `edge-inspector reference take`")


async def test_pictures_of_another_size_ask_for_a_new_reference(rig: Rig) -> None:
    camera = looked_after(rig)
    camera.whole = np.ascontiguousarray(camera.whole[:, : SIDE - 8])
    async with rig.running() as link:
        await Parts(link).come(lambda s: s.degraded)
    assert "its pictures are 80x96, and its reference is 96x96" in rig.events("camera_no_reference")[0]


async def test_a_running_station_takes_its_reference_of_the_next_good_parts(rig: Rig) -> None:
    camera = looked_after(rig, reference=False)
    async with rig.running() as link:
        await link.status(lambda s: s.degraded)
        assert not (await order(rig, "reference", pictures=4)).done
        assert (await order(rig, "reference", pictures=5)).facts == {"recipe": "r", "pictures": 5}
        whole = camera.whole
        camera.whole = np.full_like(whole, 255)
        parts = Parts(link)
        await parts.some(3)
        assert {one.evaluation for one in parts.seen} == {Evaluation.NOT_OK}
        assert (await order(rig, "reference_progress")).facts["taken"] == {"a": 0}, "bad parts are no reference"
        camera.whole = whole
        await parts.come(lambda s: not s.degraded)
        camera.moved = 4
        await parts.come(lambda s: not s.ready and s.error_code == ERROR_CODE[Reason.CAMERA])
        assert (await order(rig, "reference_progress")).facts == {"taking": False}
    kept = read_reference(rig.folder, "r", "a")
    assert kept is not None
    facts = kept[1]
    assert (facts.pictures, facts.who.partition(" (uid")[0]) == (5, "anna")
    ((who, detail),) = [(who, detail) for who, what, detail in audited(rig) if what == "reference_taken"]
    assert (who, detail) == ("anna", f"recipe r: camera a sha256 {facts.sha256}")


async def test_a_recipe_that_does_not_look_after_its_cameras_takes_no_reference(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        answer = await order(rig, "reference", pictures=5)
        assert not answer.done
        assert "[recipes.r.health]" in answer.text


class Counted:
    """A lease of a ring with so many free buffers."""

    def __init__(self, idle: int = 3) -> None:
        self.idle, self.holders = idle, 1

    def retain(self) -> None:
        self.holders += 1

    def retain_if_free(self, slots: int) -> bool:
        if self.idle < slots:
            return False
        self.holders += 1
        return True

    def release(self) -> None:
        self.holders -= 1


def a_frame(lease: Counted) -> Frame:
    return Frame("a", 1, 0, 0, np.zeros((64, 64), np.uint8), "Mono8", lease)


def verdict(seq: int, mode: Mode = Mode.PRODUCTION) -> InspectionResult:
    trigger = Trigger(seq, f"s.b.{seq}", seq, "", 1, mode, "r", 1, 1, 1, 0, 10, "2026-11-22T08:00:00.000Z", True)
    return InspectionResult(trigger, Evaluation.OK, Reason.NONE, "", (), ("a",), 1, (0.5,), "h", 5, {})


def samples() -> Samples:
    return Samples(["a"], SystemClock(), lambda _camera, _now: True)


STEPS = ("offer", "belongs", "settled")


@pytest.mark.parametrize("steps", [(a, b, c) for a in STEPS for b in STEPS for c in STEPS if {a, b, c} == {*STEPS}])
async def test_in_whatever_order_picture_part_and_verdict_come(steps: tuple[str, ...]) -> None:
    made, lease, picture = samples(), Counted(), Picture("a", 7)
    does = {
        "offer": lambda: made.offer(picture, a_frame(lease)),
        "belongs": lambda: made.belongs(picture, 3),
        "settled": lambda: made.settled(verdict(3, Mode.GOLDEN)),
    }
    for step in steps:
        does[step]()
    assert lease.holders == 2
    sample = made.next()
    assert sample is not None
    assert (sample.recipe, sample.mode, sample.evaluation) == ("r", Mode.GOLDEN, Evaluation.OK)
    made.offer(Picture("a", 8), a_frame(lease))
    assert lease.holders == 2, "one at a time: this one is still being measured"
    made.done(sample)
    assert lease.holders == 1


@pytest.mark.parametrize("first", ["offer", "nobody"])
async def test_a_picture_of_nobody_is_given_back(first: str) -> None:
    made, lease, picture = samples(), Counted(), Picture("a", 7)
    if first == "nobody":
        made.nobody(picture)
    made.offer(picture, a_frame(lease))
    made.nobody(picture)
    assert lease.holders == 1


async def test_a_short_ring_is_the_parts_own(rig: Rig) -> None:
    made, lease = samples(), Counted(idle=1)
    made.offer(Picture("a", 1), a_frame(lease))
    assert lease.holders == 1


async def test_a_picture_whose_verdict_never_comes_makes_room_and_the_end_frees_all() -> None:
    class Later(SystemClock):
        late_ns = 0

        def monotonic_ns(self) -> int:
            return time.monotonic_ns() + self.late_ns

    clock = Later()
    made = Samples(["a"], clock, lambda _camera, _now: True)
    first, second, third = Counted(), Counted(), Counted()
    made.offer(Picture("a", 1), a_frame(first))
    made.offer(Picture("a", 2), a_frame(second))
    assert (first.holders, second.holders) == (2, 1)
    clock.late_ns = 11_000_000_000
    made.offer(Picture("a", 3), a_frame(third))
    assert (first.holders, third.holders) == (1, 2)
    made.stop()
    assert made.next() is None
    assert third.holders == 1
    made.offer(Picture("a", 4), a_frame(first))
    assert first.holders == 1


async def test_what_is_remembered_is_bounded() -> None:
    made = samples()
    for number in range(10 * KEPT):
        made.belongs(Picture("a", number), number)
        made.settled(verdict(number))
        made.belongs(Picture("b", number), number)
    assert len(made._owners) == len(made._verdicts) == KEPT


async def test_the_files_come_back_as_they_were(rig: Rig, tmp_path: Path) -> None:
    looked_after(rig)
    kept = read_reference(rig.folder, "r", "a")
    picture = np.ascontiguousarray((still() // 2)[8 : 8 + SIDE, 8 : 8 + SIDE])
    made = reference_of([picture] * 5)
    assert kept is not None
    assert (kept[0].focus, kept[0].spread) == (made.focus, made.spread)
    for name in ("low", "median", "high"):
        assert np.array_equal(getattr(kept[0], name), getattr(made, name))
    assert read_reference(tmp_path / "nowhere", "r", "a") is None
