"""What a book holds, at a glance."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.store.gaps import words
from edge_inspector.store.periods import Period, boots_without_clock
from edge_inspector.store.reading import snapshot

_TOP = 8
"""Reasons and defect classes that are named."""


@dataclass(frozen=True)
class Waiting:
    """What one destination has not acknowledged; `oldest_utc` '' = not known."""

    messages: int
    oldest_utc: str


@dataclass(frozen=True)
class Summary:
    """Of one period; maps by name are in the order of their counts, the highest first.

    `parts`: results by mode and evaluation. `reasons` are those of results that are not OK. `cycle_ms`: median, 99th
    percentile and highest of Production, by nearest rank; empty without a part. `waiting` is of now, `size_bytes` with
    what still lies in the write-ahead log.
    """

    book: str
    size_bytes: int
    first_utc: str
    last_utc: str
    starts: int
    parts: Mapping[str, Mapping[str, int]]
    recipes: Mapping[str, int]
    reasons: Mapping[str, int]
    defects: Mapping[str, int]
    refused: Mapping[str, int]
    cycle_ms: Mapping[str, float]
    events: Mapping[str, int]
    images: int
    image_bytes: int
    images_removed: int
    late: int
    unannounced: int
    waiting: Mapping[str, Waiting]
    given_up: Mapping[str, int]
    audit_rows: int
    removed_parts: int


def summarise(connection: sqlite3.Connection, period: Period) -> Summary:
    """All of one moment. StorageError: the book cannot be read."""
    with snapshot(connection):
        return _summary(connection, period)


def _summary(connection: sqlite3.Connection, period: Period) -> Summary:
    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query, period.values).fetchall()

    def counts(query: str) -> dict[str, int]:
        return dict(rows(query))

    parts: dict[str, dict[str, int]] = {}
    triggers, others = period.triggers(), period.others()
    refusals = period.refusals(boots_without_clock(connection))
    results = f"FROM results r JOIN triggers t USING (seq) WHERE {triggers}"
    for mode, evaluation, count in rows(f"SELECT t.mode, r.evaluation, count(*) {results} GROUP BY 1, 2"):
        parts.setdefault(_name(Mode, mode), {})[_name(Evaluation, evaluation)] = count
    first, last = rows(f"SELECT min(wall_utc), max(wall_utc) FROM triggers t WHERE {triggers}")[0]
    images = "FROM images i JOIN triggers t USING (seq) WHERE " + triggers
    ((kept, size, gone),) = rows(
        f"SELECT count(*) - count(removed_utc), coalesce(sum(size_bytes) FILTER (WHERE removed_utc IS NULL), 0), "
        f"count(removed_utc) {images}"
    )
    destinations = "FROM outbox GROUP BY destination ORDER BY destination"
    return Summary(
        book=_text(connection, "SELECT value FROM meta WHERE name = 'book'"),
        size_bytes=_number(connection, "PRAGMA page_count") * _number(connection, "PRAGMA page_size"),
        first_utc=str(first or ""),
        last_utc=str(last or ""),
        starts=_number(connection, "SELECT count(*) FROM runs"),
        parts=parts,
        recipes=counts(f"SELECT t.recipe, count(*) {results} GROUP BY 1 ORDER BY 2 DESC, 1"),
        reasons=_named(
            rows(
                f"SELECT r.reason, count(*) {results} AND r.evaluation <> {Evaluation.OK:d} GROUP BY 1 "
                f"ORDER BY 2 DESC, 1 LIMIT {_TOP}"
            )
        ),
        defects=counts(
            "SELECT d.class_name, count(*) FROM defects d JOIN triggers t USING (seq) "
            f"WHERE {triggers} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_TOP}"
        ),
        refused=_named(rows(f"SELECT reason, sum(count) FROM refusals WHERE {refusals} GROUP BY 1 ORDER BY 2 DESC, 1")),
        cycle_ms=_percentiles(connection, period),
        events=counts(f"SELECT severity, count(*) FROM events WHERE {others} GROUP BY 1 ORDER BY 1"),
        images=kept,
        image_bytes=size,
        images_removed=gone,
        late=rows(f"SELECT count(*) FROM late WHERE {others}")[0][0],
        unannounced=rows(f"SELECT count(*) FROM unannounced WHERE {others}")[0][0],
        waiting={
            name: Waiting(count, oldest)
            for name, count, oldest in connection.execute(f"SELECT destination, count(*), min(wall_utc) {destinations}")
        },
        given_up=counts(f"SELECT destination, count(*) FROM dropped WHERE {others} GROUP BY 1 ORDER BY 2 DESC, 1"),
        audit_rows=_number(connection, "SELECT count(*) FROM audit"),
        removed_parts=_number(connection, "SELECT coalesce(sum(json_extract(sums, '$.accepted')), 0) FROM removed"),
    )


def _percentiles(connection: sqlite3.Connection, period: Period) -> dict[str, float]:
    where = f"FROM results r JOIN triggers t USING (seq) WHERE {period.triggers()} AND t.mode = {Mode.PRODUCTION:d}"
    count = int(connection.execute(f"SELECT count(*) {where}", period.values).fetchone()[0])
    if not count:
        return {}
    ranks = {"median": (count + 1) // 2, "p99": -(-count * 99 // 100), "max": count}
    ordered = f"SELECT r.cycle_ms AS ms, row_number() OVER (ORDER BY r.cycle_ms) AS rank {where}"
    query = f"SELECT rank, ms FROM ({ordered}) WHERE rank IN ({', '.join(map(str, ranks.values()))})"
    by_rank = dict(connection.execute(query, period.values).fetchall())
    return {name: float(by_rank[rank]) for name, rank in ranks.items()}


def _named(rows: list[tuple[Any, ...]]) -> dict[str, int]:
    """Reason numbers by their words."""
    return {words(Reason(number)): count for number, count in rows}


def _name(kind: type[Mode] | type[Evaluation], number: int) -> str:
    return kind(number).name


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _text(connection: sqlite3.Connection, query: str) -> str:
    return str(connection.execute(query).fetchone()[0])
