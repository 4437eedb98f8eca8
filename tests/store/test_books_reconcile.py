"""The equations against a plain count of what was booked, and each kind of gap by itself."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, OutboxMessage, Reason, Refusal, Trigger
from edge_inspector.store.book_file import connect_read_only
from edge_inspector.store.books import read_books, sums_of
from edge_inspector.store.gaps import Gap
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.periods import Period, between, parsed
from edge_inspector.store.reconcile import Balance, reconcile
from edge_inspector.store.records import (
    BookAcknowledged,
    BookLate,
    BookRefusal,
    BookResult,
    BookStarted,
    BookStopped,
    BookTrigger,
    BookUnannounced,
    Delivered,
    GivenUp,
)

WALL = "2026-11-22T00:00:00.123Z"  # of every trigger of these fixtures, unless it says another
LATER = "2026-11-22T12:00:00.000Z"
AT_ONCE = "2026-11-22T00:00:01.000Z"
ALL = Period("all")
BOOT, BOOT_AFTER = 4711, 4712
Make = Callable[..., Any]


@dataclass(frozen=True)
class Makers:
    trigger: Callable[..., Trigger]
    result: Callable[..., InspectionResult]
    refusal: Callable[..., Refusal]
    message: Callable[..., OutboxMessage]

    def part(self, seq: int, *, told: bool | None = True, **changes: Any) -> list[Any]:
        """A part with a good result that was published; `changes` are those of its trigger."""
        one = self.trigger(seq, **changes)
        return [BookTrigger(None, one), BookResult(None, replace(self.result(one), frame_ids=(seq,)), told=told)]


@pytest.fixture
def make(
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    refusal: Callable[..., Refusal],
    message: Callable[..., OutboxMessage],
) -> Makers:
    return Makers(trigger, result, refusal, message)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def write(path: Path, *records: Any) -> Path:
    """A book whose name is that of the fixtures' result_ids."""
    with Ledger(path, ["mqtt", "cloud"]), closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE meta SET value = '0a1b2c3d' WHERE name = 'book'")
    with Ledger(path, ["mqtt", "cloud"]) as ledger:
        for record in records:
            ledger.submit(record)
        ledger.close()
        ledger.run()
    return path


def started(boot_id: int = BOOT, first_seq: int = 1, *, flight_kept: bool = False) -> BookStarted:
    return BookStarted(boot_id, first_seq, flight_kept, WALL)


def balance(path: Path, period: Period = ALL, now_utc: str = LATER, listed: int = 10) -> Balance:
    with closing(connect_read_only(path)) as connection:
        (made,) = reconcile(connection, [period], now_utc, listed)
    return made


def terms(made: Balance, name: str) -> tuple[int, dict[str, int]]:
    equation = next(one for one in made.equations if one.name == name)
    return equation.total, dict(equation.terms)


def gaps(made: Balance) -> list[Gap]:
    return [gap for equation in made.equations for gap in equation.gaps]


def only_gap(made: Balance) -> tuple[str, str, bool, int, list[int]]:
    (gap,) = gaps(made)
    return gap.equation, gap.term, gap.explained, gap.count, [part.seq for part in gap.parts]


# --- everything at once, against a count by hand ---------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """What becomes of one part."""

    has_result: bool
    told: bool | None
    acknowledged: bool
    pictures: tuple[bool, ...]
    to_mqtt: str
    to_cloud: str
    manual: bool


FATES = st.builds(
    Fate,
    has_result=st.sampled_from([True, True, True, False]),
    told=st.sampled_from([True, False, None]),
    acknowledged=st.booleans(),
    pictures=st.lists(st.booleans(), min_size=1, max_size=3).map(tuple),
    to_mqtt=st.sampled_from(["delivered", "waiting", "given up"]),
    to_cloud=st.sampled_from(["delivered", "waiting", "given up"]),
    manual=st.booleans(),
)


def booked(make: Makers, fates: list[Fate], refused: list[int]) -> Iterator[Any]:
    """The records of these parts, with every message behind them as it ended."""
    yield started()
    row = 0
    for seq, fate in enumerate(fates, start=1):
        one = make.trigger(seq, mode=Mode.MANUAL if fate.manual else Mode.PRODUCTION)
        yield BookTrigger(None, one)
        if not fate.has_result:
            continue
        views = tuple(f"cam{n}" for n in range(len(fate.pictures)))
        frame_ids = tuple(seq if there else -1 for there in fate.pictures)
        made = replace(make.result(one, 1), views=views, frame_ids=frame_ids)  # a reject: a picture may be missing
        messages = tuple(make.message(seq, destination) for destination in ("mqtt", "cloud"))
        yield BookResult(None, made, told=fate.told, messages=messages)
        if fate.acknowledged:
            yield BookAcknowledged((one.result_id,), AT_ONCE)
        for destination, end in (("mqtt", fate.to_mqtt), ("cloud", fate.to_cloud)):
            row += 1
            if end == "delivered":
                yield Delivered(destination, (row,))
            elif end == "given up":
                yield GivenUp(destination, row, "too large", AT_ONCE)
    for count in refused:
        yield BookRefusal(None, make.refusal(count=count))


@given(fates=st.lists(FATES, max_size=25), refused=st.lists(st.integers(1, 9), max_size=3), removed=st.integers(0, 25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_equations_are_the_count_by_hand_and_removing_parts_changes_no_sum(
    make: Makers, fates: list[Fate], refused: list[int], removed: int
) -> None:
    ends = [(fate.to_mqtt, fate.to_cloud) if fate.has_result else () for fate in fates]
    waiting = [seq for seq, end in enumerate(ends) if "waiting" in end]
    removed = min([removed, len(fates), *waiting])  # retention keeps what waits, and what came after it
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "ledger.sqlite", *booked(make, fates, refused))
        made, books = balance(path), read_books(path)
        _check_by_hand(made, fates, refused)
        _remove(path, removed)
        after, books_after = balance(path), read_books(path)
    for equation, left in zip(made.equations, after.equations, strict=True):
        assert (left.total, left.terms[0]) == (equation.total, equation.terms[0])
        assert left.balanced == equation.balanced
    assert after.removed == removed
    assert (after.acknowledged, after.balanced) == (made.acknowledged, made.balanced)
    for name in ("accepted", "results", "ok", "not_ok", "told", "not_told", "acknowledged", "dropped", "triggers"):
        assert getattr(books_after, name) == getattr(books, name), name
    assert books_after.balanced == books.balanced


def _check_by_hand(made: Balance, fates: list[Fate], refused: list[int]) -> None:
    results = [fate for fate in fates if fate.has_result]
    of_the_line = [fate for fate in results if not fate.manual]
    assert terms(made, "triggers") == (len(fates) + sum(refused), {"accepted": len(fates), "refused": sum(refused)})
    total, found = terms(made, "accepted")
    assert (total, found["results"], found.get("unknown", 0)) == (len(fates), len(results), len(fates) - len(results))
    told = Counter(
        "told" if f.told or f.acknowledged else "not told" if f.told is False else "waiting" for f in results
    )
    total, found = terms(made, "told")
    assert (total, Counter(found)) == (len(results), told)
    published = Counter(
        "waiting" if "waiting" in ends else "given up" if "given up" in ends else "published"
        for ends in ((fate.to_mqtt, fate.to_cloud) for fate in results)
    )
    total, found = terms(made, "published")
    assert (total, Counter(found)) == (len(results), published)
    total, found = terms(made, "views")
    assert total == sum(len(fate.pictures) for fate in of_the_line)
    assert found["pictures"] == sum(sum(fate.pictures) for fate in of_the_line)
    assert all(equation.total == sum(count for _, count in equation.terms) for equation in made.equations)
    harmless = {"results", "told", "not told", "published"}
    seen = {term for name in ("accepted", "told", "published") for term, n in terms(made, name)[1].items() if n}
    assert made.balanced == (seen <= harmless)


def _remove(path: Path, count: int) -> None:
    """The oldest parts, as retention does it."""
    with closing(sqlite3.connect(path)) as writer, writer:
        row = (LATER, count, json.dumps(sums_of(writer, 1, count)))
        writer.execute("INSERT INTO removed (wall_utc, first_seq, last_seq, sums) VALUES (?, 1, ?, ?)", row)
        for table in ("dropped", "defects", "results", "triggers"):
            writer.execute(f"DELETE FROM {table} WHERE seq <= ?", (count,))


# --- each gap by itself ----------------------------------------------------------------------------------------------


def test_an_empty_book_balances(path: Path) -> None:
    made = balance(write(path))
    assert made.balanced
    assert [equation.total for equation in made.equations] == [0] * 5


def test_a_part_that_is_being_inspected_is_open_and_no_gap_until_its_time_is_over(path: Path, make: Makers) -> None:
    write(path, started(), *make.part(1), BookTrigger(None, make.trigger(2)))  # due after 0.5 s
    made = balance(path, now_utc="2026-11-22T00:00:10.600Z")
    assert only_gap(made) == ("accepted", "open", True, 1, [2])
    assert made.balanced
    made = balance(path, now_utc="2026-11-22T00:00:10.700Z")
    assert only_gap(made) == ("accepted", "unknown", False, 1, [2])
    assert "its next start will say" in gaps(made)[0].reason
    assert not made.balanced


def test_a_part_of_an_earlier_start_is_never_open(path: Path, make: Makers) -> None:
    write(path, started(), BookTrigger(None, make.trigger(1)), started(BOOT_AFTER, 2, flight_kept=True))
    made = balance(path, now_utc=AT_ONCE)
    assert only_gap(made) == ("accepted", "unknown", False, 1, [1])
    assert "started again since" in gaps(made)[0].reason


def test_what_a_power_cut_left_open_is_unknown_for_ever(path: Path, make: Makers) -> None:
    write(
        path,
        started(),
        *make.part(1),
        BookTrigger(None, make.trigger(2)),
        started(BOOT_AFTER, 10_003),
        *make.part(10_003, boot_id=BOOT_AFTER, plc_boot_id=816),
    )
    made = balance(path)
    assert only_gap(made) == ("accepted", "unknown", False, 1, [2])
    assert "power was cut" in gaps(made)[0].reason
    assert [(cut.after_seq, cut.proven) for cut in made.power_cuts] == [(2, False)]
    assert not made.balanced


@pytest.mark.parametrize(
    ("changes", "proven"),
    [
        pytest.param({"trigger_seq": 102}, True, id="the PLC's count goes on"),
        pytest.param({"trigger_seq": 103}, False, id="the PLC has counted a part that is not in the book"),
        pytest.param({"trigger_seq": 102, "plc_boot_id": 816}, False, id="the PLC was started again, too"),
    ],
)
def test_after_a_power_cut_without_an_open_part_only_the_plcs_count_can_balance(
    path: Path, make: Makers, changes: dict[str, int], proven: bool
) -> None:
    after = make.part(10_002, boot_id=BOOT_AFTER, **changes)
    made = balance(write(path, started(), *make.part(1), started(BOOT_AFTER, 10_002), *after))
    assert gaps(made) == []
    assert [(cut.after_seq, cut.proven) for cut in made.power_cuts] == [(1, proven)]
    assert made.balanced is proven


def test_parts_that_no_plc_counts_prove_nothing_after_a_power_cut(path: Path, make: Makers) -> None:
    before, after = ({"trigger_seq": n, "plc_boot_id": 0} for n in (1, 2))
    records = [*make.part(1, **before), started(BOOT_AFTER, 10_002), *make.part(10_002, boot_id=BOOT_AFTER, **after)]
    assert not balance(write(path, started(), *records)).balanced


def test_a_power_cut_shows_before_a_part_has_come_after_it(path: Path, make: Makers) -> None:
    made = balance(write(path, started(), *make.part(1), started(BOOT_AFTER, 10_002)))
    assert not made.balanced
    assert len(made.power_cuts) == 1


def test_a_clean_stop_and_a_new_boot_of_the_machine_balance(path: Path, make: Makers) -> None:
    after = make.part(10_002, boot_id=BOOT_AFTER, plc_boot_id=816)
    made = balance(
        write(path, started(), *make.part(1), BookStopped(BOOT, AT_ONCE), started(BOOT_AFTER, 10_002), *after)
    )
    assert (made.balanced, made.power_cuts, gaps(made)) == (True, (), [])


def test_a_killed_program_that_finds_its_flight_record_again_balances(path: Path, make: Makers) -> None:
    after = make.part(2, boot_id=BOOT_AFTER)
    made = balance(write(path, started(), *make.part(1), started(BOOT_AFTER, 2, flight_kept=True), *after))
    assert (made.balanced, made.power_cuts) == (True, ())


def test_a_book_of_older_software_says_nothing_of_how_it_ended(path: Path, make: Makers) -> None:
    after = make.part(10_002, boot_id=BOOT_AFTER, plc_boot_id=816)
    assert not balance(write(path, *make.part(1), started(BOOT_AFTER, 10_002), *after)).balanced


def test_rows_that_were_taken_out_are_lost(path: Path, make: Makers) -> None:
    write(path, started(), *(record for seq in range(1, 8) for record in make.part(seq)))
    with closing(sqlite3.connect(path)) as writer, writer:
        for table in ("results", "triggers"):
            writer.execute(f"DELETE FROM {table} WHERE seq IN (1, 4, 5)")
    made = balance(path)
    assert only_gap(made) == ("triggers", "lost", False, 3, [1, 4, 5])
    assert terms(made, "triggers") == (7, {"accepted": 4, "refused": 0, "lost": 3})


def test_a_huge_hole_is_counted_and_not_written_out(path: Path, make: Makers) -> None:
    write(path, started(), *make.part(1), *make.part(2**31))
    assert only_gap(balance(path, listed=3)) == ("triggers", "lost", False, 2**31 - 2, [2, 3, 4])


def test_a_book_that_took_over_from_a_damaged_one_begins_with_its_parts_and_has_no_hole(
    path: Path, make: Makers
) -> None:
    old = make.part(498, result_id="line1.ffffffff.498")
    made = balance(write(path, started(first_seq=500, flight_kept=True), *old, *make.part(500), *make.part(502)))
    assert only_gap(made) == ("triggers", "lost", False, 1, [501])


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        pytest.param({}, {}, "no PLC could take them", id="nobody was there"),
        pytest.param({"mode": Mode.MANUAL}, {}, "manual", id="a posted picture"),
        pytest.param(
            {}, {"evaluation": Evaluation.UNDEFINED, "reason": Reason.RESTART}, "restart", id="killed while it was open"
        ),
    ],
)
def test_a_result_that_no_plc_was_told_is_listed_and_balances(
    path: Path, make: Makers, changes: dict[str, Any], verdict: dict[str, Any], reason: str
) -> None:
    one = make.trigger(1, **changes)
    made_result = replace(make.result(one), frame_ids=(1,), **verdict)
    made = balance(write(path, started(), BookTrigger(None, one), BookResult(None, made_result, told=False)))
    assert only_gap(made) == ("told", "not told", True, 1, [1])
    assert gaps(made)[0].reason.startswith(reason)
    assert made.balanced


def test_a_result_on_its_way_to_the_plc_is_no_gap_and_one_that_waits_is(path: Path, make: Makers) -> None:
    write(path, started(), *make.part(1, told=None))
    made = balance(path, now_utc=AT_ONCE)
    assert (only_gap(made), made.balanced) == (("told", "on the way", True, 1, [1]), True)
    made = balance(path)
    assert (only_gap(made), made.balanced) == (("told", "waiting", False, 1, [1]), False)


def test_of_a_result_of_an_earlier_start_nobody_knows_whether_it_was_told(path: Path, make: Makers) -> None:
    write(path, started(), *make.part(1, told=None), started(BOOT_AFTER, 2, flight_kept=True))
    made = balance(path, now_utc=AT_ONCE)
    assert (only_gap(made), made.balanced) == (("told", "unknown", False, 1, [1]), False)


@pytest.mark.parametrize("told", [None, False])
def test_what_the_plc_has_acknowledged_it_was_told(path: Path, make: Makers, told: bool | None) -> None:
    part = make.part(1, told=told)
    acknowledged = BookAcknowledged((make.trigger(1).result_id,), AT_ONCE)
    made = balance(write(path, started(), *part, acknowledged, started(BOOT_AFTER, 2, flight_kept=True)))
    assert (made.balanced, made.acknowledged, gaps(made)) == (True, 1, [])
    assert read_books(path).told == 1


def message_of(make: Makers, schema: str = "vision.result/1", destination: str = "mqtt") -> list[Any]:
    trigger_, booked_ = make.part(1)
    return [trigger_, replace(booked_, messages=(replace(make.message(1, destination), schema=schema),))]


def test_a_message_is_on_its_way_at_first_and_waits_later(path: Path, make: Makers) -> None:
    write(path, started(), *message_of(make))
    made = balance(path, now_utc=AT_ONCE)
    assert (only_gap(made), made.balanced) == (("published", "on the way", True, 1, [1]), True)
    assert balance(path, now_utc="2026-11-22T00:00:10.123Z").balanced
    assert not balance(path, now_utc="2026-11-22T00:00:10.124Z").balanced
    made = balance(path)
    assert (only_gap(made), made.balanced) == (("published", "waiting", False, 1, [1]), False)
    assert gaps(made)[0].reason == "for mqtt"


def test_a_message_that_was_given_up_is_a_gap_with_the_brokers_word(path: Path, make: Makers) -> None:
    made = balance(write(path, started(), *message_of(make), GivenUp("mqtt", 1, "packet too large", AT_ONCE)))
    assert (only_gap(made), made.balanced) == (("published", "given up", False, 1, [1]), False)
    assert gaps(made)[0].reason == "mqtt: packet too large"


def test_a_picture_that_follows_later_leaves_its_result_published(path: Path, make: Makers) -> None:
    made = balance(write(path, started(), *message_of(make, "vision.image/1")))
    assert (made.balanced, gaps(made)) == (True, [])


def test_a_view_without_a_picture_is_listed_with_the_camera_and_the_reason(path: Path, make: Makers) -> None:
    one = make.trigger(1)
    changes = {"evaluation": Evaluation.UNDEFINED, "reason": Reason.NO_FRAME, "views": ("top", "side")}
    made_result = replace(make.result(one), **changes, frame_ids=(3, -1))
    made = balance(write(path, started(), BookTrigger(None, one), BookResult(None, made_result, told=True)))
    assert only_gap(made) == ("views", "without picture", True, 1, [1])
    assert gaps(made)[0].reason == "side: no frame"
    assert terms(made, "views") == (2, {"pictures": 1, "without picture": 1})
    assert made.balanced


@pytest.mark.parametrize("frame_ids", [(3, -1), (3,), ()])
def test_a_good_part_without_one_of_its_pictures_is_a_contradiction(
    path: Path, make: Makers, frame_ids: tuple[int, ...]
) -> None:
    one = make.trigger(1)
    made_result = replace(make.result(one), views=("top", "side"), frame_ids=frame_ids)
    made = balance(write(path, started(), BookTrigger(None, one), BookResult(None, made_result, told=True)))
    assert {gap.term for gap in gaps(made)} == {"contradiction"}
    assert sum(gap.count for gap in gaps(made)) == 2 - len([frame for frame in frame_ids if frame != -1])
    assert not made.balanced


def test_late_and_unannounced_are_counted_and_no_gaps(path: Path, make: Makers) -> None:
    late = BookLate(make.trigger(1).result_id, "top", 5, AT_ONCE)
    made = balance(write(path, started(), *make.part(1), late, BookUnannounced("top", 9, "nobody's", AT_ONCE)))
    assert (made.late, made.unannounced, made.balanced) == (1, 1, True)


def test_a_period_has_its_own_parts_and_the_whole_has_them_all(path: Path, make: Makers) -> None:
    early, late = "2026-11-22T05:59:59.999Z", "2026-11-22T06:00:00.000Z"
    write(
        path,
        started(),
        *make.part(1, wall_utc=early),
        *make.part(2, wall_utc=late, told=False),
        BookRefusal(None, make.refusal(wall_utc=late, count=3)),
        *make.part(3, wall_utc="1970-01-01T00:00:00.000Z", clock_synced=False, told=False),
    )
    first, second = between(None, parsed(late)), between(parsed(late), None)
    unset = Period("clock not set", clock=False)
    told = [terms(balance(path, period), "told") for period in (ALL, first, second, unset)]
    assert told == [
        (3, {"told": 1, "not told": 2}),
        (1, {"told": 1}),
        (1, {"told": 0, "not told": 1}),
        (1, {"told": 0, "not told": 1}),
    ]
    refused = [terms(balance(path, period), "triggers")[1]["refused"] for period in (ALL, first, second, unset)]
    assert refused == [3, 0, 3, 0]


def test_a_power_cut_unbalances_the_shift_of_the_last_part_before_it(path: Path, make: Makers) -> None:
    early, late = "2026-11-22T05:00:00.000Z", "2026-11-22T07:00:00.000Z"
    after = make.part(10_002, boot_id=BOOT_AFTER, plc_boot_id=816, wall_utc=late)
    write(path, started(), *make.part(1, wall_utc=early), started(BOOT_AFTER, 10_002), *after)
    change = parsed("2026-11-22T06:00:00.000Z")
    assert not balance(path, between(None, change)).balanced
    assert balance(path, between(change, None)).balanced
    assert not balance(path).balanced


def test_what_was_removed_counts_in_the_whole_book_and_in_no_period(path: Path, make: Makers) -> None:
    write(path, started(), *make.part(1), *make.part(2))
    _remove(path, 1)
    assert terms(balance(path), "accepted")[0] == 2
    assert terms(balance(path, between(parsed(WALL), None)), "accepted")[0] == 1


def test_a_power_cut_before_the_first_part_shows_as_well(path: Path) -> None:
    made = balance(write(path, started(), started(BOOT_AFTER, 1)))
    assert [(cut.after_seq, cut.proven) for cut in made.power_cuts] == [(0, False)]
    assert not made.balanced


def test_parts_of_the_book_before_that_a_new_book_takes_from_the_flight_record_make_no_hole(
    path: Path, make: Makers
) -> None:
    old = make.part(498, result_id="line1.ffffffff.498")
    made = balance(write(path, started(flight_kept=True), *old, *make.part(499)))
    assert (gaps(made), made.balanced) == ([], True)


def test_a_pictures_message_that_was_given_up_leaves_its_removed_result_published(path: Path, make: Makers) -> None:
    write(path, started(), *message_of(make, "vision.image/1"), GivenUp("mqtt", 1, "too large", AT_ONCE))
    _remove(path, 1)
    assert terms(balance(path), "published") == (1, {"published": 1})
