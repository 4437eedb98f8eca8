"""How long parts take against what they may: what the takt policy is told."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from order_rig import JumpingClock
from power_rig import MAXN, W15
from station_rig import Rig

from edge_inspector.stages.power_policy import Pace
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.power_pace import FEWEST, GOOD_AGAIN, LONGEST_HOLD_S, PaceBook
from edge_inspector.station.week import Week

HOLD_S = 60.0


@pytest.fixture
def recipe(tmp_path: Path) -> LoadedRecipe:
    return Rig(tmp_path).recipe("short", deadline_ms=105)


def pace(book: PaceBook, recipe: LoadedRecipe) -> Pace:
    return book.pace(recipe, W15, {}, fresh=False)


def test_a_p99_needs_a_hundred_parts_and_is_one_of_them(recipe: LoadedRecipe) -> None:
    book = PaceBook(JumpingClock(), HOLD_S)
    for ms in range(1, FEWEST):
        book.part(float(ms))
        assert pace(book, recipe).live_p99_ms is None
    book.part(100.0)
    assert pace(book, recipe).live_p99_ms == 99.0
    assert pace(book, recipe).budget_ms == 100.0
    book.begin()
    assert pace(book, recipe).live_p99_ms is None


def test_a_late_part_begins_the_calm_anew_and_holds_its_mode(recipe: LoadedRecipe) -> None:
    clock = JumpingClock()
    book = PaceBook(clock, HOLD_S)
    clock.jump(500)
    assert pace(book, recipe).calm_s == pytest.approx(500, abs=5)
    book.late("short", W15, blame=True)
    found = pace(book, recipe)
    assert found.calm_s < 5
    assert (found.late, set(found.too_slow)) == (True, {W15.number})
    clock.jump(HOLD_S + 1)
    assert set(pace(book, recipe).too_slow) == set()


def test_several_late_parts_in_one_stay_double_nothing(recipe: LoadedRecipe) -> None:
    clock = JumpingClock()
    book = PaceBook(clock, HOLD_S)
    for _ in range(10):
        book.late("short", W15, blame=True)
    clock.jump(HOLD_S + 1)
    assert set(pace(book, recipe).too_slow) == set()


def test_a_mode_is_held_for_its_own_recipe_alone(recipe: LoadedRecipe) -> None:
    book = PaceBook(JumpingClock(), HOLD_S)
    book.late("another", W15, blame=True)
    book.late("short", MAXN, blame=False)
    book.late("short", None, blame=True)
    found = pace(book, recipe)
    assert (found.late, set(found.too_slow)) == (True, set())


def test_no_mode_is_held_for_more_than_a_day(recipe: LoadedRecipe) -> None:
    clock = JumpingClock()
    book = PaceBook(clock, HOLD_S)
    for _ in range(20):
        book.begin()
        book.late("short", W15, blame=True)
    clock.jump(LONGEST_HOLD_S - 5)
    assert set(pace(book, recipe).too_slow) == {W15.number}
    clock.jump(10)
    assert set(pace(book, recipe).too_slow) == set()


@pytest.mark.parametrize(
    ("well_s", "next_s"), [(GOOD_AGAIN * HOLD_S - 5, 2 * HOLD_S), (GOOD_AGAIN * HOLD_S + 5, HOLD_S)]
)
def test_a_mode_that_did_well_for_long_is_forgiven(recipe: LoadedRecipe, well_s: float, next_s: float) -> None:
    clock = JumpingClock()
    book = PaceBook(clock, HOLD_S)
    book.late("short", W15, blame=True)
    book.begin()
    clock.jump(well_s)
    pace(book, recipe)
    book.late("short", W15, blame=True)
    clock.jump(next_s - 5)
    assert set(pace(book, recipe).too_slow) == {W15.number}
    clock.jump(10)
    assert set(pace(book, recipe).too_slow) == set()


class Calendar(JumpingClock):
    """At a time of the test's own."""

    def __init__(self, utc: str, synced: bool = True) -> None:
        super().__init__()
        self.utc_now, self.set_now = utc, synced

    def utc(self) -> str:
        return self.utc_now

    def synced(self) -> bool:
        return self.set_now


@pytest.mark.parametrize(
    ("utc", "zone", "minute"),
    [
        ("2026-11-23T00:00:00.000Z", "UTC", 0),
        ("2026-11-22T23:59:59.999Z", "UTC", 7 * 1440 - 1),
        ("2026-11-22T23:30:00.000Z", "Europe/Berlin", 30),
        ("2026-07-05T22:30:00.000Z", "Europe/Berlin", 30),
    ],
)
def test_the_week_begins_on_monday_by_the_local_clock(utc: str, zone: str, minute: int) -> None:
    assert Week(Calendar(utc), ZoneInfo(zone)).minute() == minute


def test_a_clock_that_is_not_set_knows_no_week() -> None:
    clock = Calendar("1970-01-01T00:00:00.000Z", synced=False)
    week = Week(clock, ZoneInfo("UTC"))
    assert week.minute() is None
    clock.utc_now, clock.set_now = "2026-11-23T06:00:00.000Z", True
    assert week.minute() == 360
    clock.utc_now, clock.set_now = "2026-11-23T23:00:00.000Z", False  # the time server went away
    assert week.minute() == 1380


@pytest.mark.parametrize(
    ("utc", "minute"),
    [("2026-10-25T00:30:00.000Z", 150), ("2026-10-25T01:30:00.000Z", 150), ("2027-03-28T01:00:00.000Z", 180)],
    ids=["half past two", "half past two again", "three, and it was never two"],
)
def test_shifts_follow_the_clock_on_the_wall_when_it_is_put_on_or_back(utc: str, minute: int) -> None:
    assert Week(Calendar(utc), ZoneInfo("Europe/Berlin")).minute() == 6 * 1440 + minute
