"""The ledger's every statement fails once, and the process dies at every one: each verdict is booked exactly once."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_inspector.datatypes import AuditEntry, Event, InspectionResult, OutboxMessage, Refusal, SavedImage, Trigger
from edge_inspector.store import audit
from edge_inspector.store import ledger as ledger_module
from edge_inspector.store.ledger import BookEvent, BookRefusal, BookResult, BookTold, BookTrigger, Ledger
from edge_inspector.store.records import BookAudit, BookImage, BookStarted, LedgerRecord

UTC = "2026-11-22T12:00:00.000Z"
PARTS = range(1, 6)


class Killed(BaseException):
    """SIGKILL, as far as the files can tell."""


class Fate:
    """What happens at which of the ledger's statements; 0 = nothing."""

    def __init__(self) -> None:
        self.statement = 0
        self.at = 0
        self.what: Callable[[], BaseException] = Killed
        self.afterwards = False
        self.thread: threading.Thread | None = None

    def meets(self, arguments: Sequence[Any], execute: Callable[..., sqlite3.Cursor]) -> sqlite3.Cursor:
        if threading.current_thread() is not self.thread or arguments[0] == "ROLLBACK":
            return execute(*arguments)
        self.statement += 1
        due = self.statement == self.at
        if due and not self.afterwards:
            raise self.what()
        done = execute(*arguments)
        if due:
            raise self.what()
        return done


@contextmanager
def fated(fate: Fate) -> Iterator[None]:
    class Mortal(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            return fate.meets(arguments, super().execute)

        def executemany(self, *arguments: Any) -> sqlite3.Cursor:
            return fate.meets(arguments, super().executemany)

        def executescript(self, *arguments: Any) -> sqlite3.Cursor:
            return fate.meets(arguments, super().executescript)

    connect = sqlite3.connect
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, **{**options, "factory": Mortal}))
        patched.setattr(ledger_module, "RETRY_S", 0.0)
        fate.thread = threading.current_thread()
        yield


def the_flight_record(trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]) -> list[BookResult]:
    """What a process leaves of its parts, told or not."""
    return [BookResult(seq, result(trigger(seq), defects=1), True, messages(seq), replay=True) for seq in PARTS]


def messages(seq: int) -> tuple[OutboxMessage, ...]:
    return tuple(OutboxMessage(to, "result", "vision.result/1", b"{}", seq) for to in ("site", "cloud"))


@pytest.fixture
def records(
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    refusal: Callable[..., Refusal],
    saved: Callable[..., SavedImage],
) -> list[LedgerRecord]:
    made: list[LedgerRecord] = [BookStarted(4711, 1, True, UTC), BookAudit(AuditEntry(UTC, True, "anna", "a", "b"))]
    for seq in PARTS:
        made.append(BookTrigger(seq, trigger(seq)))
        made.append(BookResult(seq, result(trigger(seq), defects=1), None, messages(seq)))
        made.append(BookTold(trigger(seq).result_id))
    made += [BookRefusal(99, refusal(5)), BookEvent(Event("info", "note", "", UTC), messages(0))]
    return [*made, BookImage(saved(1), messages(1))]


def sums(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as book:
        assert book.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert audit.verify(book).problems == ()
        return {
            "results": book.execute("SELECT seq, told FROM results ORDER BY seq").fetchall(),
            "messages": book.execute("SELECT destination, seq FROM outbox ORDER BY row").fetchall(),
            **{
                name: book.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("triggers", "defects", "refusals", "events", "images", "audit", "runs")
            },
        }


def lived(path: Path, records: Sequence[LedgerRecord], freed: list[int]) -> None:
    with Ledger(path, ["site", "cloud"], on_booked=freed.append) as ledger:
        for record in records:
            ledger.submit(record)
        ledger.close()
        while ledger.waiting:
            ledger.run()


def test_whichever_statement_the_disk_refuses_everything_is_booked_once(
    tmp_path: Path, records: list[LedgerRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "GROUP", 7)
    lived(tmp_path / "sound", records, [])
    expected = sums(tmp_path / "sound")
    for at in range(1, 1000):
        path, freed = tmp_path / str(at), list[int]()
        with Ledger(path, ["site", "cloud"], on_booked=freed.append) as ledger:
            ledger.submit(records[0])
        fate = Fate()
        fate.what = lambda: sqlite3.OperationalError("disk I/O error")
        with fated(fate), Ledger(path, ["site", "cloud"], on_booked=freed.append) as ledger:
            for record in records[1:]:
                ledger.submit(record)
            ledger.close()
            fate.statement, fate.at = 0, at
            while ledger.waiting:
                ledger.run()
        assert sums(path) == expected, f"statement {at}"
        assert sorted(freed) == [*PARTS, 99]
        if fate.statement < at:
            break
    assert at > 40


@pytest.mark.parametrize("afterwards", [False, True])
def test_at_whichever_statement_the_process_dies_each_verdict_is_booked_once_and_its_messages_wait(
    tmp_path: Path,
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    refusal: Callable[..., Refusal],
    records: list[LedgerRecord],
    monkeypatch: pytest.MonkeyPatch,
    *,
    afterwards: bool,
) -> None:
    monkeypatch.setattr(ledger_module, "GROUP", 7)
    left = the_flight_record(trigger, result)
    for at in range(1, 1000):
        path, freed, fate = tmp_path / str(at), list[int](), Fate()
        fate.at, fate.afterwards = at, afterwards
        with fated(fate), suppress(Killed):
            lived(path, records, freed)
        replayed: list[LedgerRecord] = [record for record in left if record.slot not in freed]
        if 99 not in freed:
            replayed.append(BookRefusal(99, refusal(5), replay=True))
        lived(path, replayed, freed)
        found = sums(path)
        assert [seq for seq, _ in found["results"]] == list(PARTS), f"statement {at}"
        assert (found["triggers"], found["defects"], found["refusals"]) == (len(PARTS), len(PARTS), 1)
        of_parts = Counter(message for message in found["messages"] if message[1])
        assert of_parts.keys() == {(to, seq) for to in ("site", "cloud") for seq in PARTS}, f"statement {at}"
        assert all(count == 1 for (_, seq), count in of_parts.items() if seq > 1)  # part 1 has a picture
        for to in ("site", "cloud"):
            order = list(dict.fromkeys(seq for name, seq in found["messages"] if name == to and seq))
            assert order == list(PARTS)
        if fate.statement < at:
            break
    assert at > 60
