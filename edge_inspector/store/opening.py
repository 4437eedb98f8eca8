"""Opening a book that is only read: a running station's, a copy, or one of an older version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_inspector.errors import StorageError
from edge_inspector.store import schema
from edge_inspector.store.book_file import BUSY_TIMEOUT_S, connect_read_only


def open_book(path: Path) -> sqlite3.Connection:
    """A connection with today's tables that cannot change the file.

    A book of an older version is copied into a temporary one and upgraded there. StorageError: it is missing, no
    ledger, or a newer version's.
    """
    try:
        if not path.is_file():
            raise StorageError(f"ledger {path} is not there; start the station once, or name another file")
        return _upgraded(_connected(path), path)
    except (sqlite3.Error, OSError) as exc:
        raise StorageError(
            f"ledger {path} cannot be read: {exc}; is it the ledger, and may this user read it?"
        ) from exc


def _connected(path: Path) -> sqlite3.Connection:
    """SQLite needs a file beside the book to share it with its writer; where nobody may make one, nobody writes."""
    connection = connect_read_only(path)
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        uri = path.absolute().as_uri() + "?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    return connection


def _upgraded(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    try:
        if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
            raise StorageError(f"ledger {path} is empty; wait until the station has made its book, or start it once")
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        if application != schema.APPLICATION_ID:
            raise StorageError(
                f"{path} is no ledger of edge-inspector (application_id {application:#x}, expected "
                f"{schema.APPLICATION_ID:#x}); name the ledger or the station file"
            )
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version >= len(schema.STEPS):
            schema.prepare(connection, path)  # changes nothing: refuses one that is too new
            return connection
        copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a file that nobody else sees
        try:
            connection.backup(copy)
            copy.executescript("\n".join(schema.STEPS[version:]))
        except BaseException:
            copy.close()
            raise
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy
