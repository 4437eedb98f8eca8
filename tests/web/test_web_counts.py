"""How far somebody has read, and what the shift has brought, while results come out of order."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from datetime import time as of_day
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.store.schema import prepare
from edge_inspector.web.counts import ShiftCounter, shift_began
from edge_inspector.web.reached import Reached, go_on, reached_now

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Book:
    """The real tables, filled by hand."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        prepare(self.connection, path or Path("memory"))

    def accept(self, seq: int, boot: int = 1, mode: int = 1, at: datetime = NOON) -> None:
        row = {"seq": seq, "result_id": f"s.b.{seq}", "mode": mode, "boot_id": boot, "clock_synced": 1}
        row["wall_utc"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._insert("triggers", row)

    def settle(self, seq: int, evaluation: int = 1) -> None:
        self._insert("results", {"seq": seq, "evaluation": evaluation})

    def _insert(self, table: str, row: dict[str, object]) -> None:
        """Columns that are not named get something of their type that nobody looks at."""
        info = self.connection.execute(f"PRAGMA table_info({table})").fetchall()
        whole = {
            name: row.get(name, None if not strict else "" if kind == "TEXT" else 0)
            for _, name, kind, strict, *_ in info
        }
        marks = ", ".join("?" * len(whole))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(whole)}) VALUES ({marks})", list(whole.values()))


@pytest.fixture
def book() -> Iterator[Book]:
    made = Book()
    yield made
    made.connection.close()


def test_a_result_that_comes_late_is_read_after_those_that_have_overtaken_it(book: Book) -> None:
    for seq in (1, 2, 3):
        book.accept(seq)
    book.settle(1)
    book.settle(3)
    seqs, reached = go_on(book.connection, Reached(0))
    assert (seqs, reached, reached.whole) == ([1, 3], Reached(3, frozenset({2})), 1)
    assert go_on(book.connection, reached) == ([], reached)
    book.settle(2)
    seqs, reached = go_on(book.connection, reached)
    assert (seqs, reached, reached.whole) == ([2], Reached(3), 3)


def test_what_an_older_start_has_left_open_is_not_waited_for(book: Book) -> None:
    book.accept(1, boot=1)  # a power cut came: it gets no result any more
    book.accept(2, boot=2)
    book.accept(3, boot=2)
    book.settle(3)
    assert go_on(book.connection, Reached(0)) == ([3], Reached(3, frozenset({2})))
    assert reached_now(book.connection) == Reached(3, frozenset({2}))
    book.accept(4, boot=3)  # another start: 2 is given up, too
    assert go_on(book.connection, Reached(3, frozenset({2}))) == ([], Reached(3))


def test_an_empty_book_is_read_to_its_end(book: Book) -> None:
    assert reached_now(book.connection) == Reached(0)
    assert go_on(book.connection, Reached(0)) == ([], Reached(0))


@given(order=st.permutations(range(1, 13)), looks=st.sets(st.integers(0, 11)), most=st.integers(1, 5))
@settings(max_examples=60)
def test_every_result_is_read_exactly_once_in_whatever_order_they_come(
    order: list[int], looks: set[int], most: int
) -> None:
    book = Book()
    for seq in range(1, 13):
        book.accept(seq)
    read, reached = list[int](), Reached(0)
    for step, seq in enumerate(order):
        book.settle(seq)
        if step in looks:
            seqs, reached = go_on(book.connection, reached, most)
            read += seqs
            missing = set(order[: step + 1]) - set(read)
            assert all(seq > reached.whole for seq in missing)  # nothing is lost by going on from there
    while seqs := (found := go_on(book.connection, reached, most))[0]:
        read += seqs
        reached = found[1]
    assert sorted(read) == list(range(1, 13))
    assert reached.whole == 12
    book.connection.close()


def test_the_shift_is_counted_as_sqlite_would_count_it(book: Book) -> None:
    counter = ShiftCounter(("06:00",))
    began = shift_began((of_day(6),), NOON)
    book.accept(1, at=began - timedelta(seconds=1))  # the shift before
    book.settle(1)
    for seq, evaluation in ((2, 1), (3, 2), (4, 3), (5, 0), (6, 1)):
        book.accept(seq, at=began)
        book.settle(seq, evaluation)
    book.accept(7, mode=5)  # a manual one
    book.settle(7, 2)
    book.accept(8)
    first = counter.counts(book.connection, NOON)
    assert (first.ok, first.not_ok, first.not_decidable, first.undefined) == (2, 1, 1, 1)
    book.accept(9)
    book.settle(9, 1)
    assert counter.counts(book.connection, NOON).ok == 3
    book.settle(8, 2)  # overtaken
    assert counter.counts(book.connection, NOON).not_ok == 2
    tomorrow = counter.counts(book.connection, NOON + timedelta(days=1))
    assert (tomorrow.ok, tomorrow.not_ok, tomorrow.undefined) == (0, 0, 0)
    other = Book()
    assert counter.counts(other.connection, NOON + timedelta(days=1)).ok == 0
    other.connection.close()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "began"),
    [
        (datetime(2026, 6, 1, 11, 59, tzinfo=UTC), datetime(2026, 6, 1, 4, tzinfo=UTC)),  # 06:00 in summer
        (datetime(2026, 6, 1, 12, 0, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC)),  # 14:00 sharp
        (datetime(2026, 6, 1, 3, 59, tzinfo=UTC), datetime(2026, 5, 31, 20, tzinfo=UTC)),  # 22:00 the day before
        (datetime(2026, 3, 29, 3, 0, tzinfo=UTC), datetime(2026, 3, 28, 21, tzinfo=UTC)),  # the night that is shorter
        (datetime(2026, 3, 29, 4, 0, tzinfo=UTC), datetime(2026, 3, 29, 4, tzinfo=UTC)),
        (datetime(2026, 10, 25, 4, 59, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)),  # the longer one
        (datetime(2026, 10, 25, 5, 0, tzinfo=UTC), datetime(2026, 10, 25, 5, tzinfo=UTC)),
    ],
)
def test_a_shift_begins_by_the_clock_on_the_wall(now: datetime, began: datetime) -> None:
    assert shift_began((of_day(6), of_day(14), of_day(22)), now) == began
