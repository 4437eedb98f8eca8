"""The audit trail: who did what, chained by hashes so that an edit shows."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from dataclasses import dataclass

from edge_inspector.datatypes import AuditEntry
from edge_inspector.errors import StorageError
from edge_inspector.store.flight import clean_text

FIRST = "0" * 64  # what stands before the first row
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True)
class AuditProof:
    """What the chain shows: `problems` is empty when nothing was edited, inserted or deleted.

    `head` names the last row as `<rows>:<hash>`. Whoever keeps a head that was published can later prove that the
    trail up to it is still the same; without one, somebody who cuts off the end or writes the whole trail anew leaves
    no mark.
    """

    rows: int
    head: str
    problems: tuple[str, ...]


def append(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Add a row to the end of the chain, in the open transaction."""
    row = (entry.wall_utc, int(entry.clock_synced), *map(clean_text, (entry.who, entry.what, entry.detail)))
    last = connection.execute("SELECT hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    connection.execute(
        "INSERT INTO audit (wall_utc, clock_synced, who, what, detail, hash) VALUES (?,?,?,?,?,?)",
        (*row, _chained(FIRST if last is None else last[0], row)),
    )


def head(connection: sqlite3.Connection) -> str:
    """The name of the last row: `<rows>:<hash>`."""
    last = connection.execute("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    return f"0:{FIRST}" if last is None else f"{last[0]}:{last[1]}"


def verify(connection: sqlite3.Connection, known_head: str = "") -> AuditProof:
    """Read the whole trail. `known_head` is one that was published earlier. StorageError: it is not a head."""
    wanted = _parsed(known_head)
    before, last_id, problems = FIRST, 0, list[str]()
    query = "SELECT id, hash, wall_utc, clock_synced, who, what, detail FROM audit ORDER BY id"
    for number, hash_, *row in connection.execute(query):
        if number != last_id + 1:
            gone = f"row {last_id + 1}" if number == last_id + 2 else f"rows {last_id + 1} to {number - 1}"
            problems.append(f"{gone} of the audit trail: deleted")
        elif hash_ != _chained(before, tuple(row)):
            problems.append(f"row {number} of the audit trail: it or its hash was edited")
        if number == wanted[0] and hash_ != wanted[1]:
            problems.append(f"row {number} of the audit trail: its hash is not the published one: written anew")
        before, last_id = hash_, number
    if last_id < wanted[0]:
        problems.append(f"the audit trail ends with row {last_id}, and row {wanted[0]} was published: the end is gone")
    return AuditProof(last_id, f"{last_id}:{before}", tuple(problems))


def _chained(before: str, row: tuple[object, ...]) -> str:
    """SHA-256 over the hash of the row before and this row as JSON, in hex."""
    return hashlib.sha256(json.dumps([before, *row], default=repr).encode()).hexdigest()


def _parsed(known_head: str) -> tuple[int, str]:
    if not known_head:
        return 0, FIRST
    match = _HEAD.fullmatch(known_head)
    if match is None:
        raise StorageError(f"{known_head!r} is no head of an audit trail: expected <rows>:<64 hex digits>")
    return int(match[1]), match[2]
