from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge_inspector.datatypes import Evaluation, Event, InspectionResult, OutboxMessage, Reason, Refusal, Trigger
from edge_inspector.store.book_file import open_book, transaction
from edge_inspector.store.books import read_books
from edge_inspector.store.records import (
    BookEvent,
    BookImage,
    BookImageRemoved,
    BookRefusal,
    BookResult,
    BookTrigger,
    Delivered,
)
from edge_inspector.store.retention import NEWEST_KEPT, STEP, Retention
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.writing import write

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
MakeMessage = Callable[..., OutboxMessage]
NOW = datetime(2026, 11, 22, 12, 0)


class FakeClock:
    def __init__(self) -> None:
        self.now = NOW
        self.is_synced = True

    def monotonic_ns(self) -> int:
        return 0

    def utc(self) -> str:
        return self.now.isoformat(timespec="milliseconds") + "Z"

    def synced(self) -> bool:
        return self.is_synced


def utc(days_ago: float) -> str:
    return (NOW - timedelta(days=days_ago)).isoformat(timespec="milliseconds") + "Z"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_book(tmp_path / "ledger", LedgerSettings.model_validate({}))) as connection:
        yield connection


def retained(clock: FakeClock, *, outbox_bytes: int = 0, **limits: int) -> Retention:
    return Retention(LedgerSettings.model_validate(limits), ["mqtt"], clock, lambda: outbox_bytes)


def one_pass(made: Retention, book: sqlite3.Connection) -> int:
    """How many steps it took."""
    made.begin()
    for steps in range(1, 10_000):
        with transaction(book):
            more = made.step(book)
        if not more:
            return steps
    raise AssertionError("the pass has no end")


def part(book: sqlite3.Connection, result: InspectionResult, *messages: object) -> None:
    write(book, BookResult(None, result, told=True, messages=messages))  # type: ignore[arg-type]


def numbers(book: sqlite3.Connection, query: str = "SELECT seq FROM triggers ORDER BY seq") -> list[int]:
    return [row[0] for row in book.execute(query)]


@pytest.fixture
def thousand_new(book: sqlite3.Connection, trigger: MakeTrigger) -> None:
    """Parts 1001 to 2000, of now: the newest thousand, which always stay."""
    with transaction(book):
        for seq in range(1001, 1001 + NEWEST_KEPT):
            write(book, BookTrigger(None, trigger(seq, wall_utc=utc(0))))


def test_parts_older_than_keep_days_are_removed_and_their_sums_stay(
    tmp_path: Path, book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, result: MakeResult,
    refusal: Callable[..., Refusal], thousand_new: None,
) -> None:  # fmt: skip
    before = read_books(tmp_path / "ledger")
    with transaction(book):
        for seq, age in ((1, 31.0), (2, 30.001), (3, 29.999)):
            part(book, result(trigger(seq, wall_utc=utc(age)), defects=seq % 2))
        write(book, BookTrigger(None, trigger(4, wall_utc=utc(29))))
        write(book, BookRefusal(None, refusal(7, count=3, wall_utc=utc(31))))
        write(book, BookRefusal(None, refusal(8, wall_utc=utc(1))))
        write(book, BookEvent(Event("info", "old", "", utc(40))))
        write(book, BookEvent(Event("info", "new", "", utc(2))))
    whole = read_books(tmp_path / "ledger")
    assert (whole.accepted, whole.results, whole.refused) == (before.accepted + 4, 3, 4)
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book)[:3] == [3, 4, 1001]
    assert numbers(book, "SELECT DISTINCT seq FROM defects") == [3]
    assert book.execute("SELECT code FROM events").fetchall() == [("new",)]
    assert book.execute("SELECT trigger_seq FROM refusals").fetchall() == [(8,)]
    after = read_books(tmp_path / "ledger")
    assert (after.accepted, after.results, after.refused, after.ok, after.not_ok, after.told) == (
        whole.accepted, 3, 4, 1, 2, 3,
    )  # fmt: skip
    ((first, last, sums),) = book.execute("SELECT first_seq, last_seq, sums FROM removed").fetchall()
    assert (first, last) == (1, 2)
    assert {name: count for name, count in json.loads(sums).items() if count} == {
        "accepted": 2, "results": 2, "ok": 1, "not_ok": 1, "told": 2, "views": 2, "refused": 3, "events": 1,
    }  # fmt: skip


def test_nothing_goes_by_age_while_the_clock_is_not_set(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, thousand_new: None
) -> None:
    write(book, BookTrigger(None, trigger(1, wall_utc=utc(400))))
    clock.is_synced = False
    one_pass(retained(clock, keep_days=1), book)
    assert numbers(book)[0] == 1
    clock.is_synced = True
    one_pass(retained(clock, keep_days=1), book)
    assert numbers(book)[0] == 1001


@pytest.mark.parametrize(
    ("ages", "left"),
    [
        pytest.param([(90, True), (1, False), (80, True)], [], id="as old as the next part whose time is known"),
        pytest.param([(90, True), (300, False), (5, True)], [2, 3], id="a clock that stood in 1970 says nothing"),
        pytest.param([(300, False), (300, False), (300, False)], [1, 2, 3], id="the next one with a time is new"),
        pytest.param([(90, True), (5, True), (90, True)], [2, 3], id="the clock was set back: only the old end goes"),
    ],
)
def test_a_part_of_an_unset_clock_is_as_old_as_the_next_one(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, thousand_new: None,
    ages: list[tuple[float, bool]], left: list[int],
) -> None:  # fmt: skip
    for seq, (age, synced) in enumerate(ages, 1):
        write(book, BookTrigger(None, trigger(seq, wall_utc=utc(age), clock_synced=synced)))
    one_pass(retained(clock, keep_days=30), book)
    assert [seq for seq in numbers(book) if seq < 1001] == left


def test_more_unset_than_fit_one_step_go_with_the_known_one_behind_them(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, thousand_new: None
) -> None:
    unset = STEP + 20
    for seq in range(1, unset + 1):
        write(book, BookTrigger(None, trigger(seq, wall_utc="1970-01-01T00:00:10.000Z", clock_synced=False)))
    made = retained(clock, keep_days=30)
    one_pass(made, book)
    assert numbers(book)[0] == 1  # the next known one, 1001, is of today
    write(book, BookTrigger(None, trigger(unset + 1, wall_utc=utc(31))))
    assert one_pass(made, book) > 2
    assert numbers(book)[0] == 1001


def test_events_of_an_unset_clock_stay_until_a_dated_one_behind_them_is_old(
    book: sqlite3.Connection, clock: FakeClock
) -> None:
    for code, stamp in (("a", "1970-01-01T00:00:10.000Z"), ("b", utc(3))):
        write(book, BookEvent(Event("info", code, "", stamp)))
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book, "SELECT code FROM events ORDER BY id") == ["a", "b"]
    clock.now += timedelta(days=28)
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book, "SELECT code FROM events") == []


def test_what_waits_for_a_broker_stays_and_what_waits_for_nobody_goes(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, result: MakeResult,
    message: Callable[..., object], thousand_new: None,
) -> None:  # fmt: skip
    part(book, result(trigger(1, wall_utc=utc(90))), message(1, "removed-from-the-station-file"))
    part(book, result(trigger(2, wall_utc=utc(90))), message(2))
    part(book, result(trigger(3, wall_utc=utc(90))))
    made = retained(clock, keep_days=30)
    one_pass(made, book)
    assert numbers(book)[:2] == [2, 3]  # 3 is published, but only the old end goes
    write(book, Delivered("mqtt", (2,)))
    one_pass(made, book)
    assert numbers(book)[0] == 1001


def test_the_newest_thousand_stay_however_old_they_are(
    book: sqlite3.Connection, clock: FakeClock, thousand_new: None, trigger: MakeTrigger
) -> None:
    write(book, BookTrigger(None, trigger(999, wall_utc=utc(0))))
    clock.now += timedelta(days=5000)
    one_pass(retained(clock, keep_days=1), book)
    assert numbers(book) == list(range(1001, 2001))


def test_a_large_book_loses_its_oldest_parts_until_it_is_small_enough_and_the_file_shrinks(
    tmp_path: Path, book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, result: MakeResult
) -> None:
    clock.is_synced = False  # size needs no clock
    parts = 3000
    with transaction(book):
        for seq in range(1, parts + 1):
            part(book, result(trigger(seq), defects=3, reason_text="x" * 4800))
            write(book, BookEvent(Event("info", "note", "", f"2026-11-{1 + seq * 20 // parts:02d}T00:00:00.000Z")))
        book.execute("UPDATE triggers SET wall_utc = '2026-11-' || substr('00' || (1 + seq * 20 / ?), -2)", (parts,))
    book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file_before = (tmp_path / "ledger").stat().st_size
    made = retained(clock, max_mb=10)
    assert one_pass(made, book) < 40  # a step gives back many pages at once
    assert 9_000_000 < made.size_bytes <= 10_000_000
    book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "ledger").stat().st_size < 11_500_000 < file_before
    kept = numbers(book)
    assert kept == list(range(kept[0], parts + 1))
    assert 1000 < len(kept) < parts - 100
    books = read_books(tmp_path / "ledger")
    assert (books.accepted, books.results, books.not_ok) == (parts, parts, parts)
    oldest = book.execute("SELECT min(wall_utc) FROM triggers").fetchone()[0]
    assert book.execute("SELECT min(wall_utc) >= ? FROM events", (oldest,)).fetchone() == (1,)
    assert book.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_outbox_does_not_count_as_a_large_book(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, result: MakeResult
) -> None:
    with transaction(book):
        for seq in range(1, 2501):
            part(book, result(trigger(seq), reason_text="x" * 4000))
    made = retained(clock, max_mb=10, outbox_bytes=3_000_000)
    one_pass(made, book)
    assert made.size_bytes > 10_000_000
    assert numbers(book)[0] == 1


def test_each_day_has_one_row_of_sums_and_a_step_is_small(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, thousand_new: None
) -> None:
    for seq in range(1, 2 * STEP + 2):
        write(book, BookTrigger(None, trigger(seq, wall_utc=utc(90))))
    made = retained(clock, keep_days=30)
    made.begin()
    with transaction(book):
        assert made.step(book)
    assert numbers(book)[0] == STEP + 1
    one_pass(made, book)
    clock.now += timedelta(days=1)
    write(book, BookTrigger(None, trigger(500, wall_utc=utc(90))))
    one_pass(made, book)
    rows = book.execute("SELECT substr(wall_utc, 1, 10), first_seq, last_seq, sums FROM removed").fetchall()
    assert [row[:3] for row in rows] == [("2026-11-22", 1, 2 * STEP + 1), ("2026-11-23", 500, 500)]
    assert [json.loads(row[3])["unknown"] for row in rows] == [2 * STEP + 1, 1]


def test_rows_of_pictures_go_when_their_files_are_gone(
    book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, thousand_new: None,
    saved: Callable[..., object],
) -> None:  # fmt: skip
    for seq in (1, 2):
        write(book, BookTrigger(None, trigger(seq, wall_utc=utc(90))))
        write(book, BookImage(saved(seq)))  # type: ignore[arg-type]
    write(book, BookImageRemoved(("1.png",), utc(50)))
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book, "SELECT seq FROM images") == [2]


def test_dropped_messages_go_with_their_part_and_are_counted_once(
    tmp_path: Path, book: sqlite3.Connection, clock: FakeClock, trigger: MakeTrigger, result: MakeResult,
    thousand_new: None,
) -> None:  # fmt: skip
    undecided = {"evaluation": Evaluation.UNDEFINED, "reason": Reason.DEADLINE}
    part(book, result(trigger(1, wall_utc=utc(90)), **undecided))
    book.execute("INSERT INTO dropped (destination, schema, seq, wall_utc) VALUES ('mqtt', 's', 1, ?)", (utc(89),))
    book.execute("INSERT INTO dropped (destination, schema, seq, wall_utc) VALUES ('mqtt', 's', 0, ?)", (utc(88),))
    book.execute("INSERT INTO dropped (destination, schema, seq, wall_utc) VALUES ('mqtt', 's', 1500, ?)", (utc(88),))
    assert read_books(tmp_path / "ledger").dropped == 3
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book, "SELECT seq FROM dropped") == [1500]
    assert read_books(tmp_path / "ledger").dropped == 3


def test_a_part_whose_messages_wait_behind_a_thousand_events_stays(
    book: sqlite3.Connection,
    clock: FakeClock,
    trigger: MakeTrigger,
    result: MakeResult,
    message: MakeMessage,
    thousand_new: None,
) -> None:
    with transaction(book):
        for _ in range(1200):
            write(book, BookEvent(Event("info", "note", "", utc(50)), (message(0),)))
        part(book, result(trigger(1, wall_utc=utc(40))), message(1))
        part(book, result(trigger(2, wall_utc=utc(40))))
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book)[:2] == [1, 2]
    book.execute("DELETE FROM outbox")
    one_pass(retained(clock, keep_days=30), book)
    assert numbers(book)[0] == 1001
