"""What the ledger adds up to, read while the station writes."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.datatypes import Defect, Evaluation, Mode, Reason
from edge_inspector.store.opening import open_book
from edge_inspector.store.reading import read_results, snapshot

_LISTED = 10  # numbers named in a gap; the rest is a count
_PAGE = 1000  # results read at once


@dataclass(frozen=True)
class Books:
    """The sums of one moment. `unknown` are accepted triggers without a result, `unpublished` results with a message
    that some broker has not acknowledged, `unannounced` pictures that no announced part could be sure of.

    `told` + `not_told` + `telling_unknown` = `results`; what the PLC has acknowledged it was told, and of a restart or
    a lost link it is known that nobody was. What retention has removed is counted in; `removed_unknown` and
    `removed_telling_unknown` have no numbers any more.
    """

    book: str
    accepted: int
    refused: int
    results: int
    ok: int
    not_ok: int
    not_decidable: int
    undefined: int
    told: int
    not_told: int
    acknowledged: int
    outbox_pending: int
    unpublished: int
    dropped: int
    late: int
    unannounced: int
    unknown: tuple[int, ...]
    telling_unknown: tuple[int, ...]
    removed: int
    removed_unknown: int
    removed_telling_unknown: int

    @property
    def triggers(self) -> int:
        return self.accepted + self.refused

    @property
    def gaps(self) -> tuple[str, ...]:
        """What keeps the books from balancing; so does an inspection of a running station while it is open."""
        found = []
        if self.unknown:
            found.append(f"{len(self.unknown)} accepted triggers without a result: {_listed(self.unknown)}")
        if self.telling_unknown:
            count = len(self.telling_unknown)
            found.append(f"{count} results of which nobody knows if the PLC was told: {_listed(self.telling_unknown)}")
        if self.removed_unknown:
            found.append(f"{self.removed_unknown} accepted triggers without a result among what retention has removed")
        if self.removed_telling_unknown:
            count = self.removed_telling_unknown
            found.append(f"{count} results among what was removed of which nobody knows if the PLC was told")
        if self.outbox_pending:
            found.append(f"{self.outbox_pending} messages not yet acknowledged by their broker")
        if self.dropped:
            found.append(f"{self.dropped} messages given up: no broker has them")
        return tuple(found)

    @property
    def balanced(self) -> bool:
        """Each accepted trigger has its result, known to be told or not, and published."""
        return not self.gaps


@dataclass(frozen=True)
class VerdictRow:
    """One result as it was booked; `stage_ns` are nanoseconds by stage."""

    seq: int
    trigger_seq: int
    part_id: str
    evaluation: Evaluation
    boot_id: int
    reason: Reason
    told: bool | None
    acknowledged: bool
    replayed: bool
    stage_ns: Mapping[str, int]
    cycle_ms: float
    views: tuple[str, ...]
    frame_ids: tuple[int, ...]
    defects: tuple[Defect, ...]


def read_books(path: Path) -> Books:
    """Add the ledger up in one read transaction. StorageError when it is missing or cannot be read."""
    with closing(open_book(path)) as connection, snapshot(connection):
        return _add_up(connection)


def verdicts(path: Path) -> dict[str, VerdictRow]:
    """Every result by its result_id, in the order of acceptance. StorageError when the ledger cannot be read."""
    found: dict[str, VerdictRow] = {}
    with closing(open_book(path)) as connection, snapshot(connection):
        page, after = [], 0
        while page := read_results(connection, after_seq=after, limit=_PAGE):
            after = page[-1].seq
            for r in page:
                found[r.result_id] = VerdictRow(
                    seq=r.seq,
                    trigger_seq=r.trigger_seq,
                    part_id=r.part_id,
                    evaluation=r.evaluation,
                    boot_id=r.boot_id,
                    reason=r.reason,
                    told=r.told,
                    acknowledged=r.acknowledged_utc is not None,
                    replayed=r.replayed,
                    stage_ns=r.stage_ns,
                    cycle_ms=r.cycle_ms,
                    views=r.views,
                    frame_ids=r.frame_ids,
                    defects=r.defects,
                )
    return found


def sums_of(connection: sqlite3.Connection, first_seq: int, last_seq: int) -> dict[str, int]:
    """What the parts of these numbers, both included, add up to: what stays of them when retention removes them.

    `views` were asked for, `frames` are their pictures, without those of posted pictures; `dropped` are messages,
    `given_up` the results that they were of. Retention adds what has no number: `refused` (parts, not rows), `late`
    and `unannounced`.
    """
    row = connection.execute(_SUMS, {"first": first_seq, "last": last_seq}).fetchone()
    return {name: int(value or 0) for name, value in zip(_SUM_NAMES, row, strict=True)}


def removed_sums(connection: sqlite3.Connection) -> Counter[str]:
    """What retention has ever taken out of the book, added up."""
    total: Counter[str] = Counter()
    for (sums,) in connection.execute("SELECT sums FROM removed"):
        total.update(json.loads(sums))
    return total


OF_RESULT = "seq > 0 AND schema NOT LIKE 'vision.image/%'"
"""SQL: a row of outbox or dropped is part of what makes a result published. A picture follows later."""
_SUM_NAMES = (
    "accepted",
    "results",
    "ok",
    "not_ok",
    "not_decidable",
    "undefined",
    "told",
    "not_told",
    "telling_unknown",
    "acknowledged",
    "unknown",
    "views",
    "frames",
    "given_up",
    "dropped",
)
_SUMS = f"""
    SELECT count(*), count(r.seq),
        sum(r.evaluation = {Evaluation.OK:d}), sum(r.evaluation = {Evaluation.NOT_OK:d}),
        sum(r.evaluation = {Evaluation.NOT_DECIDABLE:d}), sum(r.evaluation = {Evaluation.UNDEFINED:d}),
        sum(r.told = 1 OR r.acknowledged_utc IS NOT NULL), sum(r.told = 0 AND r.acknowledged_utc IS NULL),
        sum(r.seq IS NOT NULL AND r.told IS NULL AND r.acknowledged_utc IS NULL),
        sum(r.acknowledged_utc IS NOT NULL), sum(r.seq IS NULL),
        sum(json_array_length(r.views)) FILTER (WHERE t.mode <> {Mode.MANUAL:d}),
        sum((SELECT count(*) FROM json_each(r.frame_ids) WHERE value <> -1)) FILTER (WHERE t.mode <> {Mode.MANUAL:d}),
        (SELECT count(DISTINCT seq) FROM dropped WHERE seq BETWEEN :first AND :last AND {OF_RESULT}),
        (SELECT count(*) FROM dropped WHERE seq BETWEEN :first AND :last)
    FROM triggers t LEFT JOIN results r USING (seq) WHERE t.seq BETWEEN :first AND :last
"""


def _add_up(connection: sqlite3.Connection) -> Books:
    def one(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    def numbers(query: str) -> tuple[int, ...]:
        return tuple(number for (number,) in connection.execute(query))

    removed = removed_sums(connection)
    by_evaluation = dict(connection.execute("SELECT evaluation, count(*) FROM results GROUP BY evaluation").fetchall())
    return Books(
        book=str(connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0]),
        accepted=one("SELECT count(*) FROM triggers") + removed["accepted"],
        refused=one("SELECT coalesce(sum(count), 0) FROM refusals") + removed["refused"],
        results=one("SELECT count(*) FROM results") + removed["results"],
        ok=by_evaluation.get(Evaluation.OK, 0) + removed["ok"],
        not_ok=by_evaluation.get(Evaluation.NOT_OK, 0) + removed["not_ok"],
        not_decidable=by_evaluation.get(Evaluation.NOT_DECIDABLE, 0) + removed["not_decidable"],
        undefined=by_evaluation.get(Evaluation.UNDEFINED, 0) + removed["undefined"],
        told=one("SELECT count(*) FROM results WHERE told = 1 OR acknowledged_utc IS NOT NULL") + removed["told"],
        not_told=one("SELECT count(*) FROM results WHERE told = 0 AND acknowledged_utc IS NULL") + removed["not_told"],
        acknowledged=one("SELECT count(*) FROM results WHERE acknowledged_utc IS NOT NULL") + removed["acknowledged"],
        outbox_pending=one("SELECT count(*) FROM outbox"),
        unpublished=one(
            f"SELECT count(DISTINCT seq) FROM outbox WHERE {OF_RESULT} AND seq IN (SELECT seq FROM results)"
        ),
        dropped=one("SELECT count(*) FROM dropped") + removed["dropped"],
        late=one("SELECT count(*) FROM late") + removed["late"],
        unannounced=one("SELECT count(*) FROM unannounced") + removed["unannounced"],
        unknown=numbers("SELECT seq FROM triggers WHERE seq NOT IN (SELECT seq FROM results) ORDER BY seq"),
        telling_unknown=numbers("SELECT seq FROM results WHERE told IS NULL AND acknowledged_utc IS NULL ORDER BY seq"),
        removed=removed["accepted"],
        removed_unknown=removed["unknown"],
        removed_telling_unknown=removed["telling_unknown"],
    )


def _listed(numbers: tuple[int, ...]) -> str:
    named = ", ".join(str(n) for n in numbers[:_LISTED])
    return named + (f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else "")
