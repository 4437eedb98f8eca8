"""What is removed from the book when it is old or large: the oldest parts first, and their sums stay."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_inspector.interfaces import Clock
from edge_inspector.store.books import sums_of
from edge_inspector.store.settings import LedgerSettings

STEP = 100  # parts, or rows of another table, in one transaction
NEWEST_KEPT = 1000  # parts that stay whatever the limits say: those in work are among them
_LOOKED_THROUGH = 1000  # of the oldest messages of a destination
_VACUUMED_PAGES = 256  # given back to the disk in one transaction
_SPARE_SHARE = 0.1  # of the file may be free pages: they are used again
_UTC = "%Y-%m-%dT%H:%M:%S.%f"


@dataclass(frozen=True)
class _Table:
    """Rows in the order of `key`; `dated`: whether wall_utc can be believed; `counted`: what they add to the sums."""

    name: str
    sum_name: str
    key: str = "id"
    # This software is not older: a row that says so was written while the clock was not set.
    dated: str = "wall_utc >= '2026'"
    counted: str = "count(*)"
    only: str = "1"


_TRIGGERS = _Table("triggers", "accepted", key="seq", dated="clock_synced")
_TIMED = (
    _Table("refusals", "refused", counted="coalesce(sum(count), 0)"),
    _Table("late", "late"),
    _Table("unannounced", "unannounced"),
    _Table("events", "events"),
    _Table("feedback", "feedback"),
    _Table("dropped", "dropped", only="seq = 0"),  # the others go with their parts
)


class Retention:
    """On the ledger's thread. `begin` decides how old and how much; each `step` then removes a little.

    A part stays while one of its messages waits for a destination of this station. Pages that become free are used
    again; what is more than a tenth of the file is given back to the disk (not in books made before schema 4).
    """

    def __init__(
        self, settings: LedgerSettings, destinations: Collection[str], clock: Clock, outbox_bytes: Callable[[], int]
    ) -> None:
        self.settings = settings
        self._destinations = tuple(destinations)
        self._clock = clock
        self._outbox_bytes = outbox_bytes
        self._before_utc = ""
        self._parts_left = False
        self._left: list[_Table] = []
        self.size_bytes = 0
        """Of the pages in use, at the last step; 0 = not known yet."""

    def begin(self) -> None:
        """A new pass. Age counts only while the clock is right."""
        days = self.settings.keep_days
        self._before_utc = ""
        if days is not None and self._clock.synced():
            now = datetime.strptime(self._clock.utc(), f"{_UTC}Z")
            self._before_utc = (now - timedelta(days=days)).isoformat(timespec="milliseconds") + "Z"
        limited = bool(self._before_utc) or self.settings.max_mb is not None
        self._parts_left, self._left = limited, list(_TIMED) if limited else []

    def step(self, connection: sqlite3.Connection) -> bool:
        """Remove some, in the open transaction; whether there may be more to do in this pass."""
        pages, free, page_bytes = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        self.size_bytes = (pages - free) * page_bytes
        if self._parts_left:
            self._parts_left = self._remove_parts(connection)
            return True
        if self._left:
            if not self._remove_timed(connection, self._left[0]):
                del self._left[0]
            return True
        return free > max(_VACUUMED_PAGES, pages * _SPARE_SHARE) and _give_back(connection, free)

    def _remove_parts(self, connection: sqlite3.Connection) -> bool:
        limit = self._last_removable(connection)
        if self._too_large():
            last = connection.execute(
                "SELECT max(seq) FROM (SELECT seq FROM triggers WHERE seq <= ? ORDER BY seq LIMIT ?)", (limit, STEP)
            ).fetchone()[0]
        else:
            last = self._last_old(connection, _TRIGGERS, limit)
        if last is None:
            return False
        first = int(connection.execute("SELECT min(seq) FROM triggers").fetchone()[0])
        sums = Counter(sums_of(connection, first, last))
        for table in ("dropped", "defects", "results", "triggers"):
            connection.execute(f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?", (first, last))
        connection.execute("DELETE FROM images WHERE seq <= ? AND removed_utc IS NOT NULL", (last,))
        self._note(connection, sums, (first, last))
        if self._too_large():  # what is not of a part goes back as far as the parts do
            self._before_utc = max(self._before_utc, _oldest_utc(connection))
        return True

    def _last_removable(self, connection: sqlite3.Connection) -> int:
        """The highest seq of which neither the part itself nor one before it must stay; -1 = none."""
        newest = connection.execute("SELECT seq FROM triggers ORDER BY seq DESC LIMIT 1 OFFSET ?", (NEWEST_KEPT,))
        limit = newest.fetchone()
        if limit is None:
            return -1
        # Messages are nearly in the order of their parts: only pictures come later, by less than NEWEST_KEPT parts.
        oldest = "SELECT seq FROM outbox WHERE destination = ? ORDER BY row LIMIT ?"
        query = f"SELECT count(*), min(nullif(seq, 0)) FROM ({oldest})"
        waiting = [connection.execute(query, (name, _LOOKED_THROUGH)).fetchone() for name in self._destinations]
        if any(count == _LOOKED_THROUGH and seq is None for count, seq in waiting):
            return -1  # events alone: of which part the next message is would take long to find
        return int(min([limit[0], *(seq - 1 for _, seq in waiting if seq is not None)]))

    def _too_large(self) -> bool:
        limit_mb = self.settings.max_mb
        return limit_mb is not None and self.size_bytes - self._outbox_bytes() > limit_mb * 1_000_000

    def _remove_timed(self, connection: sqlite3.Connection, table: _Table) -> bool:
        last = self._last_old(connection, table, None)
        if last is None:
            return False
        rows = f"FROM {table.name} WHERE id <= ? AND {table.only}"
        count = int(connection.execute(f"SELECT {table.counted} {rows}", (last,)).fetchone()[0])
        connection.execute(f"DELETE {rows}", (last,))
        self._note(connection, Counter({table.sum_name: count}), None)
        return True

    def _last_old(self, connection: sqlite3.Connection, table: _Table, limit: int | None) -> int | None:
        """The key up to which rows are too old, at most STEP of them.

        A row without a date that can be believed is as old as the next one that has one.
        """
        if not self._before_utc:
            return None
        name, key, dated = table.name, table.key, table.dated
        within = f"{table.only} AND {key} <= {2**63 - 1 if limit is None else limit}"
        query = f"SELECT {key}, wall_utc, {dated} FROM {name} WHERE {within} ORDER BY {key} LIMIT ?"
        last = None
        for number, wall_utc, believed in connection.execute(query, (STEP,)):
            if believed and wall_utc >= self._before_utc:
                return last
            if believed:
                last = int(number)
        if last is not None:
            return last
        query = f"SELECT {key}, wall_utc FROM {name} WHERE {within} AND {dated} ORDER BY {key} LIMIT 1"
        believed_row = connection.execute(query).fetchone()
        if believed_row is None or believed_row[1] >= self._before_utc:
            return None
        query = f"SELECT max({key}) FROM (SELECT {key} FROM {name} WHERE {within} ORDER BY {key} LIMIT ?)"
        return int(connection.execute(query, (STEP,)).fetchone()[0])

    def _note(self, connection: sqlite3.Connection, sums: Counter[str], span: tuple[int, int] | None) -> None:
        """Add to the row of this day: `removed` grows by a row a day at the most."""
        utc = self._clock.utc()
        first, last = span or (None, None)
        query = "SELECT id, sums FROM removed WHERE substr(wall_utc, 1, 10) = ? ORDER BY id DESC LIMIT 1"
        today = connection.execute(query, (utc[:10],)).fetchone()
        if today is None:
            connection.execute(
                "INSERT INTO removed (wall_utc, first_seq, last_seq, sums) VALUES (?, ?, ?, ?)",
                (utc, first, last, json.dumps(sums)),
            )
            return
        sums.update(json.loads(today[1]))
        connection.execute(
            "UPDATE removed SET wall_utc = ?, first_seq = coalesce(first_seq, ?), last_seq = coalesce(?, last_seq), "
            "sums = ? WHERE id = ?",
            (utc, first, last, json.dumps(sums), today[0]),
        )


def _oldest_utc(connection: sqlite3.Connection) -> str:
    """Of the oldest part that is still there; empty = its date cannot be believed."""
    row = connection.execute("SELECT wall_utc, clock_synced FROM triggers ORDER BY seq LIMIT 1").fetchone()
    return str(row[0]) if row is not None and row[1] else ""


def _give_back(connection: sqlite3.Connection, free: int) -> bool:
    """Let the file shrink by some of its free pages; False when it is one that cannot."""
    for _ in range(min(_VACUUMED_PAGES, free)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # sqlite3 takes one step of a PRAGMA without columns: a page
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0]) < free
