"""Which parts have stored originals, of how many others they speak, and what people have said of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_inspector.datatypes import AuditEntry, Evaluation, Mode
from edge_inspector.store.peaks import ScoredPart, scored_part
from edge_inspector.store.periods import Period
from edge_inspector.store.reading import snapshot

Kind: TypeAlias = Literal["reject", "near", "sample", "unkept"]
"""Why a part's picture could be kept: it was no OK; an OK near a threshold; one of n OK parts; it was not."""
_TOGETHER = 5000  # parts of a recipe that are read at a time
_KEPT_FOR = """
    SELECT seq, max(why <> '["every_nth"]') AS surely, max(every_nth) AS every_nth
    FROM images WHERE kind = 'original' GROUP BY seq
"""
_KIND = (
    f"CASE WHEN r.evaluation <> {Evaluation.OK:d} THEN 'reject' WHEN k.seq IS NULL THEN 'unkept' "
    "WHEN k.surely THEN 'near' ELSE 'sample' END"
)
_EVERY_NTH = f"CASE WHEN {_KIND} = 'sample' THEN k.every_nth ELSE 1 END"


@dataclass(frozen=True)
class KeptPart:
    """A production part of which an original was stored; `every_nth` is of how many such parts one was kept."""

    seq: int
    result_id: str
    recipe: str
    kind: Kind
    every_nth: int


@dataclass(frozen=True)
class Counted:
    """So many production parts of the book, whether their pictures are still there or not."""

    kind: Kind
    every_nth: int
    parts: int


def kept_parts(connection: sqlite3.Connection, within: Period, recipe: str | None, limit: int) -> list[KeptPart]:
    """The newest `limit` of them, oldest first. StorageError: the book cannot be read."""
    query = (
        f"SELECT t.seq, t.result_id, t.recipe, {_KIND}, {_EVERY_NTH} "
        f"FROM triggers t JOIN results r USING (seq) JOIN ({_KEPT_FOR}) k USING (seq) "
        f"WHERE {_where(within, recipe)} ORDER BY t.seq DESC LIMIT :limit"
    )
    with snapshot(connection):
        rows = connection.execute(query, {**_values(within, recipe), "limit": limit}).fetchall()
    return [KeptPart(*row) for row in reversed(rows)]


def counted(connection: sqlite3.Connection, within: Period, recipe: str | None, from_seq: int) -> list[Counted]:
    """All production parts from a number on, by why their pictures were kept. StorageError as above."""
    query = (
        f"SELECT {_KIND} AS kind, {_EVERY_NTH} AS nth, count(*) "
        f"FROM triggers t JOIN results r USING (seq) LEFT JOIN ({_KEPT_FOR}) k USING (seq) "
        f"WHERE {_where(within, recipe)} AND t.seq >= :from_seq GROUP BY kind, nth ORDER BY kind, nth"
    )
    with snapshot(connection):
        rows = connection.execute(query, {**_values(within, recipe), "from_seq": from_seq}).fetchall()
    return [Counted(*row) for row in rows]


def line_of(
    connection: sqlite3.Connection, recipe: str, from_seq: int, lead: int
) -> Iterator[tuple[int, Sequence[ScoredPart]]]:
    """The production parts of a recipe from a number on, and `lead` before it, oldest first: some at a time.

    With each, how many there are in all. StorageError as above.
    """
    mine = f"FROM results JOIN triggers USING (seq) WHERE mode = {Mode.PRODUCTION:d} AND recipe = ?"
    columns = (
        "SELECT seq, result_id, trigger_seq, plc_boot_id, recipe, evaluation, peaks, thresholds, model_hash, "
        f"views_judged, views {mine} AND seq > ? ORDER BY seq LIMIT ?"
    )
    with snapshot(connection):
        before = f"SELECT seq {mine} AND seq < ? ORDER BY seq DESC LIMIT ?"
        query = f"SELECT min(seq) FROM ({before})"
        (first,) = connection.execute(query, (recipe, from_seq, lead)).fetchone()
        after = (from_seq if first is None else first) - 1
        (total,) = connection.execute(f"SELECT count(*) {mine} AND seq > ?", (recipe, after)).fetchone()
    while True:
        with snapshot(connection):  # a long one would keep the station's write-ahead log from being given back
            rows = connection.execute(columns, (recipe, after, _TOGETHER)).fetchall()
        if not rows:
            return
        after = rows[-1][0]
        yield total, [scored_part(row) for row in rows]


def confirmed(connection: sqlite3.Connection) -> dict[int, bool]:
    """What the PLC and people have said of parts since: whether they are good, by seq; the last word counts.

    It is said of the newest part that had the PLC's number then. StorageError as above.
    """
    query = (
        "SELECT max(t.seq), f.good FROM feedback f JOIN triggers t USING (trigger_seq, plc_boot_id) "
        "WHERE t.wall_utc <= f.wall_utc GROUP BY f.id ORDER BY f.id"
    )
    with snapshot(connection):
        return {seq: bool(good) for seq, good in connection.execute(query)}


def configuration_of(connection: sqlite3.Connection) -> Mapping[str, str]:
    """What the station ran with at its last start, by dotted key; empty = the book does not know."""
    with snapshot(connection):
        row = connection.execute("SELECT value FROM meta WHERE name = 'configuration'").fetchone()
    return {} if row is None else {str(key): str(value) for key, value in json.loads(row[0]).items()}


def changes(connection: sqlite3.Connection) -> list[AuditEntry]:
    """What has been changed on the disk, as the audit trail has it, oldest first."""
    query = (
        "SELECT wall_utc, clock_synced, who, what, detail FROM audit "
        "WHERE what LIKE '%_changed' OR what = 'configuration_recorded' ORDER BY id"
    )
    with snapshot(connection):
        rows = connection.execute(query).fetchall()
    return [AuditEntry(utc, bool(synced), *words) for utc, synced, *words in rows]


def _where(within: Period, recipe: str | None) -> str:
    wanted = "" if recipe is None else " AND t.recipe = :recipe"
    return f"t.mode = {Mode.PRODUCTION:d} AND {within.triggers()}{wanted}"


def _values(within: Period, recipe: str | None) -> dict[str, object]:
    return dict(within.values) if recipe is None else {**within.values, "recipe": recipe}
