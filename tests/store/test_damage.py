from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edge_inspector.datatypes import AuditEntry, Event, InspectionResult, OutboxMessage, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store import audit
from edge_inspector.store.book import Book
from edge_inspector.store.book_file import CHECKED_AT_START_BYTES
from edge_inspector.store.books import read_books, verdicts
from edge_inspector.store.ledger import BookEvent, BookResult, BookTold, BookTrigger, Ledger, Notice
from edge_inspector.store.records import BookAudit, BookKept, BookStarted
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.upkeep import PASS_S

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
MakeMessage = Callable[..., OutboxMessage]
WAIT_S = 10.0
UTC = "2026-11-22T12:00:00.000Z"


class SetClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.s = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.s * 1e9)

    def utc(self) -> str:
        return UTC

    def synced(self) -> bool:
        return True


class Station:
    """A ledger with its writer on a thread, and what it tells."""

    def __init__(self, path: Path, clock: SetClock | None) -> None:
        self.path = path
        self.notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.freed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.ledger = Ledger(path, ["mqtt"], on_booked=self.freed.put, clock=clock)
        self.ledger.on_notice = self.notices.put

    def booked(self, *results: BookResult) -> None:
        for result in results:
            self.ledger.submit(result)
        for _ in results:
            self.freed.get(timeout=WAIT_S)

    def check(self) -> None:
        """On a thread that may end with the lowest priority."""
        thread = threading.Thread(target=self.ledger.check, name="check")
        thread.start()
        thread.join(WAIT_S)
        assert not thread.is_alive()

    def replaced(self) -> Notice:
        """The alarm that the book was replaced; other notices come before it."""
        while True:
            notice = self.notices.get(timeout=WAIT_S)
            if notice.code == "set_aside":
                return notice


@contextmanager
def running(path: Path, clock: SetClock | None = None) -> Iterator[Station]:
    made = Station(path, clock)
    with made.ledger:
        writer = threading.Thread(target=made.ledger.run, name="ledger")
        writer.start()
        try:
            yield made
        finally:
            made.ledger.close()
            writer.join(WAIT_S)
            assert not writer.is_alive()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def overwrite(path: Path, name: str) -> None:
    """Put rubbish onto the first page of a table or index, as a dying card does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def result_of(trigger: Trigger, result: MakeResult, *messages: OutboxMessage) -> BookResult:
    return BookResult(trigger.seq, result(trigger), told=True, messages=messages)


def test_damage_that_the_whole_check_finds_is_set_aside_while_the_station_runs(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        old = station.ledger.book
        station.booked(*(result_of(trigger(n), result, message(n)) for n in (1, 2, 3)))
        overwrite(path, "events")
        assert station.ledger.set_aside is None
        station.check()
        notice = station.replaced()
        assert notice.severity == "alarm"
        assert str(tmp_path / "ledger.damaged-1") in notice.text
        assert "3 messages for brokers were saved from it" in notice.text
        assert station.ledger.book != old
        station.booked(result_of(trigger(4), result, message(4)))
        assert [m.seq for m in station.ledger.pending("mqtt", 9)] == [1, 2, 3, 4]
    assert list(verdicts(path)) == ["line1.0a1b2c3d.4"]
    assert query(tmp_path / "ledger.damaged-1", "SELECT seq FROM results") == [(1,), (2,), (3,)]


def test_a_sound_book_is_left_alone_by_the_whole_check(tmp_path: Path, trigger: MakeTrigger) -> None:
    with running(tmp_path / "ledger") as station:
        station.ledger.submit(BookTrigger(None, trigger(1)))
        station.check()
        assert station.ledger.set_aside is None
        assert not list(tmp_path.glob("*damaged*"))


def test_damage_that_a_publisher_meets_is_set_aside(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.booked(result_of(trigger(1), result, message(1)))
        overwrite(path, "outbox_destination")
        with pytest.raises(StorageError, match="malformed"):
            station.ledger.pending("mqtt", 9)
        station.replaced()
        assert [m.seq for m in station.ledger.pending("mqtt", 9)] == [1]


def test_damage_that_the_writer_meets_loses_nothing_that_waited(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.booked(result_of(trigger(1), result))
        station.ledger.submit(BookTrigger(2, trigger(2)))
        station.booked(result_of(trigger(3), result))
        overwrite(path, "results")
        with closing(sqlite3.connect(path)) as other:  # so the writer forgets what it knows of the file
            other.execute("INSERT INTO meta VALUES ('touched', '')")
            other.commit()
        station.booked(result_of(trigger(2), result, message(2)), result_of(trigger(4), result))
        station.replaced()
        station.ledger.submit(BookTold("line1.0a1b2c3d.1"))  # stands in the old book alone
        assert station.ledger.healthy
    assert list(verdicts(path)) == ["line1.0a1b2c3d.2", "line1.0a1b2c3d.4"]
    assert read_books(path).outbox_pending == 1


def test_a_message_in_a_publishers_hands_has_a_number_that_never_comes_again(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.booked(result_of(trigger(1), result, message(1), message(2)))
        before = station.ledger.pending("mqtt", 9)
        overwrite(path, "events")
        station.check()
        station.replaced()
        station.ledger.delivered("mqtt", [m.row for m in before])  # of the old book
        station.booked(result_of(trigger(3), result, message(3)))
        after = station.ledger.pending("mqtt", 9)
        assert [m.seq for m in after] == [1, 2, 3]  # 1 and 2 again: at least once
        assert min(m.row for m in after) > max(m.row for m in before)
        station.ledger.delivered("mqtt", [m.row for m in after])
    assert read_books(path).outbox_pending == 0


def test_the_new_book_says_where_the_old_trail_ended_and_where_the_run_begins(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.ledger.submit(BookStarted(4711, 1, flight_kept=False, utc=UTC))
        station.ledger.submit(BookAudit(AuditEntry(UTC, True, "anna", "recipe_selected", "a -> b")))
        station.booked(result_of(trigger(1), result))
        head = station.ledger.audit_head
        assert head.startswith("1:")
        overwrite(path, "events")
        station.check()
        station.replaced()
        station.booked(result_of(trigger(2), result))
        assert station.ledger.audit_head != head
    ((who, what, detail),) = query(path, "SELECT who, what, detail FROM audit")
    assert (who, what) == ("station", "book_replaced")
    assert f"ended with {head}" in str(detail)
    assert "ledger.damaged-1" in str(detail)
    assert query(path, "SELECT boot_id, first_seq, flight_kept FROM runs") == [(4711, 2, 1)]
    with closing(sqlite3.connect(path)) as connection:
        assert audit.verify(connection).problems == ()


def test_messages_are_saved_from_a_book_that_is_found_damaged_at_the_start(
    tmp_path: Path, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "note", "", UTC)
    with running(path) as station:
        station.ledger.submit(BookEvent(event, tuple(message(n) for n in range(1, 401))))
    overwrite(path, "events")
    with running(path) as station:
        assert [m.seq for m in station.ledger.pending("mqtt", 1000)] == list(range(1, 401))
        while (notice := station.notices.get(timeout=WAIT_S)).code != "messages_saved":
            pass
        assert "400 messages for brokers were saved" in notice.text


def test_what_is_behind_an_unreadable_page_of_the_outbox_is_saved(tmp_path: Path, message: MakeMessage) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "note", "", UTC)
    with running(path) as station:
        station.ledger.submit(BookEvent(event, tuple(message(n) for n in range(1, 2001))))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    at = data.index(b'{"seq":1000}')
    page = at // 4096
    data[page * 4096 : page * 4096 + 64] = b"\xff" * 64  # the head of a leaf
    path.write_bytes(data)
    with running(path) as station:
        saved = [m.seq for m in station.ledger.pending("mqtt", 3000)]
    assert saved == sorted(saved)
    assert {1, 2000} <= set(saved)
    assert 1000 not in saved
    assert len(saved) > 1900


def test_a_book_that_is_no_database_any_more_gives_nothing_and_is_replaced(
    tmp_path: Path, trigger: MakeTrigger
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.ledger.submit(BookTrigger(None, trigger(1)))
    path.write_bytes(b"\x00" * 8192)
    with running(path) as station:
        assert station.ledger.set_aside == tmp_path / "ledger.damaged-1"
        assert station.ledger.pending("mqtt", 9) == []


def test_the_whole_check_ends_at_once_when_the_station_stops(tmp_path: Path, message: MakeMessage) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "note", "x" * 3000, UTC)
    with running(path) as station:
        for _ in range(4000):
            station.ledger.submit(BookEvent(event))
        while station.ledger.waiting:
            time.sleep(0.01)
        check = threading.Thread(target=station.ledger.check, name="check")
        check.start()
        station.ledger.close()
        check.join(WAIT_S)
        assert not check.is_alive()
    assert not list(tmp_path.glob("*damaged*"))
    station.check()  # after the end it does nothing


def test_a_book_too_large_to_be_checked_at_the_start_is_checked_while_it_works(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.booked(result_of(trigger(1), result))
    with closing(sqlite3.connect(path)) as connection:
        values = (CHECKED_AT_START_BYTES,)
        connection.execute(
            "INSERT INTO events (severity, code, text, wall_utc) VALUES ('', '', zeroblob(?), '')", values
        )
        connection.commit()
    overwrite(path, "refusals")
    with running(path) as station:
        assert station.ledger.set_aside is None
        station.booked(result_of(trigger(2), result))
        station.check()
        station.replaced()
        station.booked(result_of(trigger(3), result))
    assert list(verdicts(path)) == ["line1.0a1b2c3d.3"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_book_that_is_deleted_or_replaced_under_the_station_is_written_anew_with_all_that_was_in_it(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage, *, replaced: bool
) -> None:
    path = tmp_path / "ledger"
    clock = SetClock()
    with running(path, clock) as station:
        name = station.ledger.book
        station.booked(*(result_of(trigger(n), result, message(n)) for n in (1, 2)))
        before = station.ledger.pending("mqtt", 1)
        path.unlink()
        if replaced:
            path.write_text("something else")
        station.booked(result_of(trigger(3), result, message(3)))
        clock.s += PASS_S
        station.booked(result_of(trigger(4), result, message(4)))
        while (notice := station.notices.get(timeout=WAIT_S)).code != "ledger_was_gone":
            pass
        assert notice.severity == "alarm"
        assert (tmp_path / "ledger.damaged-1").exists() is replaced
        station.booked(result_of(trigger(5), result, message(5)))
        station.ledger.delivered("mqtt", [m.row for m in before])
        assert [m.seq for m in station.ledger.pending("mqtt", 9)] == [2, 3, 4, 5]
        assert station.ledger.book == name
    assert [row.seq for row in verdicts(path).values()] == [1, 2, 3, 4, 5]
    with running(path) as station:
        assert (station.ledger.book, station.ledger.next_seq) == (name, 6)


def test_a_record_that_contradicts_only_a_damaged_index_is_booked_in_a_new_book(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    with running(path) as station:
        station.booked(*(result_of(trigger(n), result) for n in (1, 2, 3)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_triggers_1'"
        (page,) = connection.execute(query).fetchone()
    data = bytearray(path.read_bytes())
    at = data.index(b"line1.0a1b2c3d.3", (page - 1) * 4096)
    assert at < page * 4096
    data[at : at + 16] = b"line1.0a1b2c3d.9"  # the index says that there is a part 9
    path.write_bytes(data)
    with running(path) as station:
        assert station.ledger.set_aside is None  # quick_check does not compare index and table
        station.booked(result_of(trigger(9), result))
        station.replaced()
    assert list(verdicts(path)) == ["line1.0a1b2c3d.9"]


def test_damage_that_somebody_saw_in_the_old_book_does_not_cost_the_new_one(tmp_path: Path) -> None:
    reports: list[str] = []
    book = Book(tmp_path / "ledger", LedgerSettings.model_validate({}), SetClock(), lambda: reports.append("damage"))
    book.connection()
    book.reader()
    seen = sqlite3.DatabaseError("database disk image is malformed")
    book.reader_failed(seen)
    assert (reports, book.damage) == (["damage"], str(seen))
    book.connection()
    book.reader_failed(seen)  # of the reader that this thread still has
    assert (len(reports), book.damage) == (1, "")
    assert [file.name for file in tmp_path.glob("*damaged-?")] == ["ledger.damaged-1"]
    book.close()


def test_a_stop_that_nobody_has_acknowledged_outlives_a_damaged_book(tmp_path: Path) -> None:
    path, stop = tmp_path / "ledger", '{"reason":7}'
    with running(path) as station:
        station.ledger.submit(BookKept("line_rules", stop, UTC))
        station.ledger.submit(BookKept("golden", "no JSON any more", UTC))
        station.ledger.submit(BookEvent(Event("info", "note", "", UTC)))
    overwrite(path, "events")
    with running(path) as station:
        assert station.ledger.set_aside is not None
        assert (station.ledger.kept("line_rules"), station.ledger.kept("golden")) == (stop, None)
