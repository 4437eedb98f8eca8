"""What can still be read of a damaged book: its outbox, and what the line must not forget."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from edge_inspector.store.book_file import connect_read_only

_TOGETHER = 200
_SINGLE_STEPS = 500  # row numbers tried one by one behind a page that cannot be read; then in growing strides
_COLUMNS = "row, destination, topic, schema, payload, seq, retain"
_TYPES = (int, str, str, str, bytes, int, int)


def salvage_outbox(damaged: Path, connection: sqlite3.Connection) -> int:
    """Copy messages that wait for a broker into the new book, in the open transaction and in their order; how many."""
    count = 0
    insert = "INSERT INTO outbox (destination, topic, schema, payload, seq, retain) VALUES (?, ?, ?, ?, ?, ?)"
    with closing(connect_read_only(damaged)) as old:
        for row in _rows(old):
            if all(map(isinstance, row, _TYPES)) and _readable(row[3], row[4]):
                connection.execute(insert, row[1:])
                count += 1
    return count


def salvage_kept(damaged: Path, connection: sqlite3.Connection) -> None:
    """The same for what the line must remember over a restart, such as a stop that nobody has acknowledged."""
    rows: list[tuple[object, ...]] = []
    with closing(connect_read_only(damaged)) as old, suppress(sqlite3.DatabaseError):  # what is not given is lost
        rows.extend(old.execute("SELECT name, value, wall_utc FROM kept"))
    for row in rows:
        if all(isinstance(one, str) for one in row) and _is_json(str(row[1]).encode()):
            connection.execute("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", row)


def _rows(old: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """Every row that SQLite gives, in order; pages that it does not give are passed over."""
    after, failures, last = 0, 0, _last_row(old)
    while after < last:
        query = f"SELECT {_COLUMNS} FROM outbox WHERE row > ? ORDER BY row LIMIT ?"
        try:
            rows = old.execute(query, (after, 1 if failures else _TOGETHER)).fetchall()
        except sqlite3.DatabaseError:
            failures += 1
            after += max(1, 2 ** (failures - _SINGLE_STEPS)) if failures > 1 else 0
            continue
        if not rows:
            return
        failures = 0
        yield from rows
        after = rows[-1][0]


def _last_row(old: sqlite3.Connection) -> int:
    """The highest row number there can be; 0 = nothing can be read."""
    try:
        row = old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    except sqlite3.DatabaseError:
        return 0
    return 0 if row is None else int(row[0])


def _readable(schema: object, payload: object) -> bool:
    """SQLite has no checksums: at least what should be JSON must be JSON."""
    return not str(schema).startswith("vision.") or _is_json(bytes(payload))  # type: ignore[call-overload]


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
