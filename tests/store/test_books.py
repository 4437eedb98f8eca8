"""The sums of a book, and which files can be read as one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, OutboxMessage, Refusal, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store import schema
from edge_inspector.store.books import read_books, verdicts
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.opening import open_book
from edge_inspector.store.records import BookRefusal, BookResult, BookTrigger, GivenUp

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def write(path: Path, *records: Any) -> Path:
    with Ledger(path, ["mqtt"]) as ledger:
        for record in records:
            ledger.submit(record)
        ledger.close()
        ledger.run()
    return path


def test_verdicts_of_more_parts_than_one_page_are_all_there_in_order(
    path: Path, trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]
) -> None:
    parts = [result(trigger(seq), seq % 2) for seq in range(1, 2302)]
    rows = verdicts(write(path, *(BookResult(None, part, told=True, replay=True) for part in parts)))
    assert list(rows) == [part.result_id for part in parts]
    assert [row.evaluation for row in rows.values()] == [part.evaluation for part in parts]
    assert {type(d) for row in rows.values() for d in row.defects} == {Defect}
    assert [row.defects for row in rows.values()] == [part.defects for part in parts]


def test_what_retention_removed_is_counted_in_and_named_apart(
    path: Path,
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    refusal: Callable[..., Refusal],
) -> None:
    write(path, BookTrigger(None, trigger(1)), BookResult(None, result(trigger(2)), told=True, replay=True))
    with closing(sqlite3.connect(path)) as writer, writer:
        sums = '{"accepted":5, "results":4, "ok":4, "told":3, "telling_unknown":1, "unknown":1, "refused":2, "x":9}'
        for first, last in ((-10, -6), (-5, -1)):
            row = ("2026-11-22T00:00:00.000Z", first, last, sums)
            writer.execute("INSERT INTO removed (wall_utc, first_seq, last_seq, sums) VALUES (?, ?, ?, ?)", row)
    books = read_books(path)
    assert (books.accepted, books.results, books.ok, books.told, books.refused) == (12, 9, 9, 7, 4)
    assert (books.removed, books.removed_unknown, books.removed_telling_unknown, books.unknown) == (10, 2, 2, (1,))
    assert [gap.split()[0] for gap in books.gaps] == ["1", "2", "2"]
    assert not books.balanced


def test_a_message_that_was_given_up_keeps_the_books_from_balancing(
    path: Path,
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    message: Callable[..., OutboxMessage],
) -> None:
    booked = BookResult(None, result(trigger(1)), told=True, messages=(message(1),), replay=True)
    books = read_books(write(path, booked, GivenUp("mqtt", 1, "too large", "2026-11-22T00:00:00.000Z")))
    assert (books.dropped, books.outbox_pending, books.balanced) == (1, 0, False)


# --- which files can be read -----------------------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """The superuser may write everywhere: be somebody else meanwhile."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Readable for everybody, which pytest's own folders are not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def test_a_copy_in_a_folder_that_nobody_may_write_is_read(
    folder: Path, trigger: Callable[..., Trigger], refusal: Callable[..., Refusal]
) -> None:
    path = write(folder / "copy.sqlite", BookTrigger(None, trigger(1)), BookRefusal(None, refusal()))
    path.chmod(0o444)
    folder.chmod(0o555)
    with as_nobody():
        assert (read_books(path).accepted, read_books(path).refused) == (1, 1)
    assert [file.name for file in folder.iterdir()] == ["copy.sqlite"]


def test_a_running_stations_book_is_read_by_somebody_who_may_not_write(
    folder: Path, trigger: Callable[..., Trigger]
) -> None:
    with Ledger(folder / "ledger.sqlite", []) as ledger:
        ledger.submit(BookTrigger(None, trigger(1)))
        ledger.close()
        ledger.run()
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        with as_nobody():
            assert read_books(ledger.path).accepted == 1
        folder.chmod(0o755)


def test_a_copy_with_its_write_ahead_log_holds_what_stands_there_alone(
    tmp_path: Path, trigger: Callable[..., Trigger]
) -> None:
    with Ledger(tmp_path / "ledger.sqlite", []) as ledger:
        ledger.submit(BookTrigger(None, trigger(1)))
        ledger.close()
        ledger.run()
        (tmp_path / "copy").mkdir()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    assert read_books(tmp_path / "copy" / "ledger.sqlite").accepted == 1


@pytest.mark.parametrize("version", range(1, len(schema.STEPS)))
def test_a_book_of_older_software_is_read_and_left_as_it_is(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.prepare(old, path, schema.STEPS[:version])
        old.execute(
            "INSERT INTO triggers VALUES (1, 'a.b.1', 1, 'P1', 1, 1, 'r', 1, 9, 0, 0, 0, '2026-11-22T00:00:00.000Z', 1)"
        )
    before = path.read_bytes()
    assert read_books(path).accepted == 1
    assert verdicts(path) == {}
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["ledger.sqlite"]


def test_a_newer_book_that_this_version_may_not_use_is_refused_by_name(path: Path) -> None:
    write(path)
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE meta SET value = '99' WHERE name = 'oldest_software'")
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="needs software of schema 99"):
        open_book(path)


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StorageError, match="is no ledger of edge-inspector"):
        open_book(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "is not there", id="no file"),
        pytest.param(b"station = 1\n" * 100, "cannot be read", id="no database"),
        pytest.param(b"", "is empty", id="an empty file, before the station has made its tables"),
    ],
)
def test_a_file_that_is_no_book_is_told_by_its_name(path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=rf"ledger\.sqlite {said}"):
        open_book(path)


def test_a_folder_is_no_book(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is not there"):
        open_book(tmp_path)


def test_reading_cannot_change_the_book(path: Path) -> None:
    with closing(open_book(write(path))) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM meta")


def test_the_sums_of_an_ok_and_a_reject_are_told_apart(
    path: Path, trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]
) -> None:
    made = [result(trigger(1)), result(trigger(2), 1), result(trigger(3), 2)]
    books = read_books(write(path, *(BookResult(None, one, told=True, replay=True) for one in made)))
    assert (books.ok, books.not_ok, books.not_decidable, books.undefined) == (1, 2, 0, 0)
    assert made[1].evaluation is Evaluation.NOT_OK
