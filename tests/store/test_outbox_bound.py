from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage, Trigger
from edge_inspector.store.book_file import open_book
from edge_inspector.store.outbox_bound import DROPPED_TOGETHER, OutboxBound
from edge_inspector.store.records import BookEvent, BookResult, Delivered
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.writing import write

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
UTC = "2026-11-22T12:00:00.000Z"
SIZE = 1000 + len("result") + len("mqtt") + 60  # of one message in these tests


@pytest.fixture
def book(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_book(tmp_path / "ledger", LedgerSettings.model_validate({}))) as connection:
        yield connection


def message(seq: int, destination: str = "mqtt") -> OutboxMessage:
    return OutboxMessage(destination, "result", "vision.result/1", b"x" * 1000, seq)


def bounded(book: sqlite3.Connection, messages: int, held: frozenset[int] = frozenset()) -> OutboxBound:
    """A bound of so many messages that knows all that is in the book."""
    made = OutboxBound(messages * SIZE, lambda: held)
    made.opened(book)
    while made.counting:
        made.count(book)
    return made


def drop(made: OutboxBound, book: sqlite3.Connection) -> list[int]:
    """Row numbers that go, step by step, until it is small enough or nothing may go."""
    there = rows(book)
    while made.outgrown:
        dropped = made.drop(book, UTC)
        if dropped is None:
            break
        made.committed(-dropped[1], made.last_row)
    left = set(rows(book))
    return [row for row in there if row not in left]


def rows(book: sqlite3.Connection) -> list[int]:
    return [row for (row,) in book.execute("SELECT row FROM outbox ORDER BY row")]


@pytest.fixture
def mixed(book: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult) -> sqlite3.Connection:
    """Rows 1 event, 2 reject, 3 good, 4 good, 5 event, 6 reject, 7 good."""
    event = Event("info", "note", "", UTC)
    for seq, word in enumerate(("event", "bad", "good", "good", "event", "bad", "good"), 1):
        if word == "event":
            write(book, BookEvent(event, (message(0),)))
        else:
            write(book, BookResult(None, result(trigger(seq), defects=word == "bad"), True, (message(seq),)))
    return book


@pytest.mark.parametrize(
    ("limit", "gone"),
    [
        (7, []),
        (6, [3]),
        (4, [3, 4, 7]),
        (3, [2, 3, 4, 7]),
        (2, [2, 3, 4, 6, 7]),
        (1, [1, 2, 3, 4, 6, 7]),
    ],
)
def test_good_parts_go_first_then_rejects_then_events_and_of_each_the_oldest(
    mixed: sqlite3.Connection, limit: int, gone: list[int]
) -> None:
    made = bounded(mixed, limit)
    assert made.bytes == 7 * SIZE
    assert drop(made, mixed) == gone
    assert made.bytes == limit * SIZE
    booked = mixed.execute("SELECT destination, schema, seq, wall_utc, why FROM dropped ORDER BY id").fetchall()
    seqs = [0 if row in (1, 5) else row for row in gone]
    assert sorted(booked) == sorted(("mqtt", "vision.result/1", seq, UTC, "") for seq in seqs)


def test_one_byte_too_much_is_too_much(mixed: sqlite3.Connection) -> None:
    made = bounded(mixed, 7)
    made.committed(1, made.last_row)
    assert drop(made, mixed) == [3]


def test_what_a_destination_has_in_its_hands_is_not_dropped(mixed: sqlite3.Connection) -> None:
    made = bounded(mixed, 1, held=frozenset({3, 7, 1}))
    assert drop(made, mixed) == [2, 4, 5, 6]
    assert made.outgrown
    assert made.drop(mixed, UTC) is None


def test_a_good_part_that_comes_later_goes_before_a_reject(
    mixed: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult
) -> None:
    made = bounded(mixed, 3)
    assert drop(made, mixed) == [2, 3, 4, 7]
    write(mixed, BookResult(None, result(trigger(8)), True, (message(8),)))
    made.committed(*made.added(mixed))
    assert made.bytes == 4 * SIZE
    assert drop(made, mixed) == [8]


def test_thousands_of_rejects_in_front_hide_no_good_part(
    book: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult
) -> None:
    book.execute("BEGIN")
    for seq in range(1, 2502):
        write(book, BookResult(None, result(trigger(seq), defects=int(seq != 2400)), True, (message(seq),)))
    made = bounded(book, 2500)
    assert drop(made, book) == [2400]


def test_a_step_drops_no_more_than_one_transaction_should_hold(
    book: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult
) -> None:
    book.execute("BEGIN")
    for seq in range(1, 401):
        write(book, BookResult(None, result(trigger(seq)), True, (message(seq),)))
    made = bounded(book, 1)
    assert made.drop(book, UTC) == (DROPPED_TOGETHER, DROPPED_TOGETHER * SIZE)


def test_the_size_is_right_whatever_comes_goes_and_is_counted_in_between(
    book: sqlite3.Connection, trigger: MakeTrigger, result: MakeResult
) -> None:
    book.execute("BEGIN")
    for seq in range(1, 2301):
        write(book, BookResult(None, result(trigger(seq)), True, (message(seq),)))
    made = OutboxBound(10_000_000, frozenset)
    made.opened(book)

    def deliver(*gone: int) -> None:
        size = made.size_of(book, gone)
        write(book, Delivered("mqtt", gone))
        made.committed(-size, made.last_row)

    made.count(book)  # 1 to 1000
    assert made.bytes == 1000 * SIZE
    assert not made.outgrown
    deliver(1, 2, 1500)  # counted, counted, not yet
    assert made.bytes == 998 * SIZE
    write(book, BookResult(None, result(trigger(2301)), True, (replace(message(2301), payload=b""),)))
    made.committed(*made.added(book))
    deliver(2301, 9999)  # came after the start; never there
    while made.counting:
        made.count(book)
    assert made.bytes == 2297 * SIZE
    assert made.last_row == 2301


def test_an_outbox_that_was_emptied_is_counted_as_empty(book: sqlite3.Connection) -> None:
    write(book, BookEvent(Event("info", "note", "", UTC), (message(0),)))
    write(book, Delivered("mqtt", (1,)))
    made = bounded(book, 1)
    assert (made.bytes, made.last_row) == (0, 1)
