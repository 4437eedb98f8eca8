"""How far somebody has read the results, which are not booked in the order of their numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

PAGE = 200  # results that are looked at in one go
_FAR = 10_000  # numbers: further back than this no part is open any more


@dataclass(frozen=True)
class Reached:
    """All results up to number `top` are read, but those of the parts that were `open` then."""

    top: int
    open: frozenset[int] = field(default_factory=frozenset)

    @property
    def whole(self) -> int:
        """The largest number up to which nothing is missing: where to go on after a broken connection."""
        return min(self.open) - 1 if self.open else self.top


def reached_now(connection: sqlite3.Connection) -> Reached:
    """As if everything in the book had been read."""
    top = _number(connection, "SELECT max(seq) FROM results")
    return Reached(top, _open(connection, max(0, top - _FAR), top))


def go_on(connection: sqlite3.Connection, reached: Reached, most: int = PAGE) -> tuple[Sequence[int], Reached]:
    """The numbers of at most `most` + len(`reached.open`) results that have come since, ascending.

    A part of the latest start of the station is waited for; what an older one has left open gets no result any more.
    """
    marks = ",".join("?" * len(reached.open))
    late = connection.execute(f"SELECT seq FROM results WHERE seq IN ({marks})", sorted(reached.open)).fetchall()
    new = connection.execute(
        "SELECT seq FROM results WHERE seq > ? ORDER BY seq LIMIT ?", (reached.top, most)
    ).fetchall()
    top = new[-1][0] if new else reached.top
    still = frozenset(seq for seq in reached.open if seq in _open(connection, seq - 1, seq))
    seqs = sorted(row[0] for row in (*late, *new))
    return seqs, Reached(top, still | _open(connection, reached.top, top))


def _open(connection: sqlite3.Connection, above: int, top: int) -> frozenset[int]:
    rows = connection.execute(
        "SELECT t.seq FROM triggers t LEFT JOIN results r USING (seq) WHERE t.seq > ? AND t.seq <= ? AND r.seq IS NULL "
        "AND t.boot_id = (SELECT boot_id FROM triggers ORDER BY seq DESC LIMIT 1)",
        (above, top),
    )
    return frozenset(row[0] for row in rows)


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0] or 0)
