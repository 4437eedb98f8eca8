"""A damaged book is replaced while others read it, or while the process is killed: nothing that waits is lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage, Trigger
from edge_inspector.store import book as book_module
from edge_inspector.store import book_file
from edge_inspector.store.book import Book
from edge_inspector.store.ledger import BookEvent, BookResult, Ledger
from edge_inspector.store.machine_clock import MachineClock
from edge_inspector.store.settings import LedgerSettings

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
MakeMessage = Callable[..., OutboxMessage]
EVENT = Event("info", "note", "", "2026-11-22T12:00:00.000Z")
MALFORMED = sqlite3.DatabaseError("database disk image is malformed")


class Killed(BaseException):
    """SIGKILL, as far as the files can tell."""


def booked(path: Path, *records: BookResult | BookEvent, destinations: tuple[str, ...] = ("mqtt",)) -> None:
    with Ledger(path, destinations) as ledger:
        for record in records:
            ledger.submit(record)


def overwrite(path: Path, name: str) -> None:
    """Put rubbish onto the first page of a table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def test_damage_before_the_first_record_is_booked_gives_no_number_twice(
    tmp_path: Path, message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    booked(path, BookEvent(EVENT, tuple(message(n) for n in range(1, 6))))
    with Ledger(path, ["mqtt"]) as ledger:
        ledger.delivered("mqtt", [m.row for m in ledger.pending("mqtt", 3)])
    overwrite(path, "refusals")
    monkeypatch.setattr(book_file, "CHECKED_AT_START_BYTES", 0)
    with Ledger(path, ["mqtt"]) as ledger:
        before = ledger.pending("mqtt", 9)
        assert [m.seq for m in before] == [4, 5]
        ledger.check()
        ledger.submit(BookEvent(EVENT, (message(6),)))
        ledger.close()
        ledger.run()
        assert ledger.set_aside is not None
        ledger.delivered("mqtt", [m.row for m in before])  # of the old book
        ledger.run()
        after = ledger.pending("mqtt", 9)
        assert [m.seq for m in after] == [4, 5, 6]
        assert min(m.row for m in after) > max(m.row for m in before)


@pytest.mark.parametrize("table", ["meta", "audit", "triggers", "runs", "sqlite_sequence", "outbox"])
def test_a_large_book_that_shows_its_damage_at_its_first_reading_does_not_stop_the_station(
    tmp_path: Path,
    trigger: MakeTrigger,
    result: MakeResult,
    message: MakeMessage,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "ledger"
    booked(path, *(BookResult(None, result(trigger(n)), True, (message(n),)) for n in (1, 2)))
    overwrite(path, table)
    monkeypatch.setattr(book_file, "CHECKED_AT_START_BYTES", 0)
    with Ledger(path, ["mqtt"]) as ledger:
        assert ledger.recent_attempts().keys() <= {"P000001", "P000002"}
        ledger.stranded()
        ledger.configuration()
        ledger.submit(BookResult(None, result(trigger(3)), True, (message(3),)))
        ledger.close()
        ledger.run()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT max(seq) FROM results").fetchone() == (3,)
        assert connection.execute("SELECT max(seq) FROM outbox").fetchone() == (3,)


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every statement of the replacement, and every renaming, is a moment; the process dies before that `number`."""
    moments = [0]

    def moment() -> None:
        moments[0] += 1
        if moments[0] == number:
            raise Killed

    class Mortal(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            moment()
            return super().execute(*arguments)

        def executescript(self, script: str) -> sqlite3.Cursor:
            moment()
            return super().executescript(script)

    connect, replace = sqlite3.connect, Path.replace

    def dying(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, **{**options, "factory": Mortal})

    def renamed(self: Path, target: Path) -> Path:
        moment()
        return replace(self, target)

    monkeypatch.setattr(sqlite3, "connect", dying)
    monkeypatch.setattr(Path, "replace", renamed)
    return moments


def test_a_process_that_is_killed_while_it_replaces_a_damaged_book_loses_no_message(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number) / "ledger"
        path.parent.mkdir()
        booked(path, *(BookResult(None, result(trigger(n)), True, (message(n),)) for n in (1, 2, 3)))
        overwrite(path, "events")
        with pytest.MonkeyPatch.context() as patched:
            moments = killed_at(number, patched)
            try:
                with Ledger(path, ["mqtt"]) as ledger:
                    pass
            except Killed:
                pass
        with Ledger(path, ["mqtt"]) as ledger:
            assert [m.seq for m in ledger.pending("mqtt", 9)] == [1, 2, 3], f"killed at moment {number}"
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM audit WHERE what = 'book_replaced'").fetchone() == (1,)
        kept = [file for file in path.parent.iterdir() if "damaged" in file.name and file.suffix[:8] == ".damaged"]
        with closing(sqlite3.connect(min(kept))) as connection:
            assert connection.execute("SELECT count(*) FROM results").fetchone() == (3,), f"killed at moment {number}"
        assert not [file for file in path.parent.iterdir() if ".half" in file.name or ".new" in file.name]
        if moments[0] < number:
            break
    assert number > 40


def test_what_readers_see_of_the_old_book_while_the_new_one_is_made_does_not_cost_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    book.reader()
    salvage = book_module.salvage_outbox

    def slow(*arguments: Any) -> int:
        book.reader_failed(MALFORMED)  # of a publisher that tries again meanwhile
        return salvage(*arguments)

    monkeypatch.setattr(book_module, "salvage_outbox", slow)
    book.reader_failed(MALFORMED)
    book.connection()
    assert book.damage == ""
    book.connection()
    assert [file.name for file in tmp_path.glob("*damaged-?")] == ["ledger.damaged-1"]
    book.close()


def test_a_full_disk_while_the_new_book_is_made_costs_no_message(
    tmp_path: Path, message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    booked(path, BookEvent(EVENT, (message(1), message(2))))
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    book.reader()
    salvage, full = book_module.salvage_outbox, [True, True]

    def fails(*arguments: Any) -> int:
        if full:
            full.pop()
            raise sqlite3.OperationalError("database or disk is full")
        return salvage(*arguments)

    monkeypatch.setattr(book_module, "salvage_outbox", fails)
    for _ in range(2):
        book.reader_failed(MALFORMED)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            book.connection()
    book.reader_failed(MALFORMED)
    assert book.connection().execute("SELECT seq FROM outbox ORDER BY row").fetchall() == [(1,), (2,)]
    assert [file.name for file in tmp_path.glob("*damaged-?")] == ["ledger.damaged-1"]
    assert book.set_aside == tmp_path / "ledger.damaged-1"
    book.close()


def test_a_book_that_is_gone_when_it_is_to_be_checked_ends_the_check_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    path.unlink()
    thread = threading.Thread(target=book.check)  # it may end with the lowest priority
    thread.start()
    thread.join()
    assert book.damage == ""
    book.close()


def test_a_new_book_of_which_a_part_is_still_in_its_log_does_not_take_the_place(
    tmp_path: Path, message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks into it, say a backup program: its log cannot be emptied, and would be lost by the renaming."""
    path = tmp_path / "ledger"
    booked(path, BookEvent(EVENT, (message(1), message(2))))
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    salvage, looking = book_module.salvage_outbox, list[sqlite3.Connection]()

    def watched(*arguments: Any) -> int:
        if not looking:
            looking.append(book_file.connect_read_only(tmp_path / "ledger.half"))
            looking[0].execute("BEGIN")
            looking[0].execute("SELECT * FROM meta").fetchall()
        return salvage(*arguments)

    monkeypatch.setattr(book_module, "salvage_outbox", watched)
    book.damaged("made up")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        book.connection()
    looking[0].close()
    assert book.connection().execute("SELECT seq FROM outbox ORDER BY row").fetchall() == [(1,), (2,)]
    book.close()


def test_a_renaming_that_fails_is_done_again_and_nothing_is_made_twice(
    tmp_path: Path, message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    booked(path, BookEvent(EVENT, (message(1), message(2))))
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    replace, refused = Path.replace, [True]

    def refuses(self: Path, target: Path) -> Path:
        if self.suffix == ".new" and refused:
            refused.pop()
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuses)
    book.damaged("made up")
    with pytest.raises(OSError, match="Input/output error"):
        book.connection()
    assert not path.exists()
    assert book.connection().execute("SELECT seq FROM outbox ORDER BY row").fetchall() == [(1,), (2,)]
    book.close()


def test_rows_of_which_a_damaged_book_gives_nonsense_are_left_behind(tmp_path: Path, message: MakeMessage) -> None:
    """SQLite has no types and no check sums: the new book must not be refused for them."""
    path = tmp_path / "ledger"
    booked(path, BookEvent(EVENT, tuple(message(n) for n in range(1, 8))))
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA writable_schema = ON")
        old.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'outbox'")
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for row, change in ((2, "topic = NULL"), (3, "seq = 'x'"), (4, "payload = 'text'"), (5, "payload = x'ff'")):
            old.execute(f"UPDATE outbox SET {change} WHERE row = {row}")
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.damaged("made up")
    assert book.connection().execute("SELECT seq FROM outbox ORDER BY row").fetchall() == [(1,), (6,), (7,)]
    book.close()


def test_a_book_that_is_damaged_and_deleted_is_replaced_all_the_same(tmp_path: Path) -> None:
    """There is nothing left of which anything could be saved."""
    path = tmp_path / "ledger"
    book = Book(path, LedgerSettings.model_validate({}), MachineClock(), lambda: None)
    book.connection()
    path.unlink()
    book.look()
    book.damaged("made up")
    assert book.connection().execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    assert path.exists()
    book.look()
    book.connection()
    assert [notice.code for notice in book.notices] == ["set_aside"]
    book.close()
