"""The rows that each record becomes, one writer for each kind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from edge_inspector.datatypes import OutboxMessage, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store import audit
from edge_inspector.store.flight import clean_text
from edge_inspector.store.records import (
    BookAcknowledged,
    BookAudit,
    BookConfiguration,
    BookEvent,
    BookFeedback,
    BookImage,
    BookImageRemoved,
    BookKept,
    BookLate,
    BookRefusal,
    BookResult,
    BookStarted,
    BookStopped,
    BookTold,
    BookTrigger,
    BookUnannounced,
    Delivered,
    GivenUp,
    LedgerRecord,
)


def write(connection: sqlite3.Connection, record: LedgerRecord) -> None:
    """Insert the record's rows into the open transaction. StorageError when it contradicts the book."""
    WRITERS[type(record)](connection, record)


def _trigger(connection: sqlite3.Connection, record: BookTrigger) -> None:
    _write_trigger(connection, record.trigger)


def _refusal(connection: sqlite3.Connection, record: BookRefusal) -> None:
    r = record.refusal
    row = (r.trigger_seq, clean_text(r.part_id), int(r.reason), r.wall_utc, r.boot_id, r.count)
    if record.replay:
        same = "trigger_seq = ? AND part_id = ? AND reason = ? AND wall_utc = ? AND boot_id = ? AND count = ?"
        if connection.execute(f"SELECT 1 FROM refusals WHERE {same}", row).fetchone():
            return
    connection.execute(
        "INSERT INTO refusals (trigger_seq, part_id, reason, wall_utc, boot_id, count) VALUES (?,?,?,?,?,?)", row
    )


def _result(connection: sqlite3.Connection, record: BookResult) -> None:
    # Nearly always there already; not when a damaged book was replaced while the part was open.
    _write_trigger(connection, record.result.trigger)
    if record.replay and _booked(connection, record):
        return
    _write_result(connection, record)
    _write_messages(connection, record.messages, record.result.trigger.wall_utc)


def _told(connection: sqlite3.Connection, record: BookTold) -> None:
    connection.execute(
        "UPDATE results SET told = ? WHERE seq = (SELECT seq FROM triggers WHERE result_id = ?)",
        (int(record.told), record.result_id),
    )


def _acknowledged(connection: sqlite3.Connection, record: BookAcknowledged) -> None:
    connection.executemany(
        "UPDATE results SET acknowledged_utc = ? WHERE acknowledged_utc IS NULL "
        "AND seq = (SELECT seq FROM triggers WHERE result_id = ?)",
        [(record.utc, result_id) for result_id in record.result_ids],
    )


def _feedback(connection: sqlite3.Connection, record: BookFeedback) -> None:
    connection.execute(
        "INSERT INTO feedback (trigger_seq, plc_boot_id, good, wall_utc) VALUES (?, ?, ?, ?)",
        (record.trigger_seq, record.plc_boot_id, int(record.good), record.utc),
    )


def _late(connection: sqlite3.Connection, record: BookLate) -> None:
    connection.execute(
        "INSERT INTO late (result_id, camera, late_ns, wall_utc) VALUES (?, ?, ?, ?)",
        (record.result_id, record.camera, record.late_ns, record.utc),
    )


def _unannounced(connection: sqlite3.Connection, record: BookUnannounced) -> None:
    connection.execute(
        "INSERT INTO unannounced (camera, frame_id, text, wall_utc) VALUES (?, ?, ?, ?)",
        (record.camera, record.frame_id, clean_text(record.text), record.utc),
    )


def _event(connection: sqlite3.Connection, record: BookEvent) -> None:
    event = record.event
    connection.execute(
        "INSERT INTO events (severity, code, text, wall_utc, parts) VALUES (?, ?, ?, ?, ?)",
        (event.severity, event.code, clean_text(event.text), event.wall_utc, json.dumps(event.parts)),
    )
    _write_messages(connection, record.messages, event.wall_utc)


def _image(connection: sqlite3.Connection, record: BookImage) -> None:
    i = record.image
    connection.execute(
        "INSERT OR IGNORE INTO images (seq, result_id, camera, kind, why, path, sha256, size_bytes, lossless, "
        "pixel_format, height, width, frame_id, wall_utc, clock_synced, every_nth) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            i.seq,
            i.result_id,
            i.camera,
            i.kind,
            json.dumps(i.why),
            i.path,
            i.sha256,
            i.size_bytes,
            int(i.lossless),
            i.pixel_format,
            *i.image_hw,
            i.frame_id,
            i.wall_utc,
            int(i.clock_synced),
            i.every_nth,
        ),
    )
    _write_messages(connection, record.messages, i.wall_utc)


def _image_removed(connection: sqlite3.Connection, record: BookImageRemoved) -> None:
    connection.executemany(
        "UPDATE images SET removed_utc = ? WHERE path = ?", [(record.utc, path) for path in record.paths]
    )


def _audit(connection: sqlite3.Connection, record: BookAudit) -> None:
    audit.append(connection, record.entry)


def _configuration(connection: sqlite3.Connection, record: BookConfiguration) -> None:
    for entry in record.changes:
        audit.append(connection, entry)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('configuration', ?)", (json.dumps(dict(record.values)),))


def _kept(connection: sqlite3.Connection, record: BookKept) -> None:
    value = record.value if isinstance(record.value, str) else record.value()
    connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (record.name, value, record.utc))


def _started(connection: sqlite3.Connection, record: BookStarted) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO runs (boot_id, started_utc, first_seq, flight_kept) VALUES (?, ?, ?, ?)",
        (record.boot_id, record.utc, record.first_seq, int(record.flight_kept)),
    )


def _stopped(connection: sqlite3.Connection, record: BookStopped) -> None:
    connection.execute("UPDATE runs SET stopped_utc = ? WHERE boot_id = ?", (record.utc, record.boot_id))


def _given_up(connection: sqlite3.Connection, record: GivenUp) -> None:
    connection.execute(
        "INSERT INTO dropped (destination, schema, seq, wall_utc, why) "
        "SELECT destination, schema, seq, ?, ? FROM outbox WHERE row = ?",
        (record.utc, clean_text(record.why), record.row),
    )
    connection.execute("DELETE FROM outbox WHERE row = ?", (record.row,))


def _delivered(connection: sqlite3.Connection, record: Delivered) -> None:
    connection.executemany("DELETE FROM outbox WHERE row = ?", [(row,) for row in record.rows])


WRITERS: Mapping[type[Any], Callable[[sqlite3.Connection, Any], None]] = {
    BookTrigger: _trigger,
    BookRefusal: _refusal,
    BookResult: _result,
    BookTold: _told,
    BookAcknowledged: _acknowledged,
    BookFeedback: _feedback,
    BookLate: _late,
    BookUnannounced: _unannounced,
    BookEvent: _event,
    BookImage: _image,
    BookImageRemoved: _image_removed,
    BookAudit: _audit,
    BookConfiguration: _configuration,
    BookKept: _kept,
    BookStarted: _started,
    BookStopped: _stopped,
    GivenUp: _given_up,
    Delivered: _delivered,
}


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


def _booked(connection: sqlite3.Connection, record: BookResult) -> bool:
    """Whether the book has a verdict on this trigger; what was not known of its telling is filled in."""
    seq, told = record.result.trigger.seq, None if record.told is None else int(record.told)
    return connection.execute("UPDATE results SET told = coalesce(told, ?) WHERE seq = ?", (told, seq)).rowcount == 1


def _write_result(connection: sqlite3.Connection, record: BookResult) -> None:
    r, seq = record.result, record.result.trigger.seq
    connection.execute(
        "INSERT INTO results (seq, evaluation, reason, reason_no, reason_text, views, frame_ids, views_judged, "
        "thresholds, model_hash, settled_ns, cycle_ms, stage_ns, replayed, told, margin, rule, "
        "peaks, policy) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
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
            r.margin,
            r.rule,
            json.dumps(r.peaks),
            r.policy,
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


def _write_messages(connection: sqlite3.Connection, messages: tuple[OutboxMessage, ...], wall_utc: str) -> None:
    connection.executemany(
        "INSERT INTO outbox (destination, topic, schema, payload, seq, retain, wall_utc) VALUES (?,?,?,?,?,?,?)",
        [(m.destination, m.topic, m.schema, m.payload, m.seq, int(m.retain), wall_utc) for m in messages],
    )
