from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_inspector.datatypes import AuditEntry
from edge_inspector.errors import StorageError
from edge_inspector.store import audit
from edge_inspector.store.book_file import open_book
from edge_inspector.store.settings import LedgerSettings

UTC = "2026-11-22T12:00:00.000Z"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_book(tmp_path / "ledger", LedgerSettings.model_validate({}))) as connection:
        for n in range(1, 6):
            audit.append(connection, AuditEntry(UTC, n % 2 == 1, "anna", "recipe_selected", f"change {n}"))
        yield connection


def test_the_chain_is_the_documented_sha256_of_hash_and_row(book: sqlite3.Connection) -> None:
    before = "0" * 64
    for hash_, *row in book.execute("SELECT hash, wall_utc, clock_synced, who, what, detail FROM audit ORDER BY id"):
        before = hashlib.sha256(json.dumps([before, *row]).encode()).hexdigest()
        assert hash_ == before
    assert audit.head(book) == f"5:{before}"
    assert audit.verify(book) == audit.AuditProof(5, f"5:{before}", ())


def test_an_empty_trail_is_whole(tmp_path: Path) -> None:
    with closing(open_book(tmp_path / "new", LedgerSettings.model_validate({}))) as connection:
        assert audit.verify(connection) == audit.AuditProof(0, audit.head(connection), ())
        assert audit.head(connection) == f"0:{'0' * 64}"


EDITS = [
    pytest.param(f"UPDATE audit SET {column} = {value} WHERE id = 3", id=column)
    for column, value in (
        ("wall_utc", "'2026-11-22T12:00:00.001Z'"),
        ("clock_synced", "2"),
        ("who", "'otto'"),
        ("what", "'x'"),
        ("detail", "'change 4'"),
        ("detail", "x'00'"),
        ("hash", "lower(hex(zeroblob(32)))"),
    )
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_any_column_shows(book: sqlite3.Connection, edit: str) -> None:
    book.execute(edit)
    assert audit.verify(book).problems[0] == "row 3 of the audit trail: it or its hash was edited"


def test_an_edit_with_its_own_hash_made_anew_shows_at_the_next_row(book: sqlite3.Connection) -> None:
    ((before,),) = book.execute("SELECT hash FROM audit WHERE id = 2").fetchall()
    row = [before, UTC, 1, "anna", "recipe_selected", "nothing"]
    forged = hashlib.sha256(json.dumps(row).encode()).hexdigest()
    book.execute("UPDATE audit SET detail = 'nothing', hash = ? WHERE id = 3", (forged,))
    assert audit.verify(book).problems == ("row 4 of the audit trail: it or its hash was edited",)


def test_a_deletion_in_the_middle_shows_even_when_the_rows_are_numbered_anew(book: sqlite3.Connection) -> None:
    book.execute("DELETE FROM audit WHERE id = 3")
    assert audit.verify(book).problems == ("row 3 of the audit trail: deleted",)
    book.execute("UPDATE audit SET id = id - 1 WHERE id > 3")
    assert audit.verify(book).problems == ("row 3 of the audit trail: it or its hash was edited",)


def test_several_deleted_rows_are_named(book: sqlite3.Connection) -> None:
    book.execute("DELETE FROM audit WHERE id < 4")
    assert audit.verify(book).problems[0] == "rows 1 to 3 of the audit trail: deleted"


def test_a_row_in_between_shows(book: sqlite3.Connection) -> None:
    book.execute("UPDATE audit SET id = -id")
    book.execute("UPDATE audit SET id = CASE WHEN id < -2 THEN 1 - id ELSE -id END")
    book.execute(
        "INSERT INTO audit (id, wall_utc, clock_synced, who, what, detail, hash) VALUES (3, ?, 1, 'x', 'x', 'x', 'x')",
        (UTC,),
    )
    assert audit.verify(book).problems[0] == "row 3 of the audit trail: it or its hash was edited"


def test_a_cut_end_shows_only_against_a_published_head(book: sqlite3.Connection) -> None:
    head = audit.head(book)
    assert audit.verify(book, head).problems == ()
    book.execute("DELETE FROM audit WHERE id > 3")
    assert audit.verify(book).problems == ()
    assert audit.verify(book, head).problems == (
        "the audit trail ends with row 3, and row 5 was published: the end is gone",
    )


def test_a_trail_written_anew_shows_only_against_a_published_head(book: sqlite3.Connection) -> None:
    head = audit.head(book)
    book.execute("DELETE FROM audit")
    for n in range(1, 7):
        audit.append(book, AuditEntry(UTC, True, "anna", "recipe_selected", f"forged {n}"))
    assert audit.verify(book).problems == ()
    assert audit.verify(book, head).problems == (
        "row 5 of the audit trail: its hash is not the published one: written anew",
    )


@pytest.mark.parametrize("head", ["5", "x:" + "0" * 64, "5:" + "g" * 64, "-1:" + "0" * 64])
def test_what_is_no_head_is_refused(book: sqlite3.Connection, head: str) -> None:
    with pytest.raises(StorageError, match="expected <rows>:<64 hex digits>"):
        audit.verify(book, head)


def test_words_that_no_encoder_takes_are_booked_and_stay_whole(book: sqlite3.Connection) -> None:
    audit.append(book, AuditEntry(UTC, True, "mqtt:\ud800", "order", "\udfff'); DROP TABLE audit; --"))
    assert book.execute("SELECT who, detail FROM audit WHERE id = 6").fetchone() == (
        "mqtt:?",
        "?'); DROP TABLE audit; --",
    )
    assert audit.verify(book).problems == ()
