"""The running station: every accepted trigger gets one verdict, in time, for the right part."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from station_rig import Rig

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Refusal
from edge_inspector.errors import InferenceError
from edge_inspector.interfaces import (
    Alive,
    CommandAnswer,
    CommandRequest,
    ExposureDone,
    RecipeAnswer,
    RecipeRequest,
    TriggerAccepted,
    TriggerRefused,
)
from edge_inspector.store.flight import FlightRecord

pytestmark = pytest.mark.anyio


async def test_each_part_gets_its_own_verdict_and_the_books_balance(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        for seq, gray in enumerate([0, 255, 0, 255, 255], start=1):
            await link.ready()
            rig.cameras["a"].gray = gray
            link.trigger(seq, f"p{seq}")
            result = await link.result(seq)
            assert result.evaluation is (Evaluation.NOT_OK if gray else Evaluation.OK)
            assert result.trigger.part_id == f"p{seq}"
    books = rig.books()
    assert (books.accepted, books.refused, books.results, books.told, books.ok, books.not_ok) == (5, 0, 5, 5, 2, 3)
    assert books.balanced
    assert [row.part_id for row in rig.rows()] == ["p1", "p2", "p3", "p4", "p5"]


async def test_acceptance_is_told_before_exposure_and_exposure_before_the_result(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        await link.result(1)
        kinds = [type(m) for m in link.told if isinstance(m, TriggerAccepted | ExposureDone | InspectionResult)]
    assert kinds == [TriggerAccepted, ExposureDone, InspectionResult]


async def test_the_heartbeat_advances(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.until(Alive)


async def test_the_worst_of_two_cameras_decides(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    async with rig.running() as link:
        await link.ready()
        rig.cameras["b"].gray = 255
        link.trigger(1)
        result = await link.result(1)
    assert result.evaluation is Evaluation.NOT_OK
    assert {d.camera for d in result.defects} == {"b"}
    assert (result.views_expected, result.views_judged) == (2, 2)


async def test_a_model_that_is_too_slow_is_told_as_undefined_in_time_and_booked_as_late(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=150, output_margin_ms=20)
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        asked = time.monotonic_ns()
        link.trigger(1)
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.DEADLINE)
        assert result.settled_ns - asked < 10 * 150e6
        rig.backend.slow.clear()
        await link.ready()
        link.trigger(2)
        assert (await link.result(2)).evaluation is Evaluation.OK
    assert [r.trigger.trigger_seq for r in link.results] == [1, 2]
    assert rig.books().late == 1


async def test_a_camera_that_hangs_makes_the_part_undefined_and_is_not_asked_again_before_it_answers(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=100)
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].hang.set()
        link.trigger(1)
        assert (await link.result(1)).reason is Reason.DEADLINE
        link.trigger(2)
        refused = await link.until(TriggerRefused)
        assert (refused.trigger_seq, refused.reason) == (2, Reason.OVERLOAD)
        rig.cameras["a"].hang.clear()
        await link.ready()
        link.trigger(3)
        assert (await link.result(3)).evaluation is Evaluation.OK
    books = rig.books()
    assert (books.accepted, books.refused, books.results) == (2, 1, 2)


async def test_a_camera_lost_while_exposing_makes_the_part_undefined_and_comes_back_by_itself(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].hang.set()
        link.trigger(1)
        await link.until(TriggerAccepted)
        rig.cameras["a"].lost.set()
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.CAMERA)
        status = await link.status(lambda s: s.error_code == 101)
        assert not status.ready
        assert "camera a" in status.error_text
        rig.cameras["a"].hang.clear()
        rig.cameras["a"].lost.clear()
        await link.ready()
    assert rig.cameras["a"].opened == 2


async def test_a_failing_model_rejects_the_part_and_not_the_station(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.backend.error = InferenceError("output0 holds NaN")
        link.trigger(1)
        result = await link.result(1)
        assert (result.evaluation, result.reason, result.reason_text) == (
            Evaluation.UNDEFINED,
            Reason.INFERENCE,
            "output0 holds NaN",
        )
        rig.backend.error = None
        await link.ready()
        link.trigger(2)
        assert (await link.result(2)).evaluation is Evaluation.OK


async def test_a_trigger_while_the_camera_is_busy_is_refused_at_once_and_booked(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].hang.set()
        link.trigger(1)
        link.trigger(2)
        assert (await link.until(TriggerRefused)).trigger_seq == 2
        rig.cameras["a"].hang.clear()
        await link.result(1)
    books = rig.books()
    assert (books.accepted, books.refused, books.results) == (1, 1, 1)


async def test_no_more_parts_than_max_open_are_in_work(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=5000)
    rig.max_open = 2
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await link.status(lambda s: s.ready and s.queue_depth == 1)
        link.trigger(2)
        full = await link.status(lambda s: s.queue_depth == 2 and not s.acquiring)
        assert not full.ready
        link.trigger(3)
        assert (await link.until(TriggerRefused)).reason is Reason.OVERLOAD
        rig.backend.slow.clear()
        assert [(await link.result(seq)).evaluation for seq in (1, 2)] == [Evaluation.OK, Evaluation.OK]


async def test_a_line_camera_numbers_its_own_parts(rig: Rig) -> None:
    rig.recipe("r", trigger="line")
    async with rig.running() as link:
        await link.ready()
        for _ in range(3):
            rig.cameras["a"].push()
        await link.until(InspectionResult, lambda r: r.trigger.seq == 3)
        link.trigger(9)
        assert (await link.until(TriggerRefused)).reason is Reason.WRONG_MASTER
    assert [r.evaluation for r in link.results] == [Evaluation.OK] * 3
    assert [r.trigger.trigger_seq for r in link.results] == [1, 2, 3]


async def test_a_line_picture_while_not_ready_is_accepted_and_undefined(rig: Rig) -> None:
    rig.recipe("r", trigger="line")
    async with rig.running() as link:
        await link.ready()
        link.ask(CommandRequest(1, 2))
        await link.status(lambda s: not s.ready)
        rig.cameras["a"].push()
        result = await link.until(InspectionResult)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.NOT_READY)
    assert rig.books().balanced


async def test_a_timer_inspects_without_a_plc(rig: Rig) -> None:
    rig.recipe("r", trigger="timer", period_s=0.05)
    async with rig.running() as link:
        await link.until(InspectionResult, lambda r: r.trigger.seq == 3)
    assert {r.evaluation for r in link.results} == {Evaluation.OK}
    assert rig.books().balanced


async def test_a_refused_recipe_keeps_ready_low_until_a_valid_one_is_ordered(rig: Rig) -> None:
    rig.recipe("r", number=1)
    rig.recipe("other", number=2)
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 99, ""))
        assert (await link.until(RecipeAnswer)).accepted is False
        status = await link.status(lambda s: s.error_code == 301)
        assert (status.ready, status.recipe_ready) == (False, False)
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.RECIPE
        link.ask(RecipeRequest(2, 0, "other"))
        assert (await link.status(lambda s: s.ready)).recipe_no == 2
        link.trigger(2)
        assert (await link.result(2)).trigger.recipe == "other"


@pytest.mark.parametrize(("command", "answer"), [(1, 0), (5, 0), (8, 0), (9, 0), (77, 1)])
async def test_commands_say_whether_they_are_supported(rig: Rig, command: int, answer: int) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(CommandRequest(4, command))
        assert await link.until(CommandAnswer) == CommandAnswer(4, answer)


async def test_simulation_parts_are_marked_and_halt_is_lifted_by_select_automatic(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(CommandRequest(1, 6))
        await link.status(lambda s: s.mode is Mode.SIMULATION)
        link.trigger(1)
        assert (await link.result(1)).trigger.mode is Mode.SIMULATION
        link.ask(CommandRequest(2, 2))
        await link.status(lambda s: not s.ready)
        link.ask(CommandRequest(3, 3))
        await link.ready()


async def test_abort_settles_every_open_part(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.cameras["a"].hang.set()
        link.trigger(1)
        await link.until(TriggerAccepted)
        link.ask(CommandRequest(1, 4))
        assert (await link.result(1)).reason is Reason.ABORTED
        rig.cameras["a"].hang.clear()


async def test_with_a_local_master_the_plc_is_refused(rig: Rig) -> None:
    rig.recipe("r")
    rig.master = ""
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.WRONG_MASTER
        link.ask(RecipeRequest(1, 1, ""))
        assert (await link.until(RecipeAnswer)).reason is Reason.WRONG_MASTER


async def test_rework_brings_the_same_part_id_with_a_higher_attempt(rig: Rig) -> None:
    rig.recipe("r")
    attempts = []
    async with rig.running() as link:
        for seq in (1, 2, 3):
            await link.ready()
            link.trigger(seq, "same")
            attempts.append((await link.result(seq)).trigger.attempt)
    assert attempts == [1, 2, 3]


async def test_a_stop_lets_open_parts_finish_and_settles_the_rest(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=20_000)
    rig.stop_timeout_s = 0.2
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await link.until(ExposureDone)
    rig.backend.slow.clear()
    assert (await link.result(1)).reason is Reason.SHUTDOWN
    assert rig.books().balanced


async def test_a_bug_in_a_driver_ends_the_station(rig: Rig) -> None:
    rig.recipe("r")

    def broken(timeout_s: float) -> None:
        raise ZeroDivisionError("a bug")

    rig.cameras["a"].grab = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(BaseException) as caught:  # noqa: PT012
        async with rig.running() as link:
            await link.ready()
            link.trigger(1)
            await link.result(1)
    assert "a bug" in repr(caught.value) or any("a bug" in repr(e) for e in getattr(caught.value, "exceptions", ()))


async def test_a_second_start_goes_on_with_the_same_book_and_higher_numbers(rig: Rig) -> None:
    rig.recipe("r")
    for seq in (1, 2):
        async with rig.running() as link:
            await link.ready()
            link.trigger(seq)
            await link.result(seq)
        rig.link = type(link)()
    ids = [row.seq for row in rig.rows()]
    assert ids == [1, 2]
    assert len({row.boot_id for row in rig.rows()}) == 2


async def test_what_a_killed_process_left_is_booked_as_told_or_undefined(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        told = await link.result(1)
    killed = FlightRecord(rig.folder / "flight.bin", slots=64)
    with killed:  # as if the process had died: told but not booked, decided but not told, open, refused but not booked
        for seq in (2, 3, 4):
            trigger = replace(told.trigger, seq=seq, result_id=f"s.x.{seq}", trigger_seq=seq, part_id=f"part-{seq}")
            slot = killed.trigger(trigger)
            if seq < 4:
                killed.verdict(slot, replace(told, trigger=trigger))
            if seq == 2:
                killed.told(slot)
        killed.refusal(Refusal(5, "part-5", Reason.NOT_READY, told.trigger.wall_utc, told.trigger.boot_id))
    rig.link = type(link)()
    async with rig.running() as link:
        await link.ready()
        link.trigger(9)
        assert (await link.result(9)).trigger.seq == 5
    assert [r.trigger.trigger_seq for r in link.results] == [9], "nothing old reaches the PLC"
    rows = rig.rows()
    assert [(r.seq, r.evaluation, r.reason, r.told) for r in rows] == [
        (1, Evaluation.OK, Reason.NONE, True),
        (2, Evaluation.OK, Reason.NONE, True),
        (3, Evaluation.OK, Reason.NONE, False),
        (4, Evaluation.UNDEFINED, Reason.RESTART, False),
        (5, Evaluation.OK, Reason.NONE, True),
    ]
    books = rig.books()
    assert (books.accepted, books.refused, books.results) == (5, 1, 5)
    assert books.balanced


async def test_after_a_power_cut_no_number_is_given_twice(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        await link.result(1)
    (rig.folder / "flight.bin").unlink()  # the tmpfs is gone
    rig.link = type(link)()
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        await link.result(1)
    assert [row.seq for row in rig.rows()] == [1, 2 + 64]
