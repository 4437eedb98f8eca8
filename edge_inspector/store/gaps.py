"""What stands between two sides of an equation: parts and messages by the reason why they are missing there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.store.books import OF_RESULT
from edge_inspector.store.periods import Period, parsed
from edge_inspector.store.power_cuts import Starts
from edge_inspector.store.reading import utc_text

_RESULTS = "results r ON r.seq = t.seq"
MOMENT_S = 10.0
"""What is younger is on its way: it is open, and no gap yet."""


@dataclass(frozen=True)
class Missing:
    """One part that is missing, as the book knows it; of a lost row it knows the number alone."""

    seq: int
    part_id: str
    wall_utc: str


@dataclass(frozen=True)
class Gap:
    """Parts that are missing for one reason, and the term of which equation counts them.

    `explained`: it is known what became of them, and the books balance with it.
    """

    equation: str
    term: str
    reason: str
    explained: bool
    count: int
    parts: tuple[Missing, ...]
    """The first ones, as many as were asked for."""


@dataclass(frozen=True)
class Look:
    """How the book is looked at: which part of it, at what time (the book's UTC text), and how many parts are named.

    `unset_boots`: see `boots_without_clock`.
    """

    period: Period
    now_utc: str
    starts: Starts
    unset_boots: frozenset[int]
    listed: int

    @property
    def moment_ago(self) -> str:
        return utc_text(parsed(self.now_utc) - timedelta(seconds=MOMENT_S))


def all_gaps(connection: sqlite3.Connection, look: Look) -> tuple[Gap, ...]:
    """In the order of the equations."""
    gaps = [*_without_result(connection, look), *_not_told(connection, look), *_untold(connection, look)]
    return (*gaps, *_unpublished(connection, look), *_missing_views(connection, look))


def _grouped(equation: str, rows: Sequence[tuple[Missing, tuple[str, str, bool]]], listed: int) -> list[Gap]:
    """Gaps by (term, reason, explained), in the order in which they turn up."""
    by_reason: dict[tuple[str, str, bool], list[Missing]] = {}
    for missing, key in rows:
        by_reason.setdefault(key, []).append(missing)
    return [Gap(equation, *key, len(parts), tuple(parts[:listed])) for key, parts in by_reason.items()]


def _without_result(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    query = (
        "SELECT t.seq, t.part_id, t.wall_utc, t.boot_id, t.deadline_ns - t.accepted_ns FROM triggers t "
        f"WHERE {look.period.triggers()} AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = t.seq) ORDER BY t.seq"
    )
    rows = []
    for seq, part_id, wall_utc, boot_id, allowed_ns in connection.execute(query, look.period.values):
        due = parsed(wall_utc) + timedelta(seconds=allowed_ns / 1e9 + MOMENT_S)
        rows.append((Missing(seq, part_id, wall_utc), _fate(look, boot_id, seq, utc_text(due))))
    return _grouped("accepted", rows, look.listed)


def _fate(look: Look, boot_id: int, seq: int, due_utc: str) -> tuple[str, str, bool]:
    """What became of a part without a result."""
    starts = look.starts
    if starts.is_latest(boot_id):
        if look.now_utc < due_utc:
            return "open", "being inspected", True
        return "unknown", "no result: the station is dead or hangs; its next start will say", False
    if starts.lost_after(boot_id):
        return "unknown", "open when the power was cut: nobody knows their verdict", False
    return "unknown", "no result, and the station was started again since", False


def _not_told(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    reason = (
        f"CASE WHEN t.mode = {Mode.MANUAL:d} THEN 'manual: a posted picture is not for the PLC' "
        f"WHEN r.reason = {Reason.RESTART:d} THEN 'restart: the program was killed while they were open' "
        "ELSE 'no PLC could take them: none there, gone, or started again' END"
    )
    where = "r.told = 0 AND r.acknowledged_utc IS NULL"
    return _counted(connection, look, _On("told", "not told", explained=True), reason, where)


def _untold(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    query = (
        "SELECT t.seq, t.part_id, t.wall_utc, t.boot_id, r.cycle_ms FROM results r JOIN triggers t USING (seq) "
        f"WHERE {look.period.triggers()} AND r.told IS NULL AND r.acknowledged_utc IS NULL ORDER BY t.seq"
    )
    rows = []
    for seq, part_id, wall_utc, boot_id, cycle_ms in connection.execute(query, look.period.values):
        due = utc_text(parsed(wall_utc) + timedelta(milliseconds=cycle_ms, seconds=MOMENT_S))
        if not look.starts.is_latest(boot_id):
            fate = "unknown", "nobody knows whether the PLC was told before the program ended", False
        elif look.now_utc < due:
            fate = "on the way", "to the PLC", True
        else:
            fate = "waiting", "for a PLC that is away", False
        rows.append((Missing(seq, part_id, wall_utc), fate))
    return _grouped("told", rows, look.listed)


def collect_unpublished(connection: sqlite3.Connection) -> None:
    """Gather what waits and what was given up into temporary tables, once for all periods; the book stays as it is."""
    why = "min(destination || ': ' || coalesce(nullif(why, ''), 'the outbox had outgrown its limit'))"
    of_each = f"WHERE {OF_RESULT} GROUP BY seq"
    for name, columns, source in (
        ("waiting", "since TEXT, names TEXT", "min(wall_utc), group_concat(DISTINCT destination) FROM outbox"),
        ("given_up", "why TEXT", f"{why} FROM dropped"),
    ):
        connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        connection.execute(f"CREATE TEMP TABLE {name} (seq INTEGER PRIMARY KEY, {columns})")
        connection.execute(f"INSERT INTO temp.{name} SELECT seq, {source} {of_each}")
    connection.execute("DELETE FROM temp.given_up WHERE seq IN (SELECT seq FROM temp.waiting)")


def _unpublished(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    """A result with a message that waits, or that was given up, by destination."""
    waiting, given_up = "temp.waiting r ON r.seq = t.seq", "temp.given_up r ON r.seq = t.seq"
    young, old = "since >= :moment_ago", "since < :moment_ago"
    return [
        *_counted(connection, look, _On("published", "on the way", True, waiting), "'to ' || names", young),
        *_counted(connection, look, _On("published", "waiting", False, waiting), "'for ' || names", old),
        *_counted(connection, look, _On("published", "given up", False, given_up), "why", "1"),
    ]


def _missing_views(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    """A view that was asked for and of which there is no picture; a good part cannot have one."""
    table = f"{_RESULTS} CROSS JOIN json_each(r.views) v"
    frame = "coalesce((SELECT f.value FROM json_each(r.frame_ids) f WHERE f.key = v.key), -1)"
    where = f"t.mode <> {Mode.MANUAL:d} AND {frame} = -1"
    why = "CASE r.reason " + " ".join(f"WHEN {one:d} THEN '{words(one)}'" for one in Reason) + " ELSE r.reason END"
    ok = f"r.evaluation = {Evaluation.OK:d}"
    missing = _On("views", "without picture", True, table)
    wrong = _On("views", "contradiction", False, table)
    return [
        *_counted(connection, look, missing, f"v.value || ': ' || {why}", f"{where} AND NOT {ok}"),
        *_counted(
            connection, look, wrong, "v.value || ': no picture, and judged OK all the same'", f"{where} AND {ok}"
        ),
    ]


def words(reason: Reason) -> str:
    """A reason for people."""
    return reason.name.lower().replace("_", " ")


@dataclass(frozen=True)
class _On:
    """Which gaps are looked for, and the tables that have them beside the triggers `t`."""

    equation: str
    term: str
    explained: bool
    tables: str = _RESULTS


def _counted(connection: sqlite3.Connection, look: Look, on: _On, reason: str, where: str) -> list[Gap]:
    """Gaps by an SQL text that is their reason, the most frequent first."""
    # CROSS: the triggers come first, by their time; the order is SQLite's own choice otherwise.
    rows = f"FROM triggers t CROSS JOIN {on.tables} WHERE {look.period.triggers()} AND {where}"
    values = {**look.period.values, "moment_ago": look.moment_ago, "listed": look.listed}
    found = connection.execute(f"SELECT {reason} AS why, count(*) {rows} GROUP BY why ORDER BY 2 DESC, 1", values)
    listing = f"SELECT t.seq, t.part_id, t.wall_utc {rows} AND {reason} = :why ORDER BY t.seq LIMIT :listed"
    gaps = []
    for why, count in found.fetchall():
        parts = tuple(Missing(*row) for row in connection.execute(listing, {**values, "why": why}))
        gaps.append(Gap(on.equation, on.term, why, on.explained, count, parts))
    return gaps
