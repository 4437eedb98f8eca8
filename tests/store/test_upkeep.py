from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from edge_inspector.datatypes import AuditEntry, Event, InspectionResult, OutboxMessage, Trigger
from edge_inspector.store import audit
from edge_inspector.store.book_file import open_book, transaction
from edge_inspector.store.books import read_books
from edge_inspector.store.ledger import BookEvent, BookResult, Ledger, Notice
from edge_inspector.store.records import BookTrigger
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.upkeep import FIRST_PASS_S, HEAD_TOLD_S, PASS_S, TOLD_S, Upkeep
from edge_inspector.store.writing import write

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
UTC = "2026-11-22T12:00:00.000Z"
WAIT_S = 10.0


class FakeClock:
    def __init__(self) -> None:
        self.s = 1000.0
        self.on_read: Callable[[], None] = lambda: None

    def monotonic_ns(self) -> int:
        return int(self.s * 1e9)

    def utc(self) -> str:
        return UTC

    def synced(self) -> bool:
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_book(tmp_path / "ledger", LedgerSettings.model_validate({}))) as connection:
        yield connection


def kept(clock: FakeClock, book: sqlite3.Connection, **settings: int) -> Upkeep:
    made = Upkeep(LedgerSettings.model_validate(settings), ["mqtt"], clock, frozenset, nullcontext())
    made.opened(book)
    return made


def work(made: Upkeep, book: sqlite3.Connection, clock: FakeClock, until_s: float) -> list[Notice]:
    """Step whenever it is due, with a clock that only this moves."""
    notices = []
    while clock.s < until_s:
        rest_s = made.wait_s
        if rest_s:
            clock.s = min(clock.s + rest_s, until_s)
        else:
            notices += made.step(book)
            clock.s += 1e-6
    return notices


def big(seq: int) -> OutboxMessage:
    return OutboxMessage("mqtt", "result", "vision.result/1", b"x" * 100_000, seq)


def test_there_is_nothing_to_do_until_the_first_pass(clock: FakeClock, book: sqlite3.Connection) -> None:
    made = kept(clock, book)
    assert made.wait_s == pytest.approx(FIRST_PASS_S)
    clock.s += FIRST_PASS_S
    assert made.wait_s == 0.0
    made.step(book)
    assert made.wait_s == pytest.approx(PASS_S)
    assert made.retention.size_bytes > 50_000


def test_old_parts_go_in_the_first_pass_step_by_step_and_each_step_rests_four_times_as_long_as_it_took(
    clock: FakeClock, book: sqlite3.Connection, trigger: MakeTrigger
) -> None:
    with transaction(book):
        for seq in range(1, 1301):
            old = "2026-01-22T12:00:00.000Z"
            write(book, BookTrigger(None, trigger(seq, wall_utc=old if seq <= 300 else UTC)))
    made = kept(clock, book, keep_days=30)
    clock.s += FIRST_PASS_S
    ticking = clock.utc

    def slow_utc() -> str:  # retention asks for the time once in each step
        clock.s += 0.010
        return ticking()

    clock.utc = slow_utc  # type: ignore[method-assign]
    made.step(book)
    taken_s = 0.020  # `begin` asks, too
    assert made.wait_s == pytest.approx(4 * taken_s)
    assert book.execute("SELECT min(seq) FROM triggers").fetchone() == (101,)
    work(made, book, clock, clock.s + PASS_S)
    assert book.execute("SELECT min(seq) FROM triggers").fetchone() == (301,)


def test_drops_are_told_together_and_not_more_often_than_once_a_minute(
    clock: FakeClock, book: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult
) -> None:
    made = kept(clock, book, outbox_max_mb=1)
    told: list[Notice] = []
    for seq in range(1, 41):  # 4 MB within 20 s
        write(book, BookResult(None, result(trigger(seq)), True, (big(seq),)))
        made.outbox.committed(*made.outbox.added(book))
        told += work(made, book, clock, clock.s + 0.5)
    assert [notice.code for notice in told if notice.code != "audit_head"] == ["messages_dropped"]
    assert told[0].text.startswith("1 messages (0.1 MB) were given up: more than outbox_max_mb = 1 waited")
    assert book.execute("SELECT min(seq), count(*) FROM outbox").fetchone() == (32, 9)
    later = work(made, book, clock, clock.s + TOLD_S)
    assert [notice.text.split(" were")[0] for notice in later if notice.code == "messages_dropped"] == [
        "30 messages (3.0 MB)"
    ]
    assert book.execute("SELECT count(*), min(seq), max(seq) FROM dropped").fetchone() == (31, 1, 31)


def test_an_outbox_that_cannot_be_made_smaller_is_not_looked_at_all_the_time(
    clock: FakeClock, book: sqlite3.Connection
) -> None:
    for n in range(20):
        write(book, BookEvent(Event("info", "note", str(n), UTC), (big(0),)))
    settings = LedgerSettings.model_validate({"outbox_max_mb": 1})
    made = Upkeep(settings, ["mqtt"], clock, lambda: frozenset(range(1, 21)), nullcontext())
    made.opened(book)
    while made.outbox.counting:
        made.step(book)
        clock.s += made.wait_s
    assert made.outbox.outgrown
    made.step(book)
    assert made.wait_s == pytest.approx(1.0)


def test_the_head_of_the_trail_is_told_at_the_start_and_daily_when_it_has_changed(
    clock: FakeClock, book: sqlite3.Connection
) -> None:
    audit.append(book, AuditEntry(UTC, True, "anna", "x", "1"))
    made = kept(clock, book)
    (first,) = work(made, book, clock, clock.s + HEAD_TOLD_S / 2)
    assert (first.severity, first.code, first.text) == (
        "info",
        "audit_head",
        f"the audit trail ends with {audit.head(book)}",
    )
    assert work(made, book, clock, clock.s + 2 * HEAD_TOLD_S) == []
    audit.append(book, AuditEntry(UTC, True, "anna", "x", "2"))
    (second,) = work(made, book, clock, clock.s + HEAD_TOLD_S + PASS_S)
    assert audit.head(book) in second.text
    assert second != first


def test_a_step_that_fails_changes_nothing_and_is_not_tried_at_once(
    clock: FakeClock, tmp_path: Path, book: sqlite3.Connection, trigger: MakeTrigger
) -> None:
    with transaction(book):
        for seq in range(1, 1301):
            write(book, BookTrigger(None, trigger(seq, wall_utc="2026-01-22T12:00:00.000Z")))
    made = kept(clock, book, keep_days=30)
    clock.s += FIRST_PASS_S
    book.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / "ledger", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            made.step(book)
        assert made.wait_s > 1.0
        other.execute("ROLLBACK")
    clock.s += made.wait_s
    made.step(book)
    assert book.execute("SELECT min(seq) FROM triggers").fetchone() == (101,)


def test_a_broker_that_is_away_costs_the_oldest_good_parts_and_the_station_hears_of_it(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
    freed: queue.SimpleQueue[int] = queue.SimpleQueue()
    settings = LedgerSettings.model_validate({"outbox_max_mb": 1})
    ledger = Ledger(tmp_path / "ledger", ["mqtt"], freed.put, settings=settings)
    ledger.on_notice = notices.put
    with ledger:
        writer = threading.Thread(target=ledger.run, name="ledger")
        writer.start()
        in_hands = []
        for seq in range(1, 31):
            ledger.submit(BookResult(seq, result(trigger(seq), defects=seq % 2), True, (big(seq),)))
            assert freed.get(timeout=WAIT_S) == seq
            if seq == 2:
                in_hands = ledger.pending("mqtt", 2)
        while (notice := notices.get(timeout=WAIT_S)).code != "messages_dropped":
            pass
        assert notice.severity == "warning"
        end = time.monotonic() + WAIT_S
        while ledger.outbox_bytes > 1_000_000 and time.monotonic() < end:
            time.sleep(0.01)
        ledger.delivered("mqtt", [m.row for m in in_hands])
        ledger.close()
        writer.join(WAIT_S)
        assert not writer.is_alive()
        left = [m.seq for m in ledger.pending("mqtt", 99)]
        assert ledger.outbox_bytes <= 1_000_000
    assert [m.seq for m in in_hands] == [1, 2]
    assert set(left) < set(range(3, 31, 2))  # good parts went first
    books = read_books(tmp_path / "ledger")
    assert books.results == 30 == len(left) + books.dropped + len(in_hands)


def test_nothing_is_handed_out_while_messages_are_dropped(clock: FakeClock, book: sqlite3.Connection) -> None:
    """What a destination has in its hands is asked for, and its message deleted, behind one door."""
    seen: list[bool] = []
    handing = threading.Lock()
    settings = LedgerSettings.model_validate({"outbox_max_mb": 1})
    made = Upkeep(settings, ["mqtt"], clock, lambda: (seen.append(handing.locked()), frozenset[int]())[1], handing)
    write(book, BookEvent(Event("info", "note", "", UTC), tuple(big(seq) for seq in range(20))))
    made.opened(book)
    book.set_trace_callback(lambda statement: seen.append(handing.locked()) if statement == "COMMIT" else None)
    work(made, book, clock, clock.s + FIRST_PASS_S / 2)
    assert len(seen) >= 2
    assert all(seen)
