"""What can be booked in the ledger, and the rows that each record becomes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TypeAlias

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage, Refusal, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store.flight import clean_text


@dataclass(frozen=True)
class BookTrigger:
    """A part was accepted. Booking the same trigger again changes nothing."""

    slot: int | None
    trigger: Trigger


@dataclass(frozen=True)
class BookRefusal:
    """A trigger was refused; frees its flight slot. `replay`: from the flight record, perhaps booked already."""

    slot: int | None
    refusal: Refusal
    replay: bool = False


@dataclass(frozen=True)
class BookResult:
    """The verdict and its messages, in one transaction; frees its flight slot.

    `told`: whether the PLC could read it, None when this is not known yet (`BookTold` follows). `replay`: from the
    flight record; its trigger may be missing here, or all of it may be booked already: then the first verdict stays.
    """

    slot: int | None
    result: InspectionResult
    told: bool | None
    messages: tuple[OutboxMessage, ...] = ()
    replay: bool = False


@dataclass(frozen=True)
class BookTold:
    """The PLC can read the result, or the write has failed for good."""

    result_id: str
    told: bool = True


@dataclass(frozen=True)
class BookAcknowledged:
    """The PLC has read these results."""

    result_ids: tuple[str, ...]
    utc: str


@dataclass(frozen=True)
class BookFeedback:
    """Somebody has looked at a part again and found it good or bad."""

    trigger_seq: int
    plc_boot_id: int
    good: bool
    utc: str


@dataclass(frozen=True)
class BookLate:
    """An inference that came `late_ns` after its part had been settled: it changes nothing."""

    result_id: str
    camera: str
    late_ns: int
    utc: str


@dataclass(frozen=True)
class BookUnannounced:
    """A picture that no announced part could be sure of: it was judged for nobody. `frame_id` as in `Frame`."""

    camera: str
    frame_id: int | None
    text: str
    utc: str


@dataclass(frozen=True)
class BookEvent:
    """Something that is not a part, and its messages."""

    event: Event
    messages: tuple[OutboxMessage, ...] = ()


@dataclass(frozen=True)
class Delivered:
    """A destination has acknowledged these rows of the outbox."""

    destination: str
    rows: tuple[int, ...]


LedgerRecord: TypeAlias = (
    BookTrigger
    | BookRefusal
    | BookResult
    | BookTold
    | BookAcknowledged
    | BookFeedback
    | BookLate
    | BookUnannounced
    | BookEvent
    | Delivered
)


def write(connection: sqlite3.Connection, record: LedgerRecord) -> None:
    """Insert the record's rows into the open transaction. StorageError when it contradicts the book."""
    if isinstance(record, BookTrigger):
        _write_trigger(connection, record.trigger)
    elif isinstance(record, BookRefusal):
        _write_refusal(connection, record.refusal, skip_if_there=record.replay)
    elif isinstance(record, BookResult):
        if record.replay:
            _write_trigger(connection, record.result.trigger)
            if _booked(connection, record):
                return
        _write_result(connection, record)
        _write_messages(connection, record.messages)
    elif isinstance(record, BookTold):
        connection.execute(
            "UPDATE results SET told = ? WHERE seq = (SELECT seq FROM triggers WHERE result_id = ?)",
            (int(record.told), record.result_id),
        )
    elif isinstance(record, BookAcknowledged):
        connection.executemany(
            "UPDATE results SET acknowledged_utc = ? WHERE acknowledged_utc IS NULL "
            "AND seq = (SELECT seq FROM triggers WHERE result_id = ?)",
            [(record.utc, result_id) for result_id in record.result_ids],
        )
    elif isinstance(record, BookFeedback):
        connection.execute(
            "INSERT INTO feedback (trigger_seq, plc_boot_id, good, wall_utc) VALUES (?, ?, ?, ?)",
            (record.trigger_seq, record.plc_boot_id, int(record.good), record.utc),
        )
    elif isinstance(record, BookLate):
        connection.execute(
            "INSERT INTO late (result_id, camera, late_ns, wall_utc) VALUES (?, ?, ?, ?)",
            (record.result_id, record.camera, record.late_ns, record.utc),
        )
    elif isinstance(record, BookUnannounced):
        connection.execute(
            "INSERT INTO unannounced (camera, frame_id, text, wall_utc) VALUES (?, ?, ?, ?)",
            (record.camera, record.frame_id, clean_text(record.text), record.utc),
        )
    elif isinstance(record, BookEvent):
        event = record.event
        connection.execute(
            "INSERT INTO events (severity, code, text, wall_utc) VALUES (?, ?, ?, ?)",
            (event.severity, event.code, clean_text(event.text), event.wall_utc),
        )
        _write_messages(connection, record.messages)
    else:
        connection.executemany("DELETE FROM outbox WHERE row = ?", [(row,) for row in record.rows])


def _write_trigger(connection: sqlite3.Connection, t: Trigger) -> None:
    cursor = connection.execute(
        "INSERT OR IGNORE INTO triggers (seq, result_id, trigger_seq, part_id, attempt, mode, recipe, recipe_no, "
        "boot_id, plc_boot_id, accepted_ns, deadline_ns, wall_utc, clock_synced) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            t.seq,
            t.result_id,
            t.trigger_seq,
            clean_text(t.part_id),
            t.attempt,
            int(t.mode),
            t.recipe,
            t.recipe_no,
            t.boot_id,
            t.plc_boot_id,
            t.accepted_ns,
            t.deadline_ns,
            t.wall_utc,
            int(t.clock_synced),
        ),
    )
    if cursor.rowcount == 1:
        return
    there = connection.execute(
        "SELECT result_id, boot_id, accepted_ns FROM triggers WHERE seq = ?", (t.seq,)
    ).fetchone()
    if there != (t.result_id, t.boot_id, t.accepted_ns):
        raise StorageError(
            f"trigger {t.result_id} has number {t.seq}, which the book gave to {there}: numbers were reused"
        )


def _write_refusal(connection: sqlite3.Connection, r: Refusal, *, skip_if_there: bool) -> None:
    row = (r.trigger_seq, clean_text(r.part_id), int(r.reason), r.wall_utc, r.boot_id, r.count)
    if skip_if_there:
        same = "trigger_seq = ? AND part_id = ? AND reason = ? AND wall_utc = ? AND boot_id = ? AND count = ?"
        if connection.execute(f"SELECT 1 FROM refusals WHERE {same}", row).fetchone():
            return
    connection.execute(
        "INSERT INTO refusals (trigger_seq, part_id, reason, wall_utc, boot_id, count) VALUES (?,?,?,?,?,?)", row
    )


def _booked(connection: sqlite3.Connection, record: BookResult) -> bool:
    """Whether the book has a verdict on this trigger; what was not known of its telling is filled in."""
    seq, told = record.result.trigger.seq, None if record.told is None else int(record.told)
    return connection.execute("UPDATE results SET told = coalesce(told, ?) WHERE seq = ?", (told, seq)).rowcount == 1


def _write_result(connection: sqlite3.Connection, record: BookResult) -> None:
    r, seq = record.result, record.result.trigger.seq
    connection.execute(
        "INSERT INTO results (seq, evaluation, reason, reason_no, reason_text, views, frame_ids, views_judged, "
        "thresholds, model_hash, settled_ns, cycle_ms, stage_ns, replayed, told) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            seq,
            int(r.evaluation),
            int(r.reason),
            r.reason_no,
            clean_text(r.reason_text),
            json.dumps(r.views),
            json.dumps(r.frame_ids),
            r.views_judged,
            json.dumps(r.thresholds),
            r.model_hash,
            r.settled_ns,
            r.cycle_ms,
            json.dumps(dict(r.stage_ns)),
            int(record.replay),
            None if record.told is None else int(record.told),
        ),
    )
    connection.executemany(
        "INSERT INTO defects (seq, number, class_name, class_id, score, x, y, width, height, camera, width_mm, "
        "height_mm) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        [
            (seq, number, clean_text(d.class_name), d.class_id, d.score, *d.box, d.camera, *(d.size_mm or (None, None)))
            for number, d in enumerate(r.defects)
        ],
    )


def _write_messages(connection: sqlite3.Connection, messages: tuple[OutboxMessage, ...]) -> None:
    connection.executemany(
        "INSERT INTO outbox (destination, topic, schema, payload, seq, retain) VALUES (?,?,?,?,?,?)",
        [(m.destination, m.topic, m.schema, m.payload, m.seq, int(m.retain)) for m in messages],
    )
