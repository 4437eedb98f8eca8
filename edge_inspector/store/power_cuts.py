"""What a power cut took with it, and numbers that are missing in the book."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from edge_inspector.store.periods import Period

_UINT32 = 2**32


@dataclass(frozen=True)
class Start:
    """One start of the program. `flight_kept`: it found the flight record of the run before; `stopped_utc`: when it
    ended in order, None = it runs, was killed, or lost its power.
    """

    boot_id: int
    started_utc: str
    first_seq: int
    flight_kept: bool
    stopped_utc: str | None


@dataclass(frozen=True)
class PowerCut:
    """The flight record of a run that had not ended in order was gone at the next start: parts that were accepted in
    its last moment may be missing in the book.

    `after_seq` is the last part before it, 0 = none. `proven`: the PLC's own count shows that none is missing.
    """

    started_utc: str
    after_seq: int
    proven: bool


@dataclass(frozen=True)
class Hole:
    """Numbers, both included, that were given to parts and are not in the book; `wall_utc` is of the part after it."""

    first_seq: int
    last_seq: int
    wall_utc: str

    def __len__(self) -> int:
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True)
class Starts:
    """Every start that the book knows, the oldest first; `newest_boot_id` is that of the newest part or start."""

    starts: tuple[Start, ...]
    newest_boot_id: int | None

    def is_latest(self, boot_id: int) -> bool:
        return boot_id == self.newest_boot_id

    def lost_after(self, boot_id: int) -> bool:
        """Whether the flight record of this run was gone at the next start."""
        after = [late for early, late in zip(self.starts, self.starts[1:], strict=False) if early.boot_id == boot_id]
        return bool(after) and not after[0].flight_kept


def read_starts(connection: sqlite3.Connection) -> Starts:
    """In the order in which they began, which no clock can tell."""
    rows = connection.execute(
        "SELECT boot_id, started_utc, first_seq, flight_kept, stopped_utc FROM runs ORDER BY id"
    ).fetchall()
    starts = tuple(Start(boot, utc, seq, bool(kept), stopped) for boot, utc, seq, kept, stopped in rows)
    newest = connection.execute("SELECT boot_id FROM triggers ORDER BY seq DESC LIMIT 1").fetchone()
    return Starts(starts, starts[-1].boot_id if starts else None if newest is None else newest[0])


def power_cuts(connection: sqlite3.Connection, period: Period, starts: Starts) -> tuple[PowerCut, ...]:
    """Those whose last part before them belongs to the period."""
    found = []
    for before, start in zip((None, *starts.starts), starts.starts, strict=False):
        if start.flight_kept or (before is not None and before.stopped_utc is not None):
            continue
        last = connection.execute(
            "SELECT seq, wall_utc, clock_synced, trigger_seq, plc_boot_id FROM triggers WHERE seq < ? "
            "ORDER BY seq DESC LIMIT 1",
            (start.first_seq,),
        ).fetchone()
        if last is None and before is None:
            continue  # a new book
        seq, wall_utc, synced, *plc_count = last or (0, start.started_utc, 1, 0, 0)
        if period.has(wall_utc, bool(synced)):
            found.append(PowerCut(start.started_utc, seq, _counted_on(connection, start, *plc_count)))
    return tuple(found)


def holes(connection: sqlite3.Connection, period: Period, starts: Starts) -> tuple[Hole, ...]:
    """Those before a part of the period.

    None of these makes a hole: retention, which takes from the old end; a start without a flight record, which skips
    numbers; a book that took over from a damaged one, whose numbers go on, with parts of the old one at its begin.
    """
    book = connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0]
    begin = max(
        connection.execute("SELECT coalesce(max(last_seq), 0) FROM removed").fetchone()[0],
        _begin(connection, book, starts),
    )
    skipped_to = {start.first_seq for start in starts.starts if not start.flight_kept}
    query = (
        "SELECT t.seq, t.wall_utc, t.result_id, coalesce((SELECT max(p.seq) FROM triggers p WHERE p.seq < t.seq), 0) "
        f"FROM triggers t WHERE {period.triggers()} AND NOT EXISTS (SELECT 1 FROM triggers p WHERE p.seq = t.seq - 1) "
        "ORDER BY t.seq"
    )
    found = []
    for seq, wall_utc, result_id, before in connection.execute(query, period.values):
        first = max(before, begin) + 1
        of_another_book = result_id.rsplit(".", 2)[1] != book
        if seq > first and seq not in skipped_to and not of_another_book:
            found.append(Hole(first, seq - 1, wall_utc))
    return tuple(found)


def _begin(connection: sqlite3.Connection, book: str, starts: Starts) -> int:
    """The number before the first that this book gave; 0 where it is older than what it knows of starts."""
    if not starts.starts:
        return 0
    first = starts.starts[0].first_seq
    own = f"SELECT 1 FROM triggers WHERE seq < {first} AND result_id LIKE '%.' || ? || '.%' LIMIT 1"
    return 0 if connection.execute(own, (book,)).fetchone() else first - 1


def _counted_on(connection: sqlite3.Connection, start: Start, trigger_seq: int, plc_boot_id: int) -> bool:
    """Whether the first part after a start is the PLC's next one: it had not counted any other meanwhile."""
    first = connection.execute(
        "SELECT trigger_seq, plc_boot_id FROM triggers WHERE seq >= ? ORDER BY seq LIMIT 1", (start.first_seq,)
    ).fetchone()
    return plc_boot_id != 0 and first == ((trigger_seq + 1) % _UINT32, plc_boot_id)
