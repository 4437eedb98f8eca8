from __future__ import annotations

import dataclasses
import os
import queue
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from edge_inspector.datatypes import (
    Defect,
    Evaluation,
    Event,
    InspectionResult,
    Mode,
    OutboxMessage,
    Reason,
    Refusal,
    SavedImage,
    Trigger,
)
from edge_inspector.errors import StorageError
from edge_inspector.store import schema
from edge_inspector.store.books import read_books, verdicts
from edge_inspector.store.ledger import (
    BookAcknowledged,
    BookEvent,
    BookLate,
    BookRefusal,
    BookResult,
    BookTold,
    BookTrigger,
    BookUnannounced,
    Delivered,
    Ledger,
    LedgerRecord,
)
from edge_inspector.store.records import BookImage, BookStarted, BookStopped
from edge_inspector.store.writing import WRITERS

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
MakeRefusal = Callable[..., Refusal]
MakeMessage = Callable[..., OutboxMessage]
WAIT_S = 10.0


@contextmanager
def running(ledger: Ledger) -> Iterator[Ledger]:
    """The open ledger with its writer on a thread, as the station does it; drained at the end."""
    with ledger:
        writer = threading.Thread(target=ledger.run, name="ledger")
        writer.start()
        try:
            yield ledger
        finally:
            ledger.close()
            writer.join(WAIT_S)
            assert not writer.is_alive()


def book(path: Path, *records: LedgerRecord) -> None:
    with running(Ledger(path, ["mqtt"])) as ledger:
        for record in records:
            ledger.submit(record)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_new_book_has_a_name_of_eight_hex_digits_and_begins_at_one(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", []) as ledger:
        assert len(ledger.book) == 8
        assert int(ledger.book, 16) >= 0
        assert (ledger.next_seq, ledger.set_aside, ledger.healthy) == (1, None, True)
    with Ledger(tmp_path / "ledger", []) as again:
        assert again.book == ledger.book


def test_the_books_add_up(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, refusal: MakeRefusal, message: MakeMessage
) -> None:
    ok, bad, dull, lost, opened = (trigger(n) for n in (1, 2, 3, 4, 5))
    undefined = {"evaluation": Evaluation.UNDEFINED, "reason": Reason.DEADLINE}
    undecidable = {"evaluation": Evaluation.NOT_DECIDABLE, "reason": Reason.MISSING_VIEW}
    path = tmp_path / "ledger"
    book(
        path,
        *(BookTrigger(n, t) for n, t in enumerate((ok, bad, dull, lost, opened))),
        BookRefusal(5, refusal(7)),
        BookRefusal(6, refusal(8, count=3)),
        BookResult(0, result(ok), told=True, messages=(message(1),)),
        BookResult(1, result(bad, defects=2), told=True, messages=(message(2), message(2, topic="defects"))),
        BookResult(2, result(dull, **undecidable), told=None),
        BookResult(3, result(lost, **undefined), told=False),
        BookTold(dull.result_id),
        BookAcknowledged((ok.result_id, bad.result_id, "line1.ffffffff.9"), "2026-11-22T00:01:00.000Z"),
        BookLate(lost.result_id, "top", 1_000_000, "2026-11-22T00:01:00.000Z"),
        Delivered("mqtt", (1,)),
    )
    books = read_books(path)
    assert (books.triggers, books.accepted, books.refused, books.results) == (9, 5, 4, 4)
    assert (books.ok, books.not_ok, books.not_decidable, books.undefined) == (1, 1, 1, 1)
    assert (books.told, books.not_told, books.acknowledged, books.late) == (3, 1, 2, 1)
    assert (books.outbox_pending, books.unknown, books.telling_unknown) == (2, (5,), ())
    assert not books.balanced
    assert books.gaps == (
        "1 accepted triggers without a result: 5",
        "2 messages not yet acknowledged by their broker",
    )
    assert query(
        path, "SELECT class_name, class_id, score, x, y, width, height, camera FROM defects ORDER BY number"
    ) == [
        ("spur", 3, 0.875, 10.5, 20.25, 30.0, 40.125, "top"),
        ("spur", 3, 0.874, 11.5, 20.25, 30.0, 40.125, "top"),
    ]


def test_books_balance_when_each_trigger_has_its_result_told_and_published(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    open_part = BookTrigger(0, trigger(1))
    settled = BookResult(0, result(trigger(1)), told=None, messages=(message(1),))
    book(path, open_part, settled)
    assert len(read_books(path).gaps) == 2
    book(path, BookTold("line1.0a1b2c3d.1"), Delivered("mqtt", (1,)))
    assert read_books(path).balanced


def test_verdicts_tell_each_result(tmp_path: Path, trigger: MakeTrigger, result: MakeResult) -> None:
    path = tmp_path / "ledger"
    book(
        path,
        BookTrigger(0, trigger(1)),
        BookTrigger(1, trigger(2)),
        BookResult(1, result(trigger(2), defects=1), told=True),
        BookAcknowledged((trigger(2).result_id,), "2026-11-22T00:01:00.000Z"),
    )
    (result_id, row), *others = verdicts(path).items()
    assert (result_id, others) == ("line1.0a1b2c3d.2", [])
    assert (row.seq, row.trigger_seq, row.part_id, row.boot_id) == (2, 102, "P000002", 4711)
    assert (row.evaluation, row.reason) == (Evaluation.NOT_OK, Reason.DEFECT)
    assert (row.told, row.acknowledged, row.replayed) == (True, True, False)
    assert (row.stage_ns, row.cycle_ms) == ({"acquire": 20_000_000, "infer": 12_345_678}, 42.5)


def test_a_flight_slot_is_freed_when_its_result_or_refusal_is_on_the_disk(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, refusal: MakeRefusal
) -> None:
    path = tmp_path / "ledger"
    seen: list[tuple[int, int, int]] = []

    def on_booked(slot: int) -> None:
        books = read_books(path)
        seen.append((slot, books.results, books.refused))

    with running(Ledger(path, [], on_booked=on_booked)) as ledger:
        ledger.submit(BookTrigger(11, trigger(1)))
        ledger.submit(BookResult(11, result(trigger(1)), told=True))
        ledger.submit(BookRefusal(12, refusal()))
        ledger.submit(BookRefusal(None, refusal(6)))
    assert [slot for slot, _, _ in seen] == [11, 12]
    assert all(results == 1 for _, results, _ in seen)
    assert seen[1][2] >= 1


def test_numbers_go_on_after_what_is_booked_submitted_or_left_in_the_flight_record(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    book(tmp_path / "ledger", BookTrigger(0, trigger(41)))
    with Ledger(tmp_path / "ledger", []) as ledger:
        assert ledger.next_seq == 42
        ledger.submit(BookTrigger(0, trigger(43)))
        assert ledger.next_seq == 44
        ledger.submit(BookResult(1, result(trigger(45)), told=False, replay=True))
        assert ledger.next_seq == 46


def test_a_second_verdict_on_a_part_is_refused_and_the_others_are_booked(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    freed: list[int] = []
    with Ledger(path, [], on_booked=freed.append) as ledger:
        ledger.submit(BookTrigger(0, trigger(1)))
        ledger.submit(BookResult(0, result(trigger(1)), told=True))
        ledger.submit(BookResult(1, result(trigger(1), defects=1), told=True))
        with pytest.raises(StorageError, match=r"refuses BookResult\(slot=1.*UNIQUE constraint failed: results\.seq"):
            ledger.run()
        assert freed == [0]
    assert verdicts(path)["line1.0a1b2c3d.1"].evaluation is Evaluation.OK


def test_a_number_that_is_given_twice_is_refused(tmp_path: Path, trigger: MakeTrigger) -> None:
    with Ledger(tmp_path / "ledger", []) as ledger:
        ledger.submit(BookTrigger(0, trigger(1)))
        ledger.submit(BookTrigger(1, trigger(1, boot_id=9)))
        with pytest.raises(StorageError, match="numbers were reused"):
            ledger.run()


@pytest.mark.parametrize("booked_before", [(), ("trigger",), ("trigger", "result")])
def test_what_the_flight_record_left_is_booked_once_however_much_of_it_is_booked(
    tmp_path: Path,
    trigger: MakeTrigger,
    result: MakeResult,
    refusal: MakeRefusal,
    message: MakeMessage,
    *,
    booked_before: tuple[str, ...],
) -> None:
    path = tmp_path / "ledger"
    once = BookResult(0, result(trigger(1), defects=1), told=None, messages=(message(1),))
    if "trigger" in booked_before:
        book(path, BookTrigger(0, trigger(1)), BookRefusal(1, refusal()))
    if "result" in booked_before:
        book(path, once)
    freed: list[int] = []
    for _ in range(2):
        with running(Ledger(path, ["mqtt"], on_booked=freed.append)) as ledger:
            ledger.submit(BookTrigger(0, trigger(1)))
            ledger.submit(BookRefusal(1, refusal(), replay=True))
            ledger.submit(dataclasses.replace(once, told=True, replay=True))
    assert freed == [1, 0, 1, 0]
    books = read_books(path)
    assert (books.accepted, books.refused, books.results, books.told, books.outbox_pending) == (1, 1, 1, 1, 1)
    assert verdicts(path)["line1.0a1b2c3d.1"].replayed is ("result" not in booked_before)
    assert query(path, "SELECT count(*) FROM defects") == [(1,)]


def test_triggers_without_a_result_are_listed(tmp_path: Path, trigger: MakeTrigger, result: MakeResult) -> None:
    parts = [trigger(n) for n in (1, 2, 3)]
    book(tmp_path / "ledger", *(BookTrigger(n, t) for n, t in enumerate(parts)), BookResult(1, result(parts[1]), True))
    assert read_books(tmp_path / "ledger").unknown == (1, 3)


def test_attempts_are_counted_in_the_last_triggers(tmp_path: Path, trigger: MakeTrigger) -> None:
    names = ["old", "A", "B", "A", ""]
    posted = BookTrigger(None, trigger(6, part_id="A", mode=Mode.MANUAL))
    book(tmp_path / "ledger", *(BookTrigger(n, trigger(n, part_id=p)) for n, p in enumerate(names, 1)), posted)
    with Ledger(tmp_path / "ledger", []) as ledger:
        assert ledger.recent_attempts(limit=4) == {"A": 2, "B": 1, "": 1}


def test_untrusted_text_is_booked(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, refusal: MakeRefusal
) -> None:
    path = tmp_path / "ledger"
    strange = trigger(1, part_id="a\ud800'); DROP TABLE results; --")
    nan = dataclasses.replace(result(strange, defects=1).defects[0], score=float("nan"), class_name="\udfff")
    book(
        path,
        BookTrigger(0, strange),
        BookResult(0, result(strange, reason_text="\udc00", defects=0, **{"reason": Reason.NONE}), True),
        BookRefusal(1, refusal(part_id="\ud800")),
        BookEvent(Event("info", "camera_lost", "top\udfff", "2026-11-22T00:00:00.000Z")),
        BookTrigger(2, trigger(2)),
        BookResult(2, result(trigger(2), **{"evaluation": Evaluation.NOT_OK}, defects=0, reason_text="x"), True),
        BookTrigger(3, trigger(3)),
        BookResult(3, dataclasses.replace(result(trigger(3)), defects=(nan,)), True),
    )
    assert verdicts(path)[strange.result_id].part_id == "a?'); DROP TABLE results; --"
    assert query(path, "SELECT text FROM events") == [("top?",)]
    assert query(path, "SELECT score, class_name FROM defects") == [(None, "?")]


def test_pending_gives_the_oldest_first_and_never_again_what_was_delivered(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    messages = tuple(message(n, destination) for n in range(1, 6) for destination in ("a", "b"))
    with running(Ledger(path, ["a", "b"])) as ledger:
        ledger.submit(BookTrigger(0, trigger(1)))
        ledger.submit(BookResult(0, result(trigger(1)), True, messages))
    with Ledger(path, ["a", "b"]) as ledger:  # no writer: nothing is deleted yet
        first = ledger.pending("a", 2)
        assert [(m.seq, m.payload, m.topic) for m in first] == [
            (1, b'{"seq":1}', "result"),
            (2, b'{"seq":2}', "result"),
        ]
        ledger.delivered("a", [m.row for m in first])
        second = ledger.pending("a", 2)
        assert [m.seq for m in second] == [3, 4]
        assert [m.seq for m in ledger.pending("a", 2)] == [3, 4]
        ledger.delivered("a", [second[0].row])
        assert [m.seq for m in ledger.pending("a", 9)] == [4, 5]
        assert [m.seq for m in ledger.pending("b", 9)] == [1, 2, 3, 4, 5]
        assert ledger.waiting == 2
    with Ledger(path, ["a", "b"]) as ledger:
        assert [m.seq for m in ledger.pending("a", 9)] == [4, 5]


def test_delivered_rows_out_of_order_are_refused(tmp_path: Path, message: MakeMessage) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "started", "", "2026-11-22T00:00:00.000Z")
    book(path, BookEvent(event, (message(1), message(2))))
    with Ledger(path, ["mqtt"]) as ledger:
        rows = [m.row for m in ledger.pending("mqtt", 2)]
        with pytest.raises(StorageError, match="order would be lost"):
            ledger.delivered("mqtt", rows[1:])
        with pytest.raises(StorageError, match="'mqqt' is not known; known are mqtt"):
            ledger.pending("mqqt", 1)


def test_a_row_number_is_never_used_again_when_the_outbox_was_empty(tmp_path: Path, message: MakeMessage) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "started", "", "2026-11-22T00:00:00.000Z")
    book(path, BookEvent(event, (message(1),)), Delivered("mqtt", (1,)))
    book(path, BookEvent(event, (message(2),)))
    with Ledger(path, ["mqtt"]) as ledger:
        assert [m.row for m in ledger.pending("mqtt", 9)] == [2]


def test_messages_for_a_destination_that_is_no_longer_there_are_told(tmp_path: Path, message: MakeMessage) -> None:
    event = Event("info", "started", "", "2026-11-22T00:00:00.000Z")
    book(tmp_path / "ledger", BookEvent(event, (message(1, "old"), message(2, "old"), message(1, "mqtt"))))
    with Ledger(tmp_path / "ledger", ["mqtt"]) as ledger:
        assert ledger.stranded() == {"old": 2}


def test_several_threads_read_and_write_at_once_and_nothing_is_lost(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    got: dict[str, list[int]] = {"a": [], "b": []}
    parts = 150
    failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def drain(ledger: Ledger, name: str) -> None:
        try:
            while len(got[name]) < parts and failures.empty():
                messages = ledger.pending(name, 7)
                got[name] += [m.seq for m in messages]
                ledger.delivered(name, [m.row for m in messages])
        except BaseException as exc:  # noqa: BLE001 - shown by the test
            failures.put(exc)

    with running(Ledger(tmp_path / "ledger", ["a", "b"])) as ledger:
        readers = [threading.Thread(target=drain, args=(ledger, name)) for name in got]
        for reader in readers:
            reader.start()
        for n in range(1, parts + 1):
            ledger.submit(BookTrigger(n, trigger(n)))
            ledger.submit(BookResult(n, result(trigger(n)), True, (message(n, "a"), message(n, "b"))))
        for reader in readers:
            reader.join(WAIT_S)
            assert not reader.is_alive()
    assert failures.empty()
    assert got == {"a": list(range(1, parts + 1)), "b": list(range(1, parts + 1))}
    assert read_books(tmp_path / "ledger").balanced


def test_a_locked_book_loses_nothing_and_says_so(tmp_path: Path, trigger: MakeTrigger, result: MakeResult) -> None:
    path = tmp_path / "ledger"
    health: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
    with running(Ledger(path, [], on_health=lambda healthy, error: health.put((healthy, error)))) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.submit(BookTrigger(0, trigger(1)))
            ledger.submit(BookResult(0, result(trigger(1)), True))
            healthy, error = health.get(timeout=WAIT_S)
            assert (healthy, ledger.healthy) == (False, False)
            assert "cannot be written: database is locked" in error
            assert ledger.waiting == 2
            other.execute("ROLLBACK")
        assert health.get(timeout=WAIT_S) == (True, "")
    assert read_books(path).balanced


CHILD = """
import sys, threading
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{folder!r}]
from conftest import make_message, make_result, make_trigger
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger
with Ledger(Path({path!r}), ["mqtt"], on_booked=lambda slot: print(slot, flush=True)) as ledger:
    threading.Thread(target=ledger.run, daemon=True).start()
    for n in range(1, 10_000):
        ledger.submit(BookTrigger(n, make_trigger(n)))
        messages = (make_message(n), make_message(n, topic="defects"))
        ledger.submit(BookResult(n, make_result(make_trigger(n), defects=2), True, messages))
    sys.stdin.read()
"""


@pytest.mark.parametrize("after", [1, 40, 700])
def test_after_a_kill_what_was_said_to_be_booked_is_booked_and_each_result_has_all_its_rows(
    tmp_path: Path, after: int
) -> None:
    path = tmp_path / "ledger"
    code = CHILD.format(folder=str(Path(__file__).parent), path=str(path))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as child:
        assert child.stdout is not None
        said = 0
        for line in child.stdout:
            said = int(line)
            if said == after:
                child.kill()
    with Ledger(path, ["mqtt"]) as ledger:
        assert ledger.set_aside is None
    books = read_books(path)
    assert books.results >= said >= after
    assert books.outbox_pending == 2 * books.results
    assert query(path, "SELECT count(*) FROM defects") == [(2 * books.results,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_loses_nothing_and_booking_goes_on_when_there_is_room(
    small_disk: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage
) -> None:
    path = small_disk / "ledger"
    health: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
    freed: list[int] = []
    ballast = small_disk / "ballast"
    parts = 300
    with running(Ledger(path, ["mqtt"], freed.append, lambda healthy, error: health.put((healthy, error)))) as ledger:
        ledger.submit(BookTrigger(0, trigger(1)))
        room = os.statvfs(small_disk)
        ballast.write_bytes(bytes((room.f_bavail - 16) * room.f_bsize))
        for n in range(1, parts + 1):
            ledger.submit(BookTrigger(n, trigger(n)))
            ledger.submit(BookResult(n, result(trigger(n), defects=2), True, (message(n),)))
        healthy, error = health.get(timeout=WAIT_S)
        assert not healthy
        assert "cannot be written: database or disk is full" in error
        assert ledger.waiting > 0
        ballast.unlink()
        assert health.get(timeout=WAIT_S) == (True, "")
    books = read_books(path)
    assert (books.accepted, books.results, books.outbox_pending) == (parts, parts, parts)
    assert freed == list(range(1, parts + 1))


def test_close_on_a_full_disk_ends_and_leaves_the_slots(
    small_disk: Path, trigger: MakeTrigger, refusal: MakeRefusal
) -> None:
    freed: list[int] = []
    with Ledger(small_disk / "ledger", [], freed.append) as ledger:
        room = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize))
        for n in range(1, 64):
            ledger.submit(BookTrigger(n, trigger(n, part_id="x" * 254)))
        ledger.submit(BookRefusal(1, refusal()))
        ledger.close()
        ledger.run()
        assert (ledger.healthy, freed) == (False, [])
        assert ledger.waiting == 64


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is not a database" + path.read_bytes()[22:])


def damage_a_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize("damage", [damage_header, damage_a_page, cut_short])
def test_a_damaged_book_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, trigger: MakeTrigger, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger"
    book(path, *(BookTrigger(n, trigger(n)) for n in range(1, 60)))
    with Ledger(path, []) as ledger:
        old = ledger.book
    damage(path)
    damaged = path.read_bytes()
    with Ledger(path, []) as ledger:
        assert ledger.set_aside == tmp_path / "ledger.damaged-1"
        assert ledger.set_aside.read_bytes() == damaged
        assert ledger.book != old
        assert ledger.next_seq == 1
    damage_header(path)
    with Ledger(path, []) as ledger:
        assert ledger.set_aside == tmp_path / "ledger.damaged-2"


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
        other.commit()
    with pytest.raises(StorageError, match="database of another program"), Ledger(path, []):
        pass
    assert query(path, "SELECT name FROM sqlite_master") == [("bookmarks",)]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="its folder must exist and be writable"), Ledger(tmp_path / "no" / "l", []):
        pass


TODAY = len(schema.STEPS)
ADDED = (*schema.STEPS, "ALTER TABLE results ADD COLUMN note TEXT;")


def test_an_older_book_is_copied_and_upgraded_and_this_version_can_still_use_it(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    book(path, BookTrigger(0, trigger(1)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.prepare(connection, path, ADDED)
        assert connection.execute("PRAGMA user_version").fetchone() == (TODAY + 1,)
        assert connection.execute("SELECT count(note) FROM results").fetchone() == (0,)
    copy = tmp_path / f"ledger.v{TODAY}"
    assert query(copy, "SELECT seq FROM triggers") == [(1,)]
    assert query(copy, "PRAGMA user_version") == [(TODAY,)]
    book(path, BookResult(0, result(trigger(1)), True))
    assert read_books(path).balanced


def test_an_upgrade_that_fails_leaves_the_book_as_it_was(tmp_path: Path, trigger: MakeTrigger) -> None:
    path = tmp_path / "ledger"
    book(path, BookTrigger(0, trigger(1)))
    broken = (*ADDED, "ALTER TABLE nowhere ADD COLUMN note TEXT;")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
            schema.prepare(connection, path, broken)
        assert connection.execute("PRAGMA user_version").fetchone() == (TODAY,)
        assert "note" not in [row[1] for row in connection.execute("PRAGMA table_info(results)")]


def test_a_newer_book_that_needs_newer_software_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    book(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        newer = (*schema.STEPS, f"UPDATE meta SET value = '{TODAY + 1}' WHERE name = 'oldest_software';")
        schema.prepare(connection, path, newer)
    needed = f"schema version {TODAY + 1}, which needs software of schema {TODAY + 1} or newer; this one knows {TODAY}"
    with pytest.raises(StorageError, match=needed):
        Ledger(path, []).__enter__()


def test_the_first_books_defects_have_no_size_in_mm_and_new_ones_have(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.prepare(connection, path, schema.STEPS[:1])
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("INSERT INTO defects VALUES (1, 0, 'scratch', 0, 0.9, 1, 2, 3, 4, 'top')")
    old = Defect("scratch", 0, 0.9, (1.0, 2.0, 3.0, 4.0), "top")
    new = replace(old, size_mm=(0.3, 0.4))
    book(path, BookTrigger(0, trigger(1)), BookResult(0, replace(result(trigger(1)), defects=()), True))
    book(path, BookTrigger(0, trigger(2)), BookResult(0, replace(result(trigger(2)), defects=(new,)), True))
    assert [row.defects for row in verdicts(path).values()] == [(old,), (new,)]


def test_a_picture_that_nobody_announced_is_in_the_book(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    book(path, BookUnannounced("top", 7, "a second picture", "2026-11-22T03:00:00.000Z"))
    assert read_books(path).unannounced == 1
    assert query(path, "SELECT camera, frame_id, text FROM unannounced") == [("top", 7, "a second picture")]


def test_books_of_a_ledger_that_is_not_there_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="start the station once"):
        read_books(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_numbers_begin_above_those_that_a_run_without_a_part_has_skipped(tmp_path: Path, trigger: MakeTrigger) -> None:
    path = tmp_path / "ledger"
    book(path, BookTrigger(0, trigger(41)), BookStarted(1, 10_042, flight_kept=False, utc="2026-11-22T03:00:00.000Z"))
    with Ledger(path, []) as ledger:
        assert ledger.next_seq == 10_042
    book(path, BookTrigger(0, trigger(10_042)))
    with Ledger(path, []) as ledger:
        assert ledger.next_seq == 10_043


def test_every_record_has_a_writer() -> None:
    assert set(WRITERS) == set(get_args(LedgerRecord))


def test_runs_say_how_they_began_and_whether_they_ended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first, second, third = (f"2026-11-22T0{n}:00:00.000Z" for n in (1, 2, 3))
    book(path, BookStarted(11, 1, flight_kept=False, utc=first), BookStopped(11, second))
    book(path, BookStarted(7, 1, flight_kept=True, utc=third))
    rows = query(path, "SELECT boot_id, first_seq, flight_kept, started_utc, stopped_utc FROM runs ORDER BY id")
    assert rows == [(11, 1, 0, first, second), (7, 1, 1, third, None)]


def test_a_message_that_is_given_up_is_in_the_book_with_what_the_broker_said(
    tmp_path: Path, message: MakeMessage
) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "started", "", "2026-11-22T00:00:00.000Z")
    book(path, BookEvent(event, (message(1), message(2))))
    with Ledger(path, ["mqtt"]) as ledger:
        first = ledger.pending("mqtt", 1)[0]
        ledger.give_up("mqtt", first.row, "too large\ud800")
        assert [m.seq for m in ledger.pending("mqtt", 9)] == [2]
    assert query(path, "SELECT destination, schema, seq, why FROM dropped") == [
        ("mqtt", "vision.result/1", 1, "too large?")
    ]
    assert query(path, "SELECT seq FROM outbox") == [(2,)]


def test_a_message_carries_the_time_of_what_it_is_about(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, message: MakeMessage, saved: Callable[..., SavedImage]
) -> None:
    path = tmp_path / "ledger"
    book(
        path,
        BookResult(0, result(trigger(1, wall_utc="2026-11-22T01:00:00.000Z")), True, (message(1),)),
        BookEvent(Event("info", "started", "", "2026-11-22T02:00:00.000Z"), (message(0),)),
        BookImage(saved(1, wall_utc="2026-11-22T03:00:00.000Z"), (message(1, topic="image"),)),
    )
    assert [row[0] for row in query(path, "SELECT substr(wall_utc, 12, 2) FROM outbox ORDER BY row")] == [
        "01", "02", "03",
    ]  # fmt: skip


def test_a_result_brings_its_trigger_along_when_the_book_has_not_got_it(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    book(path, BookResult(0, result(trigger(5)), True))
    assert read_books(path).balanced
    assert list(verdicts(path)) == ["line1.0a1b2c3d.5"]


V3_STATEMENTS = (
    "INSERT INTO triggers (seq, result_id, trigger_seq, part_id, attempt, mode, recipe, recipe_no, boot_id, "
    "plc_boot_id, accepted_ns, deadline_ns, wall_utc, clock_synced) "
    "VALUES (2, 'line1.0a1b2c3d.2', 102, 'P', 1, 1, 'pcb', 7, 1, 1, 1, 2, '2026-11-22T00:00:00.123Z', 1)",
    "INSERT INTO results (seq, evaluation, reason, reason_no, reason_text, views, frame_ids, views_judged, thresholds, "
    "model_hash, settled_ns, cycle_ms, stage_ns, replayed, told) "
    "VALUES (2, 1, 0, 0, '', '[\"top\"]', '[1]', 1, '[]', 'ab', 1, 1.0, '{}', 0, 1)",
    "INSERT INTO events (severity, code, text, wall_utc) VALUES ('info', 'x', '', '2026-11-22T00:00:00.123Z')",
    "INSERT INTO outbox (destination, topic, schema, payload, seq, retain) VALUES ('mqtt', 't', 's', x'00', 2, 0)",
)
"""What the software of schema 3 writes."""


def test_software_of_schema_3_still_uses_an_upgraded_book_and_a_copy_was_made(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.prepare(old, path, schema.STEPS[:3])
        old.execute(V3_STATEMENTS[0].replace("(2, 'line1.0a1b2c3d.2'", "(1, 'line1.0a1b2c3d.1'"))
    book(path)
    assert query(tmp_path / "ledger.v3", "SELECT seq FROM triggers") == [(1,)]
    assert query(tmp_path / "ledger.v3", "PRAGMA user_version") == [(3,)]
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.prepare(old, path, schema.STEPS[:3])  # does not refuse it
        for statement in V3_STATEMENTS:
            old.execute(statement)
    book(path, BookResult(0, replace(result(trigger(3)), margin=0.25), True))
    assert query(path, "SELECT seq, margin FROM results") == [(2, None), (3, 0.25)]
    assert query(path, "SELECT parts FROM events") == [("[]",)]
    assert read_books(path).unknown == (1,)
    with Ledger(path, ["mqtt"]) as ledger:
        assert [m.seq for m in ledger.pending("mqtt", 9)] == [2]


def test_a_delivery_is_booked_also_when_nothing_else_comes(tmp_path: Path, message: MakeMessage) -> None:
    path = tmp_path / "ledger"
    event = Event("info", "started", "", "2026-11-22T00:00:00.000Z")
    book(path, BookEvent(event, (message(1),)))
    with running(Ledger(path, ["mqtt"])) as ledger:
        ledger.delivered("mqtt", [m.row for m in ledger.pending("mqtt", 1)])
        end = time.monotonic() + WAIT_S
        while query(path, "SELECT count(*) FROM outbox") != [(0,)]:
            assert time.monotonic() < end
            time.sleep(0.01)
