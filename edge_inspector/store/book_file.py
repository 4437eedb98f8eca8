"""The ledger's file: opened whole or not at all, set aside when it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_inspector.store import schema
from edge_inspector.store.settings import LedgerSettings

BUSY_TIMEOUT_S = 1.0  # how long another program's lock is waited for before it counts as a failure
CHECKED_AT_START_BYTES = 64_000_000  # 100 000 parts, about a second of quick_check; a larger book is checked later
WAL_LEFT_BYTES = 16_000_000  # what a long read may have made of the write-ahead log is given back


class DamagedBookError(Exception):
    """The file is not a whole SQLite database; the message is SQLite's."""


def open_book(path: Path, settings: LedgerSettings) -> sqlite3.Connection:
    """The writer's connection; the book is made or upgraded when it must be.

    DamagedBookError: set it aside. StorageError: not our file, or a newer one. sqlite3.OperationalError: locked, full,
    not writable; the file itself may be sound.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        if path.stat().st_size <= CHECKED_AT_START_BYTES:
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            if found != "ok":
                raise DamagedBookError(found)
        # Does nothing to a book that has tables: those of older versions keep the pages that they have freed.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LEFT_BYTES}")
        connection.execute(f"PRAGMA synchronous = {settings.synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        schema.prepare(connection, path)
    except sqlite3.DatabaseError as exc:
        connection.close()
        if is_damage(exc):
            raise DamagedBookError(str(exc)) from exc
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is malformed or no database at all, and not that it cannot get at it.

    sqlite3 gives SQLITE_CORRUPT and SQLITE_NOTADB the base class itself (its codes come with Python 3.11).
    """
    return isinstance(error, DamagedBookError) or type(error) is sqlite3.DatabaseError


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE to COMMIT; rolled back by any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the book; works while the station writes."""
    return sqlite3.connect(
        path.absolute().as_uri() + "?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def set_aside(path: Path) -> Path:
    """Rename the file and its write-ahead log, which may still hold something for who can repair it."""
    aside = name_aside(path)
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def name_aside(path: Path) -> Path:
    """Where `set_aside` will put it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def half_made(path: Path) -> Path:
    """Where a book is made that is to take the place of another one; what a killed process left there is gone."""
    half = path.with_name(f"{path.name}.half")
    for suffix in ("", "-wal", "-shm", "-journal"):
        half.with_name(half.name + suffix).unlink(missing_ok=True)
    return half


def made(path: Path) -> Path:
    """The new book when it is whole: from then on it is the one that counts."""
    return path.with_name(f"{path.name}.new")


def take_place(path: Path) -> Path:
    """Set aside what is left of the old book and give its name to the new one; done again after a kill, it goes on."""
    aside = set_aside(path)
    made(path).replace(path)
    return aside
