"""The ledger's tables, and how a book of an older version gets today's."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edge_inspector.errors import StorageError

APPLICATION_ID = 0x45494C47  # "EILG": tells our file from any other SQLite database

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE triggers (
        seq INTEGER PRIMARY KEY, result_id TEXT NOT NULL UNIQUE, trigger_seq INTEGER NOT NULL, part_id TEXT NOT NULL,
        attempt INTEGER NOT NULL, mode INTEGER NOT NULL, recipe TEXT NOT NULL, recipe_no INTEGER NOT NULL,
        boot_id INTEGER NOT NULL, plc_boot_id INTEGER NOT NULL, accepted_ns INTEGER NOT NULL,
        deadline_ns INTEGER NOT NULL, wall_utc TEXT NOT NULL, clock_synced INTEGER NOT NULL);
    CREATE TABLE refusals (
        id INTEGER PRIMARY KEY, trigger_seq INTEGER NOT NULL, part_id TEXT NOT NULL, reason INTEGER NOT NULL,
        wall_utc TEXT NOT NULL, boot_id INTEGER NOT NULL, count INTEGER NOT NULL);
    CREATE TABLE results (
        seq INTEGER PRIMARY KEY REFERENCES triggers (seq), evaluation INTEGER NOT NULL, reason INTEGER NOT NULL,
        reason_no INTEGER NOT NULL, reason_text TEXT NOT NULL, views TEXT NOT NULL,
        frame_ids TEXT NOT NULL, views_judged INTEGER NOT NULL, thresholds TEXT NOT NULL, model_hash TEXT NOT NULL,
        settled_ns INTEGER NOT NULL,
        cycle_ms REAL NOT NULL, stage_ns TEXT NOT NULL, replayed INTEGER NOT NULL, told INTEGER, acknowledged_utc TEXT);
    CREATE TABLE defects (
        seq INTEGER NOT NULL REFERENCES results (seq), number INTEGER NOT NULL, class_name TEXT NOT NULL,
        class_id INTEGER NOT NULL, score REAL, x REAL, y REAL, width REAL, height REAL, camera TEXT NOT NULL,
        PRIMARY KEY (seq, number)) WITHOUT ROWID;
    CREATE TABLE late (
        id INTEGER PRIMARY KEY, result_id TEXT NOT NULL, camera TEXT NOT NULL, late_ns INTEGER NOT NULL,
        wall_utc TEXT NOT NULL);
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, severity TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL, wall_utc TEXT NOT NULL);
    -- AUTOINCREMENT: a row number is never used again, so "delivered up to row n" stays true when the table was empty.
    CREATE TABLE outbox (
        row INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, topic TEXT NOT NULL, schema TEXT NOT NULL,
        payload BLOB NOT NULL, seq INTEGER NOT NULL, retain INTEGER NOT NULL);
    CREATE INDEX outbox_destination ON outbox (destination, row);
    """,
    """
    ALTER TABLE defects ADD COLUMN width_mm REAL;
    ALTER TABLE defects ADD COLUMN height_mm REAL;
    CREATE TABLE unannounced (
        id INTEGER PRIMARY KEY, camera TEXT NOT NULL, frame_id INTEGER, text TEXT NOT NULL, wall_utc TEXT NOT NULL);
    """,
    """
    CREATE TABLE feedback (
        id INTEGER PRIMARY KEY, trigger_seq INTEGER NOT NULL, plc_boot_id INTEGER NOT NULL, good INTEGER NOT NULL,
        wall_utc TEXT NOT NULL);
    """,
    """
    ALTER TABLE results ADD COLUMN margin REAL;
    ALTER TABLE events ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
    CREATE INDEX triggers_wall ON triggers (wall_utc); CREATE INDEX triggers_part ON triggers (part_id);
    -- When its result, event or picture was; '' = written by older software.
    ALTER TABLE outbox ADD COLUMN wall_utc TEXT NOT NULL DEFAULT '';
    CREATE TABLE images (
        id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, result_id TEXT NOT NULL, camera TEXT NOT NULL, kind TEXT NOT NULL,
        why TEXT NOT NULL, path TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        lossless INTEGER NOT NULL, pixel_format TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
        frame_id INTEGER NOT NULL, wall_utc TEXT NOT NULL, clock_synced INTEGER NOT NULL, every_nth INTEGER NOT NULL,
        removed_utc TEXT);
    CREATE INDEX images_seq ON images (seq);
    -- hash = SHA-256 of the hash before it and this row; see store/audit.py.
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY, wall_utc TEXT NOT NULL, clock_synced INTEGER NOT NULL, who TEXT NOT NULL,
        what TEXT NOT NULL, detail TEXT NOT NULL, hash TEXT NOT NULL);
    -- Messages that were given up; why = '': the outbox had outgrown its limit, else what the destination said.
    -- seq = 0 for events.
    CREATE TABLE dropped (
        id INTEGER PRIMARY KEY, destination TEXT NOT NULL, schema TEXT NOT NULL, seq INTEGER NOT NULL,
        wall_utc TEXT NOT NULL, why TEXT NOT NULL DEFAULT '');
    CREATE INDEX dropped_seq ON dropped (seq);
    CREATE INDEX dropped_why ON dropped (destination, why);
    -- What retention has taken out of the tables above, so that the books still balance: sums by name.
    CREATE TABLE removed (
        id INTEGER PRIMARY KEY, wall_utc TEXT NOT NULL, first_seq INTEGER, last_seq INTEGER, sums TEXT NOT NULL);
    -- Every start of the program. After a run without stopped_utc and flight_kept = 0 its last parts are unknown.
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, boot_id INTEGER NOT NULL UNIQUE, started_utc TEXT NOT NULL, first_seq INTEGER NOT NULL,
        flight_kept INTEGER NOT NULL, stopped_utc TEXT);
    """,
    """
    ALTER TABLE results ADD COLUMN rule TEXT NOT NULL DEFAULT '';
    -- The highest score of each class, JSON; '[]' = written by older software.
    ALTER TABLE results ADD COLUMN peaks TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE results ADD COLUMN policy TEXT NOT NULL DEFAULT 'fixed';
    -- What the line must remember over a restart besides parts, by name: JSON that its owner understands.
    CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL, wall_utc TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Step n makes version n from n-1. A step only adds, so that software of an older version can still use the book;
one that cannot keep this promise also sets meta.oldest_software to its own version."""


def prepare(connection: sqlite3.Connection, path: Path, steps: Sequence[str] = STEPS) -> None:
    """Make or upgrade the tables. A book that is upgraded is first copied to `<name>.v<old version>`.

    StorageError when the file is another program's, or a newer book that says this version may not use it.
    """
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        raise StorageError(
            f"ledger {path} is a SQLite database of another program (application_id {application:#x}, "
            f"expected {APPLICATION_ID:#x}); name another file in the station file"
        )
    if version >= len(steps):
        _refuse_if_too_new(connection, path, version, len(steps))
        return
    if tables:
        copy = path.with_name(f"{path.name}.v{version}")
        copy.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(copy),))
    script = "\n".join(steps[version:])
    book = "" if tables else f"INSERT INTO meta VALUES ('book', '{secrets.token_hex(4)}'), ('oldest_software', '1');"
    try:
        # PRAGMA user_version and application_id are part of the transaction: there is no half-made book.
        connection.executescript(
            f"BEGIN IMMEDIATE; {script} {book} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {len(steps)}; COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_if_too_new(connection: sqlite3.Connection, path: Path, version: int, known: int) -> None:
    oldest = int(connection.execute("SELECT value FROM meta WHERE name = 'oldest_software'").fetchone()[0])
    if oldest > known:
        raise StorageError(
            f"ledger {path} has schema version {version}, which needs software of schema {oldest} or newer; this one "
            f"knows {known}: install the newer edge-inspector, or restore the copy {path.name}.v{known} beside it"
        )
