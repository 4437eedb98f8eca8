"""How much waits for brokers that are away, and what is given up when that is too much."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from edge_inspector.datatypes import Evaluation

DROPPED_TOGETHER = 200  # messages in one transaction
_SIZE = "length(payload) + length(topic) + length(destination) + 60"  # and its share of pages and index
_WINDOW = 1000  # messages looked through, or counted, in one step
_GOOD, _REJECT, _EVENT = range(3)  # in this order they go


class OutboxBound:
    """On the ledger's thread, in its transactions; `bytes` may be read by any thread.

    After a start the messages of earlier runs are counted little by little: nothing is dropped until that is done.
    """

    def __init__(self, max_bytes: int, held: Callable[[], frozenset[int]]) -> None:
        """`held()` are the rows that a destination's thread has in its hands."""
        self._max_bytes = max_bytes
        self._held = held
        self.bytes = 0
        self._last_row = 0
        self._counted_to = 0
        self._count_until = 0
        self._looked_to = [0, 0, 0]

    def opened(self, connection: sqlite3.Connection) -> None:
        """Begin with this book."""
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        self._last_row = self._count_until = 0 if last is None else int(last[0])
        self.bytes = self._counted_to = 0
        self._looked_to = [0, 0, 0]

    @property
    def last_row(self) -> int:
        """The highest number that a message of this book has had."""
        return self._last_row

    @property
    def counting(self) -> bool:
        """Whether `count` has something left to do."""
        return self._counted_to < self._count_until

    @property
    def outgrown(self) -> bool:
        return not self.counting and self.bytes > self._max_bytes

    def count(self, connection: sqlite3.Connection) -> None:
        """Add some of what was there at the start."""
        query = (
            f"SELECT count(*), sum({_SIZE}), max(row) FROM (SELECT * FROM outbox WHERE row > ? ORDER BY row LIMIT ?)"
        )
        count, size, last = connection.execute(query, (self._counted_to, _WINDOW)).fetchone()
        if count == _WINDOW and last < self._count_until:
            self._counted_to = last
            self.bytes += size
            return
        query = f"SELECT coalesce(sum({_SIZE}), 0) FROM outbox WHERE row > ? AND row <= ?"
        self.bytes += connection.execute(query, (self._counted_to, self._count_until)).fetchone()[0]
        self._counted_to = self._count_until

    def size_of(self, connection: sqlite3.Connection, rows: Sequence[int]) -> int:
        """Bytes of those rows that are there and counted: asked before they are deleted."""
        marks = ",".join("?" * len(rows))
        query = f"SELECT coalesce(sum({_SIZE}), 0) FROM outbox WHERE row IN ({marks}) AND NOT (row > ? AND row <= ?)"
        return int(connection.execute(query, (*rows, self._counted_to, self._count_until)).fetchone()[0])

    def added(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Bytes and the last number of the rows that came since the last commit: asked before the next one."""
        query = f"SELECT coalesce(sum({_SIZE}), 0), coalesce(max(row), ?) FROM outbox WHERE row > ?"
        size, last = connection.execute(query, (self._last_row, self._last_row)).fetchone()
        return size, last

    def committed(self, size: int, last_row: int) -> None:
        """A transaction has changed the size by so much."""
        self.bytes += size
        self._last_row = last_row

    def drop(self, connection: sqlite3.Connection, utc: str) -> tuple[int, int] | None:
        """Book some of the oldest messages as dropped, in the open transaction; how many, and their bytes.

        Those of good parts first, then those of rejects, then events. (0, 0): ask again, there are more to look
        through; None: nothing may go.
        """
        excess = self.bytes - self._max_bytes
        held = self._held()
        for rank in (_GOOD, _REJECT, _EVENT):
            window = self._window(connection, rank)
            rows, size = list[int](), 0
            for row, row_rank, row_size in window:
                self._looked_to[rank] = row
                if row_rank == rank and row not in held:
                    rows.append(row)
                    size += row_size
                    if len(rows) == DROPPED_TOGETHER or size >= excess:
                        break
            if rows:
                _give_up(connection, rows, utc)
            if rows or len(window) == _WINDOW:
                return len(rows), size
        return None

    def settled(self) -> None:
        """The outbox is small enough: the next time, look from the oldest message on."""
        self._looked_to = [0, 0, 0]

    def _window(self, connection: sqlite3.Connection, rank: int) -> list[tuple[int, int, int]]:
        """Row, rank and size of the next messages."""
        query = (
            f"SELECT row, CASE WHEN o.seq = 0 THEN {_EVENT} WHEN evaluation = {Evaluation.OK:d} THEN {_GOOD} "
            f"ELSE {_REJECT} END, {_SIZE} FROM outbox o LEFT JOIN results r ON r.seq = o.seq "
            "WHERE row > ? ORDER BY row LIMIT ?"
        )
        return connection.execute(query, (self._looked_to[rank], _WINDOW)).fetchall()


def _give_up(connection: sqlite3.Connection, rows: Sequence[int], utc: str) -> None:
    marks = ",".join("?" * len(rows))
    connection.execute(
        "INSERT INTO dropped (destination, schema, seq, wall_utc) "
        f"SELECT destination, schema, seq, ? FROM outbox WHERE row IN ({marks}) ORDER BY row",
        (utc, *rows),
    )
    connection.execute(f"DELETE FROM outbox WHERE row IN ({marks})", rows)
