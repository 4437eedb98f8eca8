"""The golden-sample check on a running line: when it is due, what stops the line, and what survives."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from order_rig import JumpingClock, audited, order, quiet_line
from station_rig import FakeLink, Rig

from edge_inspector.datatypes import ERROR_CODE, Defect, Evaluation, InspectionResult, Mode, Picture, Reason, Trigger
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    OrderAnswer,
    RecipeRequest,
    StationStatus,
    TriggerRefused,
)
from edge_inspector.station import commands
from edge_inspector.station.events import Exposed, FromPlc
from edge_inspector.station.golden_book import GoldenBook, Standing, after_start, proof_of, read_book, selected, why_due
from edge_inspector.station.golden_shift import longest_shift_s, shift_has_begun
from edge_inspector.station.line import Line
from edge_inspector.store.records import BookEvent, BookTrigger

pytestmark = pytest.mark.anyio
GOLDEN: dict[str, Any] = {
    "parts": [{"id": "G", "expect": "OK"}, {"id": "B", "expect": "NOT_OK", "defects": ["bright"]}]
}
SHIFTS = ("06:00", "14:00", "22:00")


def with_golden(rig: Rig, name: str = "r", number: int = 1, **settings: Any) -> None:
    rig.recipe(name, number=number, golden={"after_changeover": False, **GOLDEN, **settings})


async def command(link: FakeLink, number: int) -> None:
    seq = 1 + sum(isinstance(one, CommandAnswer) for one in link.told)
    link.ask(CommandRequest(seq, number))
    answer = await link.until(CommandAnswer, lambda a: a.seq == seq)
    assert answer.result == commands.DONE


_numbers = count(1)


async def part(rig: Rig, link: FakeLink, part_id: str, *, bad: bool = False) -> InspectionResult:
    """One part through the station, once it may be triggered."""
    number = next(_numbers)
    await link.ready()
    rig.cameras["a"].gray = 255 if bad else 0
    link.trigger(number, part_id)
    return await link.result(number)


async def golden_run(rig: Rig, link: FakeLink, *parts: tuple[str, bool]) -> list[InspectionResult]:
    await command(link, commands.GOLDEN_RUN)
    await link.status(lambda s: s.ready and s.mode is Mode.GOLDEN)
    seen = [await part(rig, link, name, bad=bad) for name, bad in parts]
    await command(link, commands.SELECT_AUTOMATIC)
    return seen


def lines(rig: Rig) -> list[tuple[str, str]]:
    return [(what, detail) for _, what, detail in audited(rig) if what.startswith("golden_") and what != "golden_mode"]


async def blocked(link: FakeLink) -> StationStatus:
    return await link.status(lambda s: s.error_code == ERROR_CODE[Reason.GOLDEN] and s.mode is Mode.PRODUCTION)


async def test_nothing_is_inspected_before_the_master_parts_were_judged_rightly(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        status = await blocked(link)
        assert (status.ready, status.golden_due) == (False, True)
        assert status.error_text == "no golden-sample check was passed yet; show the master parts in golden mode"
        link.trigger(10_000, "P")
        assert (await link.until(TriggerRefused)).reason is Reason.GOLDEN
        good, bad = await golden_run(rig, link, ("G", False), ("B", True))
        assert (good.trigger.mode, good.evaluation, bad.evaluation) == (Mode.GOLDEN, Evaluation.OK, Evaluation.NOT_OK)
        status = await link.ready()
        assert (status.golden_due, status.error_code) == (False, 0)
        assert (await part(rig, link, "P")).trigger.mode is Mode.PRODUCTION
    assert lines(rig) == [("golden_passed", "passed: recipe r, master parts: 'G' OK; 'B' NOT_OK")]
    assert rig.events("golden_passed") == ["recipe r: all master parts were judged rightly"]
    who = [who for who, what, _ in audited(rig) if what == "golden_passed"]
    assert who == ["plc:plc"]


async def test_a_master_part_judged_wrongly_keeps_the_station_from_being_ready(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", False))
        status = await blocked(link)
        assert status.error_text.startswith("the golden-sample check failed: 'B' was OK, expected NOT_OK; show the")
        assert status.alarm
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    assert [what for what, _ in lines(rig)] == ["golden_failed", "golden_left", "golden_passed"]
    assert rig.events("golden_failed") == ["recipe r: 'B' was OK, expected NOT_OK"]


async def test_golden_mode_left_in_the_middle_leaves_a_check_due(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
        await golden_run(rig, link)
        await link.ready()  # nothing was shown: nothing has changed
        await golden_run(rig, link, ("a stranger", False))
        await link.ready()
        await golden_run(rig, link, ("G", False))
        status = await blocked(link)
        assert "master parts were shown, but not all of them" in status.error_text
    assert lines(rig)[-1] == (
        "golden_left",
        "ended, incomplete: recipe r, master parts: 'G' OK; not shown or not judged: 'B'",
    )


async def test_a_part_that_is_settled_after_golden_mode_still_counts(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await command(link, commands.GOLDEN_RUN)
        await part(rig, link, "G")
        await link.ready()
        rig.backend.slow.set()
        rig.cameras["a"].gray = 255
        link.trigger(20_000, "B")
        await link.status(lambda s: s.busy)
        await command(link, commands.SELECT_AUTOMATIC)
        await blocked(link)
        rig.backend.slow.clear()
        await link.result(20_000)
        await link.ready()


async def test_a_restart_in_the_middle_keeps_the_station_from_taking_master_parts_for_production(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
        await command(link, commands.GOLDEN_RUN)
        await part(rig, link, "G")
    link.told.clear()
    async with rig.running() as link:
        status = await blocked(link)
        assert "restarted while master parts were shown" in status.error_text
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    assert [what for what, _ in lines(rig)] == ["golden_passed", "golden_left", "golden_passed"]


async def test_what_was_passed_is_remembered_over_a_restart_until_the_recipe_changes(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    link.told.clear()
    async with rig.running() as link:
        assert not (await link.ready()).golden_due
    rig.recipes["r"] = replace(rig.recipes["r"], model_hash="another")
    link.told.clear()
    async with rig.running() as link:
        assert "recipe, model or software are not those" in (await blocked(link)).error_text


async def test_after_so_many_parts_a_check_is_due_and_after_the_grace_the_line_stops(rig: Rig) -> None:
    with_golden(rig, every_parts=3, grace_parts=2)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        for number in range(3):
            assert not (await link.ready()).golden_due
            await part(rig, link, f"P{number}", bad=number == 1)
        assert (await link.status(lambda s: s.golden_due)).error_code == 0
        await part(rig, link, "P3")
        await part(rig, link, "P4")
        assert "a golden-sample check is due: 5 parts since" in (await blocked(link)).error_text
        with anyio.fail_after(10):
            while "3; the station is not ready" not in rig.events("golden_due")[-1]:  # noqa: ASYNC110 - the ledger's thread sets no event of the loop
                await anyio.sleep(0.02)
        await golden_run(rig, link, ("G", False), ("B", True))
        assert not (await link.ready()).golden_due
    told = rig.events("golden_due")
    assert told[0] == "recipe r: no golden-sample check was passed yet; the station is not ready"
    assert told[-1].endswith("5 parts since the last one, every_parts = 3; the station is not ready")


async def test_each_stage_of_a_check_that_is_due_is_told_once(rig: Rig) -> None:
    clock = WallClock("2026-11-22T12:00:00+00:00")
    rig.recipe("q", golden=None)
    async with passed_line(rig, clock, every_parts=1, grace_parts=1) as line:
        golden, recipe = line.condition.golden, rig.recipes["r"]

        def ticks() -> list[str]:
            before = line.parts.ledger.waiting
            for _ in range(3):
                golden.tick(recipe)
            booked = list(line.parts.ledger._queue)[before:]
            return [one.event.text.partition("; ")[2] for one in booked if isinstance(one, BookEvent)]

        assert ticks() == []
        golden.settled(replace(shown(3, "P", Evaluation.OK), trigger=production(3)))
        assert ticks() == ["master parts should be shown"]
        golden.settled(replace(shown(4, "P", Evaluation.OK), trigger=production(4)))
        assert ticks() == ["the station is not ready"]
        golden.tick(rig.recipes["q"])
        assert ticks() == ["the station is not ready"]


async def test_after_a_changeover_the_check_of_the_new_recipe_is_due(rig: Rig) -> None:
    with_golden(rig, "r", 1)
    with_golden(rig, "s", 2, after_changeover=True)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
        for seq, number in enumerate((2, 1, 2), 1):
            link.ask(RecipeRequest(seq, number, ""))
            await link.status(lambda s, n=number: s.recipe_no == n)  # type: ignore[misc]
            if number == 1:
                await link.ready()
            else:
                await blocked(link)
                await golden_run(rig, link, ("G", False), ("B", True))
                await link.ready()
    assert [what for what, _ in lines(rig)] == ["golden_passed"] * 3


async def test_a_recipe_that_is_selected_in_golden_mode_begins_its_own_showing(rig: Rig) -> None:
    with_golden(rig, "r", 1)
    with_golden(rig, "s", 2)
    async with rig.running() as link:
        await blocked(link)
        await command(link, commands.GOLDEN_RUN)
        await part(rig, link, "G")
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda s: s.recipe_no == 2 and s.ready)
        await part(rig, link, "B", bad=True)
        await part(rig, link, "G")
        await command(link, commands.SELECT_AUTOMATIC)
        await link.ready()
    (_, left), (_, passed) = lines(rig)
    assert left.startswith("left for recipe s, incomplete: recipe r")
    assert passed == "passed: recipe s, master parts: 'B' NOT_OK; 'G' OK"


async def test_without_a_plc_people_begin_and_end_golden_mode(rig: Rig) -> None:
    rig.master = ""
    rig.recipe("r", trigger="line", golden={**GOLDEN, "told_by": "order"})
    async with rig.running() as link:
        await blocked(link)
        assert (await order(rig, "golden", on=True)).done
        assert (await link.ready()).mode is Mode.GOLDEN
        for gray in (0, 255):
            rig.cameras["a"].push(gray)
            await link.until(InspectionResult, lambda r, g=gray: (r.evaluation is Evaluation.OK) == (g == 0))  # type: ignore[misc]
        assert (await order(rig, "golden", "bert", on=False)).done
        assert (await order(rig, "golden", "bert", on=False)).text == "was not in golden mode"
        await link.status(lambda s: s.ready and s.mode is Mode.PRODUCTION)
    assert [(who, what) for who, what, _ in audited(rig)] == [
        ("anna", "golden_mode"),
        ("anna", "golden_passed"),
        ("bert", "golden_mode"),
    ]


async def test_golden_mode_without_a_list_says_that_it_checks_nothing(rig: Rig) -> None:
    rig.master = ""
    rig.recipe("r", golden=None)
    async with rig.running():
        answer = await order(rig, "golden", on=True)
    assert (answer.done, "nothing is checked" in answer.text) == (True, True)


async def test_where_a_plc_is_the_master_nobody_else_changes_the_mode(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        answer = await order(rig, "golden", on=True)
        assert not answer.done
        assert "golden mode is the PLC's of link 'plc'" in answer.text
        await blocked(link)


async def pictures(rig: Rig, recipe: str = "r", **said: str) -> OrderAnswer:
    proof = proof_of(rig.recipes["r"], rig.parts().identity.software_version)
    return await order(rig, "golden_pictures", recipe=recipe, **{"proof": proof, **said})


async def test_stored_pictures_judged_wrongly_stop_the_line_and_right_ones_do_not_stand_in_for_master_parts(
    rig: Rig,
) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        assert (await pictures(rig, faults="", detail="software-only: right")).done
        assert "no golden-sample check was passed yet" in (await blocked(link)).error_text
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
        await pictures(rig, faults="'x' was OK", detail="software-only: wrong")
        assert (await blocked(link)).error_text.startswith("stored pictures were judged wrongly: 'x' was OK")
        await golden_run(rig, link, ("G", False), ("B", True))
        assert "stored pictures" in (await blocked(link)).error_text
        await pictures(rig, faults="", detail="software-only: right")
        await link.ready()
        assert not (await pictures(rig, recipe="x", faults="", detail="")).done
        other = await pictures(rig, proof="0" * 64, faults="", detail="software-only: right")
        assert not other.done
        assert "restart the station" in other.text
    assert ("golden_failed", "software-only: wrong") in lines(rig)


async def test_stored_pictures_are_the_check_of_a_recipe_without_master_parts(rig: Rig) -> None:
    rig.recipe("r", golden={})
    async with rig.running() as link:
        assert "run `edge-inspector golden run`" in (await blocked(link)).error_text
        await pictures(rig, faults="", detail="software-only: right")
        await link.ready()


async def test_a_recipe_without_the_check_is_as_it_was(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await golden_run(rig, link, ("G", False), ("B", False))
        assert not (await link.ready()).golden_due
        await pictures(rig, faults="wrong", detail="software-only")
        await part(rig, link, "P")
    assert lines(rig) == [("golden_failed", "software-only")]


class WallClock(JumpingClock):
    """A wall clock that the test owns, beside the monotonic one."""

    def __init__(self, utc: str, *, synced: bool = True) -> None:
        super().__init__()
        self.now = datetime.fromisoformat(utc)
        self.set = synced

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)
        self.jump(timedelta(**span).total_seconds())

    def utc(self) -> str:
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def synced(self) -> bool:
        return self.set


def production(seq: int) -> Trigger:
    return replace(shown(seq, "P", Evaluation.OK).trigger, mode=Mode.PRODUCTION)


def shown(seq: int, part_id: str, evaluation: Evaluation) -> InspectionResult:
    trigger = Trigger(
        seq, f"s.b.{seq}", seq, part_id, 1, Mode.GOLDEN, "r", 1, 1, 1, 0, 10, "2026-11-22T08:00:00.000Z", True
    )
    found = (Defect("bright", 1, 0.9, (0, 0, 1, 1), "a"),) if evaluation is Evaluation.NOT_OK else ()
    return InspectionResult(trigger, evaluation, Reason.NONE, "", found, ("a",), 1, (0.5,), "h", 5, {})


@asynccontextmanager
async def passed_line(rig: Rig, clock: WallClock, **settings: Any) -> AsyncIterator[Line]:
    with_golden(rig, shift_start=True, **settings)
    async with quiet_line(rig, clock) as line:
        golden = line.condition.golden
        golden.mode_on(rig.recipes["r"], "anna")
        golden.settled(shown(1, "G", Evaluation.OK))
        golden.settled(shown(2, "B", Evaluation.NOT_OK))
        golden.mode_off()
        assert not golden.due(rig.recipes["r"])
        yield line


async def test_a_shift_makes_a_check_due_at_its_begin(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    clock = WallClock("2026-11-22T12:00:00+00:00")
    async with passed_line(rig, clock) as line:
        golden, recipe = line.condition.golden, rig.recipes["r"]
        clock.pass_by(hours=1, minutes=59, seconds=59)
        assert not golden.due(recipe)
        clock.pass_by(seconds=2)
        assert golden.due(recipe)
        why = golden.why_not(recipe)
        assert why is not None
        assert why[1].startswith("a golden-sample check is due: the shift has begun")


async def test_a_clock_that_was_not_set_when_the_check_was_passed_changes_nothing(rig: Rig) -> None:
    clock = WallClock("1970-01-01T00:00:10+00:00", synced=False)
    async with passed_line(rig, clock) as line:
        golden, recipe = line.condition.golden, rig.recipes["r"]
        clock.pass_by(hours=7.9)
        assert not golden.due(recipe), "no shift is shorter than what has passed since"
        clock.pass_by(hours=0.2)
        assert golden.due(recipe), "without a clock a shift lasts as long as the longest"
        golden.settled(shown(2, "B", Evaluation.NOT_OK))
        golden.mode_on(recipe, "anna")
        golden.settled(shown(3, "G", Evaluation.OK))
        golden.settled(shown(4, "B", Evaluation.NOT_OK))
        golden.mode_off()
        clock.pass_by(hours=1)
        clock.now, clock.set = datetime(2026, 11, 22, 13, tzinfo=timezone.utc), True
        clock.jump(2)
        assert not golden.due(recipe), "it is an hour old, whatever its date says"


async def test_a_part_of_the_showing_before_is_none_of_this_one_and_counts_where_it_was_accepted(rig: Rig) -> None:
    clock = WallClock("2026-11-22T12:00:00+00:00")
    async with passed_line(rig, clock) as line:
        golden = line.condition.golden
        for seq in (5, 6):
            line.parts.ledger.submit(BookTrigger(None, shown(seq, "G", Evaluation.OK).trigger))
        golden.mode_on(rig.recipes["r"], "anna")
        golden.settled(replace(shown(7, "G", Evaluation.NOT_OK), trigger=production(7)))
        assert golden.why_not(rig.recipes["r"]) is None, "it is production"
        golden.settled(shown(6, "G", Evaluation.NOT_OK))
        assert golden.why_not(rig.recipes["r"]) is not None, "judged wrongly, however late it is told"
        golden.settled(shown(7, "G", Evaluation.OK))
        golden.settled(shown(8, "B", Evaluation.NOT_OK))
        assert golden.why_not(rig.recipes["r"]) is None, "this showing has passed without it"
        golden.settled(shown(9, "G", Evaluation.NOT_OK))
        assert golden.why_not(rig.recipes["r"]) is not None


async def test_a_showing_before_that_ends_well_does_not_make_up_for_a_failure_in_this_one(rig: Rig) -> None:
    async with passed_line(rig, WallClock("2026-11-22T12:00:00+00:00")) as line:
        golden = line.condition.golden
        for seq, part_id in ((3, "G"), (4, "B"), (5, "G")):
            if part_id == "G":
                golden.mode_on(rig.recipes["r"], "anna")
            line.parts.ledger.submit(BookTrigger(None, shown(seq, part_id, Evaluation.OK).trigger))
        golden.settled(shown(3, "G", Evaluation.OK))
        golden.settled(shown(5, "G", Evaluation.NOT_OK))
        golden.settled(shown(4, "B", Evaluation.NOT_OK))
        assert golden.why_not(rig.recipes["r"]) is not None


async def test_a_start_without_a_clock_owes_a_check(rig: Rig) -> None:
    clock = WallClock("2026-11-22T12:00:00+00:00")
    async with passed_line(rig, clock):
        pass
    (rig.folder / "inbox").rmdir()
    for clock in (WallClock("1970-01-01T00:00:10+00:00", synced=False), WallClock("2026-11-22T12:30:00+00:00")):
        async with quiet_line(rig, clock) as line:
            golden = line.condition.golden
            assert golden.due(rig.recipes["r"]) is (not clock.set)
        (rig.folder / "inbox").rmdir()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("passed", "now", "begun"),
    [
        ("2026-03-28T22:30:00+01:00", "2026-03-29T05:59:00+02:00", False),  # a night of seven hours
        ("2026-03-28T22:30:00+01:00", "2026-03-29T06:00:00+02:00", True),
        ("2026-10-24T22:30:00+02:00", "2026-10-25T05:59:00+01:00", False),  # a night of nine
        ("2026-10-24T22:30:00+02:00", "2026-10-25T06:00:00+01:00", True),
        ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", False),  # the hour that comes twice
        ("2026-11-22T14:00:00+01:00", "2026-11-22T14:00:00+01:00", False),  # at the very begin
        ("2026-11-22T13:59:59+01:00", "2026-11-22T14:00:00+01:00", True),
        ("2026-11-22T15:00:00+01:00", "2026-11-22T14:59:30+01:00", False),  # a clock that was corrected a little
        ("2027-11-22T15:00:00+01:00", "2026-11-22T15:00:00+01:00", True),  # dated by a wrong clock
    ],
)
async def test_shifts_follow_the_local_clock(passed: str, now: str, begun: bool) -> None:
    assert shift_has_begun(at(passed), at(now), SHIFTS, ZoneInfo("Europe/Berlin")) is begun


@pytest.mark.parametrize(
    ("starts", "hours"), [(SHIFTS, 8), (("06:00",), 24), (("06:00", "18:00", "19:00"), 12), (("22:00", "06:00"), 16)]
)
async def test_the_longest_shift(starts: tuple[str, ...], hours: float) -> None:
    assert longest_shift_s(starts) == hours * 3600


async def test_parts_that_may_not_be_booked_yet_are_taken_for_passed_by_a_start(rig: Rig) -> None:
    with_golden(rig, every_parts=200)
    book = GoldenBook("r", {"r": Standing("2026-11-22T08:00:00.000Z", parts=190)})
    started = after_start(book, rig.recipes["r"], rig.recipes, {}, ())
    assert started.of("r").parts == 200
    assert after_start(book, rig.recipes["r"], rig.recipes, {"r": 7, "q": 90}, ()).of("r").parts == 207
    golden = rig.recipes["r"].settings.golden
    assert golden is not None
    assert why_due(golden, started.of("r"), new_shift=False) == "200 parts since the last one, every_parts = 200"


async def test_parts_whose_count_waited_for_the_disk_are_counted_by_the_next_start(rig: Rig) -> None:
    with_golden(rig, every_parts=13)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    killed = rig.parts()
    with killed.flight:
        for seq in range(9001, 9013):
            killed.flight.trigger(production(seq))
    async with rig.running() as link:
        assert "13 parts since the last one" in (await blocked(link)).error_text


async def test_master_parts_whose_outcome_waited_for_the_disk_leave_a_check_due(rig: Rig) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    killed = rig.parts()
    with killed.flight:
        killed.flight.trigger(replace(production(9001), mode=Mode.GOLDEN))
    async with rig.running() as link:
        assert "restarted while master parts were shown" in (await blocked(link)).error_text


async def test_a_start_with_another_recipe_is_a_changeover(rig: Rig) -> None:
    with_golden(rig, "r", 1, after_changeover=True)
    assert selected(GoldenBook("q"), rig.recipes["r"]).of("r").owed == "recipe r followed q"
    assert selected(GoldenBook("r"), rig.recipes["r"]).of("r").owed == ""
    assert selected(GoldenBook(""), rig.recipes["r"]).of("r").owed == "", "the first start ever"


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"recipes": 3}', '{"recipes": {"r": {"parts": "x"}}}'])
async def test_a_book_that_cannot_be_read_owes_every_check(text: str | None) -> None:
    assert read_book(text) == GoldenBook()


async def test_the_book_comes_back_as_it_was(rig: Rig, tmp_path: Path) -> None:
    with_golden(rig)
    async with rig.running() as link:
        await blocked(link)
        await golden_run(rig, link, ("G", False), ("B", True))
        await link.ready()
    with closing(sqlite3.connect(rig.ledger)) as connection:
        ((value,),) = connection.execute("SELECT value FROM kept WHERE name = 'golden'")
    book = read_book(value)
    assert json.loads(book.to_json()) == json.loads(value)
    assert book.run is None
    assert book.of("r").passed_utc.startswith("20")


async def test_a_line_cameras_picture_of_a_master_part_is_never_production(rig: Rig) -> None:
    rig.recipe("r", trigger="line", deadline_ms=60_000, golden=GOLDEN)
    rig.cameras["a"].trigger_mode = "line"
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        await line.handle(FromPlc(rig.link, CommandRequest(1, commands.GOLDEN_RUN)))
        came_ns = clock.monotonic_ns()
        await line.handle(FromPlc(rig.link, CommandRequest(2, commands.SELECT_AUTOMATIC)))
        await line.handle(Exposed(Picture("a", 1), None, "r", came_ns))
        await line.handle(Exposed(Picture("a", 2), None, "r", clock.monotonic_ns()))
        await line.work.settle_all(Reason.ABORTED, "aborted")
    assert [result.trigger.mode for result in rig.link.results] == [Mode.GOLDEN, Mode.PRODUCTION]
