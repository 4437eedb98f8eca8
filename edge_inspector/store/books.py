"""What the ledger adds up to, read while the station writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.datatypes import Defect, Evaluation, Reason
from edge_inspector.errors import StorageError
from edge_inspector.store.ledger import connect_read_only

_LISTED = 10  # numbers named in a gap; the rest is a count


@dataclass(frozen=True)
class Books:
    """The sums of one moment. `unknown` are accepted triggers without a result, `unpublished` results with a message
    that some broker has not acknowledged, `unannounced` pictures that no announced part could be sure of.

    `told` + `not_told` + `telling_unknown` = `results`; of a restart or a lost link it is known that nobody was told.
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
    late: int
    unannounced: int
    unknown: tuple[int, ...]
    telling_unknown: tuple[int, ...]

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
        if self.outbox_pending:
            found.append(f"{self.outbox_pending} messages not yet acknowledged by their broker")
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
    with closing(_connect(path)) as connection:
        try:
            return _add_up(connection)
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {path} cannot be read: {exc}") from exc


def verdicts(path: Path) -> dict[str, VerdictRow]:
    """Every result by its result_id, in the order of acceptance. StorageError when the ledger cannot be read."""
    query = (
        "SELECT result_id, seq, trigger_seq, part_id, evaluation, boot_id, reason, told, acknowledged_utc, replayed, "
        "stage_ns, cycle_ms, views, frame_ids FROM results JOIN triggers USING (seq) ORDER BY seq"
    )
    with closing(_connect(path)) as connection:
        try:
            connection.execute("BEGIN")  # one snapshot for both
            defects = _defects(connection)
            connection.row_factory = sqlite3.Row
            rows = connection.execute(query).fetchall()
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {path} cannot be read: {exc}") from exc
    return {row["result_id"]: _verdict(row, defects.get(row["seq"], [])) for row in rows}


def _verdict(row: sqlite3.Row, defects: list[Defect]) -> VerdictRow:
    return VerdictRow(
        seq=row["seq"],
        trigger_seq=row["trigger_seq"],
        part_id=row["part_id"],
        evaluation=Evaluation(row["evaluation"]),
        boot_id=row["boot_id"],
        reason=Reason(row["reason"]),
        told=None if row["told"] is None else bool(row["told"]),
        acknowledged=row["acknowledged_utc"] is not None,
        replayed=bool(row["replayed"]),
        stage_ns=json.loads(row["stage_ns"]),
        cycle_ms=row["cycle_ms"],
        views=tuple(json.loads(row["views"])),
        frame_ids=tuple(json.loads(row["frame_ids"])),
        defects=tuple(defects),
    )


def _defects(connection: sqlite3.Connection) -> dict[int, list[Defect]]:
    """By seq, in the order of the result."""
    found: dict[int, list[Defect]] = {}
    query = (
        "SELECT seq, class_name, class_id, score, x, y, width, height, camera, width_mm, height_mm FROM defects "
        "ORDER BY seq, number"
    )
    for seq, class_name, class_id, score, x, y, width, height, camera, width_mm, height_mm in connection.execute(query):
        size_mm = None if width_mm is None else (width_mm, height_mm)
        found.setdefault(seq, []).append(Defect(class_name, class_id, score, (x, y, width, height), camera, size_mm))
    return found


def _add_up(connection: sqlite3.Connection) -> Books:
    connection.execute("BEGIN")  # one snapshot for all sums

    def one(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    def numbers(query: str) -> tuple[int, ...]:
        return tuple(number for (number,) in connection.execute(query))

    by_evaluation = dict(connection.execute("SELECT evaluation, count(*) FROM results GROUP BY evaluation").fetchall())
    return Books(
        book=str(connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0]),
        accepted=one("SELECT count(*) FROM triggers"),
        refused=one("SELECT coalesce(sum(count), 0) FROM refusals"),
        results=one("SELECT count(*) FROM results"),
        ok=by_evaluation.get(Evaluation.OK, 0),
        not_ok=by_evaluation.get(Evaluation.NOT_OK, 0),
        not_decidable=by_evaluation.get(Evaluation.NOT_DECIDABLE, 0),
        undefined=by_evaluation.get(Evaluation.UNDEFINED, 0),
        told=one("SELECT count(*) FROM results WHERE told = 1"),
        not_told=one("SELECT count(*) FROM results WHERE told = 0"),
        acknowledged=one("SELECT count(*) FROM results WHERE acknowledged_utc IS NOT NULL"),
        outbox_pending=one("SELECT count(*) FROM outbox"),
        unpublished=one("SELECT count(DISTINCT seq) FROM outbox WHERE seq IN (SELECT seq FROM results)"),
        late=one("SELECT count(*) FROM late"),
        unannounced=one("SELECT count(*) FROM unannounced"),
        unknown=numbers("SELECT seq FROM triggers WHERE seq NOT IN (SELECT seq FROM results) ORDER BY seq"),
        telling_unknown=numbers("SELECT seq FROM results WHERE told IS NULL ORDER BY seq"),
    )


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return connect_read_only(path)
    except sqlite3.Error as exc:
        raise StorageError(
            f"ledger {path} cannot be opened: {exc}; start the station once, or name another file"
        ) from exc


def _listed(numbers: tuple[int, ...]) -> str:
    named = ", ".join(str(n) for n in numbers[:_LISTED])
    return named + (f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else "")
