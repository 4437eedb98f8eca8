"""trigger = announced through the running station: three cameras, and faults on one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from station_rig import FakeCamera, FakeLink, Rig

from edge_inspector.datatypes import Evaluation, InspectionResult, Reason
from edge_inspector.interfaces import (
    ExposureDone,
    RecipeRequest,
    RefusedByLink,
    StationStatus,
    TriggerRefused,
    Unannounced,
)

pytestmark = pytest.mark.anyio
WINDOW_MS = (0, 150)


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.recipe("r", cameras=("a", "b", "c"), trigger="announced", window_ms=WINDOW_MS, deadline_ms=5000)
    return rig


def edge(rig: Rig, gray: int = 0) -> None:
    """The part passes: each camera's input sees it."""
    for camera in rig.cameras.values():
        camera.push(gray)


async def inspected(rig: Rig, link: FakeLink, seq: int, gray: int = 0) -> InspectionResult:
    """The verdict on the next part, which has no fault at its sensors."""
    await link.ready()
    link.trigger(seq)
    edge(rig, gray)
    return await link.result(seq)


async def test_each_part_is_judged_by_its_own_pictures_after_its_window(rig: Rig) -> None:
    async with rig.running() as link:
        for seq in range(1, 5):
            result = await inspected(rig, link, seq, 255 * (seq % 2))
            assert result.evaluation is (Evaluation.NOT_OK if seq % 2 else Evaluation.OK)
            assert result.settled_ns - result.trigger.accepted_ns >= WINDOW_MS[1] * 1e6
    books = rig.books()
    assert (books.accepted, books.results, books.unannounced) == (4, 4, 0)
    assert rig.rows()[-1].frame_ids == (4, 4, 4)


def missing(camera: FakeCamera) -> None:
    """The edge does not reach this camera."""


def doubled(camera: FakeCamera) -> None:
    camera.push(0)
    camera.push(0)


def bounced(camera: FakeCamera) -> None:
    """A second edge while it exposed: the camera counts it, and takes no second picture."""
    camera.push(0, edges=2)


def lost(camera: FakeCamera) -> None:
    """A picture more than came: one before it was lost on the way."""
    camera.push(0, step=2)


def damaged(camera: FakeCamera) -> None:
    camera.push(0, damaged=True)


@pytest.mark.parametrize(
    ("fault", "reason", "unannounced"),
    [
        (missing, Reason.NO_FRAME, 0),
        (doubled, Reason.UNANNOUNCED, 1),
        (bounced, Reason.UNANNOUNCED, 1),
        (lost, Reason.UNANNOUNCED, 1),
        (damaged, Reason.BAD_FRAME, 0),
    ],
)
async def test_a_fault_at_one_camera_of_three_rejects_that_part_and_shifts_nothing(
    rig: Rig, fault: Callable[[FakeCamera], None], reason: Reason, unannounced: int
) -> None:
    for camera in rig.cameras.values():
        camera.counts_edges = True
    async with rig.running() as link:
        assert (await inspected(rig, link, 1, 255)).evaluation is Evaluation.NOT_OK
        await link.ready()
        link.trigger(2)
        rig.cameras["a"].push(0)
        fault(rig.cameras["b"])
        rig.cameras["c"].push(0)
        result = await link.result(2)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, reason)
        for seq in range(3, 7):
            result = await inspected(rig, link, seq, 255 * (seq % 2))
            assert result.evaluation is (Evaluation.NOT_OK if seq % 2 else Evaluation.OK)
    books = rig.books()
    assert (books.accepted, books.results) == (6, 6)
    assert books.unannounced == unannounced


async def test_a_picture_that_nobody_announced_is_booked_told_and_makes_the_station_wait(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.cameras["b"].push(255)
        assert (await link.until(Unannounced)).camera == "b"
        status = await link.until(StationStatus, lambda s: "b: a picture that nobody announced" in s.error_text)
        assert (status.error_code, status.ready) == (103, False)
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.UNANNOUNCED
        edge(rig)
        assert (await inspected(rig, link, 2)).evaluation is Evaluation.OK
    books = rig.books()
    assert (books.accepted, books.refused, books.results, books.unannounced) == (1, 1, 1, 1)


async def test_a_picture_after_the_window_is_not_the_next_parts(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        rig.cameras["a"].push(0)
        rig.cameras["c"].push(0)
        result = await link.result(1)
        assert result.reason is Reason.NO_FRAME
        rig.cameras["b"].push(255)
        await link.until(Unannounced)
        assert (await inspected(rig, link, 2)).evaluation is Evaluation.OK
    assert rig.books().unannounced == 1


async def test_while_a_window_is_open_the_next_part_is_refused_and_its_picture_is_a_doubt(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        edge(rig)
        link.trigger(2)
        edge(rig)
        assert (await link.until(TriggerRefused)).reason is Reason.OVERLOAD
        assert (await link.result(1)).reason is Reason.UNANNOUNCED
        assert (await inspected(rig, link, 3)).evaluation is Evaluation.OK
    books = rig.books()
    assert (books.accepted, books.refused, books.results) == (2, 1, 2)


async def test_the_picture_of_a_part_that_was_refused_is_expected_too(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.ask(RefusedByLink(1, "part-1", Reason.PLC_LINK, seen_ns=time.monotonic_ns()))
        edge(rig)
        await link.status(lambda s: not s.ready)
        assert (await inspected(rig, link, 2)).evaluation is Evaluation.OK
    assert rig.books().unannounced == 0


async def test_a_camera_that_misses_part_after_part_is_opened_again(rig: Rig) -> None:
    async with rig.running() as link:
        for seq in range(1, 4):
            await link.ready()
            link.trigger(seq)
            rig.cameras["a"].push(0)
            rig.cameras["c"].push(0)
            assert rig.cameras["b"].opened == 1
            assert (await link.result(seq)).reason is Reason.NO_FRAME
        await link.until(StationStatus, lambda s: s.error_code == 101 and "one after the other" in s.error_text)
        assert (await inspected(rig, link, 4)).evaluation is Evaluation.OK
    assert {name: camera.opened for name, camera in rig.cameras.items()} == {"a": 1, "b": 2, "c": 1}


async def test_a_camera_that_goes_while_a_part_is_announced_rejects_it_and_comes_back_in_step(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        rig.cameras["b"].lost.set()
        assert (await link.result(1)).reason is Reason.CAMERA
        rig.cameras["b"].lost.clear()
        assert (await inspected(rig, link, 2)).evaluation is Evaluation.OK


async def test_an_announced_part_is_finished_by_its_own_recipe_when_another_is_ordered(rig: Rig) -> None:
    rig.recipe("other", cameras=("a", "b", "c"), number=2, trigger="announced", window_ms=WINDOW_MS, deadline_ms=5000)
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        link.ask(RecipeRequest(1, 2, ""))
        waiting = await link.status(lambda s: s.recipe == "other")
        assert "waits for the last picture of recipe r" in waiting.error_text
        edge(rig)
        first = await link.result(1)
        assert (first.evaluation, first.trigger.recipe) == (Evaluation.OK, "r")
        assert (await inspected(rig, link, 2)).evaluation is Evaluation.OK
    assert rig.books().unannounced == 0


async def test_a_stop_settles_a_part_whose_pictures_never_came(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        with anyio.fail_after(5):
            await link.status(lambda s: s.acquiring)
    assert [row.evaluation for row in rig.rows()] == [Evaluation.UNDEFINED]


async def test_a_part_refused_while_another_is_looked_at_never_lends_its_picture_to_the_next(rig: Rig) -> None:
    """Part 2 is announced too early and refused; it passes all the same, and part 3 misses its own edge."""
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        edge(rig)
        await link.status(lambda s: s.acquiring)
        link.trigger(2)
        assert (await link.until(TriggerRefused)).reason is Reason.OVERLOAD
        assert (await link.result(1)).evaluation is Evaluation.OK
        link.trigger(3)
        edge(rig)
        assert (await link.until(TriggerRefused, lambda m: m.trigger_seq == 3)).reason is Reason.UNANNOUNCED
        assert (await inspected(rig, link, 4)).evaluation is Evaluation.OK
    assert [row.trigger_seq for row in rig.rows()] == [1, 4]


async def test_after_skipped_numbers_no_picture_is_trusted_until_it_is_quiet(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.ask(RefusedByLink(1, "", Reason.MISSED, 2))
        await link.status(lambda s: not s.ready)
        edge(rig)
        await link.until(Unannounced)
        assert (await inspected(rig, link, 4)).evaluation is Evaluation.OK


async def test_each_camera_may_have_its_own_window(tmp_path: Path) -> None:
    """Camera b looks at the part later on its way."""
    rig = Rig(tmp_path)
    recipe = rig.recipe("r", cameras=("a", "b"), trigger="announced", window_ms=(0, 60), deadline_ms=5000)
    early, late = recipe.settings.views
    views = (early, late.model_copy(update={"window_ms": (70.0, 200.0)}))
    rig.recipes["r"] = replace(recipe, settings=recipe.settings.model_copy(update={"views": views}))
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        rig.cameras["a"].push(0)
        await anyio.sleep(0.1)
        rig.cameras["b"].push(0)
        assert (await link.result(1)).evaluation is Evaluation.OK
        await link.ready()
        link.trigger(2)
        edge(rig)
        assert (await link.result(2)).reason is Reason.UNANNOUNCED


async def test_a_camera_opened_again_before_its_picture_is_certain_rejects_the_part_at_once(rig: Rig) -> None:
    rig.recipes["r"] = replace(
        rig.recipes["r"], settings=rig.recipes["r"].settings.model_copy(update={"window_ms": (0.0, 3000.0)})
    )
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        edge(rig)
        await link.until(ExposureDone)
        rig.cameras["b"].lost.set()
        await link.status(lambda s: s.error_code == 101)
        rig.cameras["b"].lost.clear()
        result = await link.result(1)
        assert (result.reason, result.reason_text) == (
            Reason.CAMERA,
            "camera b was opened again before its picture was certain",
        )
