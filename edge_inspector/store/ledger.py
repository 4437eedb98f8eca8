"""The ledger: the SQLite book that follows the flight record, and the outbox in it."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_inspector.datatypes import Mode, OutboxMessage
from edge_inspector.errors import StorageError
from edge_inspector.interfaces import Clock, OutboxStanding
from edge_inspector.store import audit
from edge_inspector.store.book import Book
from edge_inspector.store.book_file import DamagedBookError, connect_read_only, is_damage, transaction
from edge_inspector.store.line_parts import LINE_PARTS, LinePart, line_part
from edge_inspector.store.machine_clock import MachineClock
from edge_inspector.store.notice import Notice
from edge_inspector.store.outbox import OutboxLanes
from edge_inspector.store.peaks import SCORED, ScoredPart, scored_part
from edge_inspector.store.records import (
    BookAcknowledged,
    BookAudit,
    BookConfiguration,
    BookEvent,
    BookLate,
    BookRefusal,
    BookResult,
    BookStarted,
    BookTold,
    BookTrigger,
    BookUnannounced,
    Delivered,
    GivenUp,
    LedgerRecord,
)
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.upkeep import Upkeep
from edge_inspector.store.writing import write

__all__ = [
    "BookAcknowledged",
    "BookEvent",
    "BookLate",
    "BookRefusal",
    "BookResult",
    "BookTold",
    "BookTrigger",
    "BookUnannounced",
    "Delivered",
    "Ledger",
    "LedgerRecord",
    "Notice",
    "connect_read_only",
]

GROUP = 64  # records in one transaction: one fsync for all of them
RETRY_S = 1.0  # between two tries to write to a full or failing disk
REST_S = 0.25  # how long `Delivered` waits for company: each transaction wears the disk; lost, a message comes twice


class Ledger:
    """Opened by the station; `run` is the loop of its own thread; `submit` never waits.

    When the file cannot be written nothing is lost: `healthy` turns False, the records stay in the queue and the flight
    record, and are tried again every `RETRY_S`. A damaged file is set aside and a new book begun, also while it runs.
    Implements `interfaces.Outbox`.
    """

    def __init__(
        self,
        path: Path,
        destinations: Sequence[str],
        on_booked: Callable[[int], None] = lambda _slot: None,
        on_health: Callable[[bool, str], None] = lambda _healthy, _error: None,
        settings: LedgerSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`on_booked(slot)`: the result or refusal of a flight slot is booked; `on_health(healthy, error)`: a change.

        Both are called on the ledger's thread. Without a `clock` nothing is removed by age.
        """
        self.path = path
        self.settings = LedgerSettings.model_validate({}) if settings is None else settings
        self.healthy = True
        self.error = ""
        self.on_health = on_health
        self.on_notice: Callable[[Notice], None] = lambda _notice: None
        """What people should know; both are set before `run` and called on the ledger's thread."""
        clock = MachineClock() if clock is None else clock
        self._next_seq = 1
        self._on_booked = on_booked
        self._queue: deque[LedgerRecord] = deque()
        self._pressing = 0  # of them, those that may not rest
        self._rest_until_s = math.inf
        self._wake = threading.Condition()
        self._closing = False
        self._contradicted = False
        self._booking = threading.Lock()
        self._handing = threading.Lock()
        self._book = Book(path, self.settings, clock, self._awake)
        self._books_seen = 0
        self._started: BookStarted | None = None
        self._lanes = OutboxLanes(path, destinations, self._book.reader, self.submit, clock.utc)
        self._upkeep = Upkeep(self.settings, destinations, clock, self._lanes.held, self._handing)

    def renew(self, settings: LedgerSettings) -> None:
        """Other limits of how much is kept; what is written how safely stays as it was. Any thread."""
        self.settings = settings
        self._upkeep.renew(settings)

    def __enter__(self) -> Ledger:
        """Open or make the book; a damaged file is renamed to `set_aside` and a new book begun.

        StorageError: not writable, another program's database, or a newer version's book.
        """
        # A run that had no part yet has begun with a number all the same.
        query = "SELECT max(coalesce(max(seq), 0) + 1, (SELECT coalesce(max(first_seq), 1) FROM runs)) FROM triggers"
        try:
            ((self._next_seq,),) = self._read(query)
        except (sqlite3.Error, OSError, DamagedBookError) as exc:
            self._book.close()
            raise StorageError(
                f"ledger {self.path} cannot be opened: {exc}; its folder must exist and be writable"
            ) from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, whose threads have ended; first book what was submitted after `run` had ended."""
        try:
            if kind is None and not self._contradicted and self._booking.acquire(blocking=False):
                self._closing = True
                self._run()
        finally:
            self._book.close()

    @property
    def book(self) -> str:
        """The book's name: 8 hex digits, part of each result_id."""
        return self._book.name

    @property
    def set_aside(self) -> Path | None:
        """The damaged book that this process has found, the last one."""
        return self._book.set_aside

    @property
    def audit_head(self) -> str:
        """Where the audit trail ends: `<rows>:<hash>`; any thread."""
        return self._book.audit_head

    @property
    def next_seq(self) -> int:
        """The number of the next trigger: above all that were booked or submitted, those of the flight record too."""
        return self._next_seq

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._queue)

    @property
    def outbox_bytes(self) -> int:
        """What waits for all destinations together; too small for a moment after a start with a long outbox."""
        return self._upkeep.outbox.bytes

    @property
    def size_bytes(self) -> int:
        """Of the book's pages in use, at most a minute old; 0 = not known yet."""
        return self._upkeep.retention.size_bytes

    def submit(self, record: LedgerRecord) -> None:
        """Hand a record over, from any thread; records are booked in this order."""
        with self._wake:
            if isinstance(record, BookTrigger):
                self._next_seq = max(self._next_seq, record.trigger.seq + 1)
            elif isinstance(record, BookResult):
                self._next_seq = max(self._next_seq, record.result.trigger.seq + 1)
            self._queue.append(record)
            if not isinstance(record, Delivered):
                self._pressing += 1
                self._wake.notify()
            elif self._rest_until_s == math.inf:
                self._rest_until_s = time.monotonic() + REST_S
                self._wake.notify()

    def close(self) -> None:
        """Let `run` book what waits and return; on a disk that cannot be written it returns after one try."""
        self._book.end_check()
        with self._wake:
            self._closing = True
            self._wake.notify()

    def run(self) -> None:
        """Book records until `close`. StorageError: a record contradicts the book (a second verdict): a bug."""
        with self._booking:
            self._run()

    def check(self) -> None:
        """Read the whole book once, on a thread of its own that nothing waits for; `run` mends what it finds."""
        self._book.check()

    def pending(self, destination: str, limit: int, without: Collection[str] = ()) -> list[OutboxMessage]:
        """The oldest messages without an acknowledgement, and never one that was given to `delivered` already.

        Those on the topics `without` are passed over until `rewind`. One thread for each destination. StorageError when
        the book cannot be read.
        """
        try:
            with self._handing:
                return self._lanes.pending(destination, limit, without)
        except StorageError as exc:
            self._book.reader_failed(exc.__cause__)
            raise

    def rewind(self, destination: str) -> None:
        """Begin again with the oldest message: topics that were passed over may be wanted now."""
        self._lanes.rewind(destination)

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        """The destination has acknowledged `rows`: the first of those that `pending` gave. They are deleted soon."""
        self._lanes.delivered(destination, rows)

    def give_up(self, destination: str, row: int, why: str) -> None:
        """The destination will never take `row`, the first of those that `pending` gave: it is booked as dropped."""
        self._lanes.give_up(destination, row, why)

    def standing(self, destination: str) -> OutboxStanding:
        """How much waits for a destination. StorageError when the book cannot be read."""
        return self._lanes.standing(destination)

    def recent_attempts(self, limit: int = 10_000) -> dict[str, int]:
        """How often each part id occurs in the last `limit` triggers, posted pictures left out. Before `run`."""
        newest = f"SELECT part_id FROM triggers WHERE mode <> {Mode.MANUAL:d} ORDER BY seq DESC LIMIT ?"
        query = f"SELECT part_id, count(*) FROM ({newest}) GROUP BY part_id"
        return dict(self._read(query, limit))

    def stranded(self) -> dict[str, int]:
        """Messages for destinations that the station no longer has, by destination. Before `run`."""
        counted = self._read("SELECT destination, count(*) FROM outbox GROUP BY destination")
        return {name: count for name, count in counted if name not in self._lanes.destinations}

    def configuration(self) -> Mapping[str, str]:
        """What the station ran with when `BookConfiguration` was last booked; empty = never. Before `run`."""
        rows = self._read("SELECT value FROM meta WHERE name = 'configuration'")
        return {str(key): str(value) for (values,) in rows for key, value in json.loads(values).items()}

    def kept(self, name: str) -> str | None:
        """The newest value that `BookKept` booked by this name, None = none. Before `run`."""
        rows = self._read("SELECT value FROM kept WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def scored(self, limit: int) -> list[ScoredPart]:
        """The last `limit` production parts, oldest first. Before `run`."""
        return [scored_part(row) for row in self._read(SCORED, int(Mode.PRODUCTION), limit)][::-1]

    def line_parts(self, limit: int) -> list[LinePart]:
        """As `scored`, for rules over many parts."""
        return [line_part(row) for row in self._read(LINE_PARTS, int(Mode.PRODUCTION), limit)][::-1]

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Before `run`; of a large book this may be the first reading of a damaged page: then of the new one."""
        try:
            return self._connection().execute(query, values).fetchall()
        except (sqlite3.DatabaseError, DamagedBookError) as exc:
            if not is_damage(exc):
                raise
            self._book.damaged(str(exc))
            return self._connection().execute(query, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        connection = self._book.connection()
        if self._books_seen != self._book.opened:
            if self._started is not None:  # in this book the run begins here
                write(connection, replace(self._started, first_seq=self._next_seq, flight_kept=True))
            self._books_seen = self._book.opened
            self._upkeep.opened(connection)
            self._book.last_row = max(self._book.last_row, self._upkeep.outbox.last_row)
        return connection

    def _awake(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while (rest_s := self._rest_s()) > 0:
                    self._wake.wait(rest_s)
                group = [self._queue[i] for i in range(min(GROUP, len(self._queue)))]
            if not group and self._closing:
                return
            if self._book_group(group) and self._keep_up():
                continue
            with self._wake:
                if self._closing:
                    return
                self._wake.wait_for(lambda: self._closing, RETRY_S)

    def _rest_s(self) -> float:
        """How long the thread may sleep; it is woken when that changes."""
        if self._pressing or self._closing or self._book.damage:
            return 0.0
        return min(self._rest_until_s - time.monotonic(), self._upkeep.wait_s)

    def _book_group(self, group: Sequence[LedgerRecord]) -> bool:
        """Commit and take the group off the queue; False when the disk refused it."""
        try:
            self._commit(group)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, StorageError) as exc:
            if len(group) > 1:  # the good ones before the bad one still go to the disk
                return all(self._book_group([record]) for record in group)
            if not self._book.sound():  # it contradicts what was never written
                return False
            self._contradicted = True
            raise StorageError(f"ledger {self.path} refuses {group[0]!r}: {exc}") from exc
        except (sqlite3.Error, OSError, DamagedBookError) as exc:
            self._failed(exc)
            return False
        with self._wake:
            for record in group:
                self._queue.popleft()
                self._pressing -= not isinstance(record, Delivered)
            if not self._queue:
                self._rest_until_s = math.inf
        for record in group:
            if isinstance(record, BookStarted):
                self._started = record
            elif isinstance(record, Delivered | GivenUp):
                self._lanes.booked(record)
            elif isinstance(record, BookResult | BookRefusal) and record.slot is not None:
                self._on_booked(record.slot)
        self._tell(True, "")
        return True

    def _commit(self, group: Sequence[LedgerRecord]) -> None:
        connection, outbox = self._connection(), self._upkeep.outbox
        if not group:
            return
        size = 0
        with transaction(connection):
            for record in group:
                if isinstance(record, Delivered | GivenUp):
                    rows = record.rows if isinstance(record, Delivered) else (record.row,)
                    size -= outbox.size_of(connection, rows)
                write(connection, record)
            added, last_row = outbox.added(connection)
            audited = any(isinstance(record, BookAudit | BookConfiguration) for record in group)
            head = audit.head(connection) if audited else self.audit_head
        outbox.committed(added + size, last_row)
        self._book.last_row, self._book.audit_head = last_row, head

    def _keep_up(self) -> bool:
        """A small step of what must be done now and then; False when the disk refused it."""
        notices, self._book.notices = self._book.notices, []
        try:
            if not self._upkeep.wait_s:
                self._book.look()
                notices += self._upkeep.step(self._connection())
        except (sqlite3.Error, OSError, DamagedBookError) as exc:
            self._failed(exc)
            return False
        finally:
            for notice in notices:
                self.on_notice(notice)
        return True

    def _failed(self, error: Exception) -> None:
        if is_damage(error):
            self._book.damaged(str(error))
        self._tell(False, f"ledger {self.path} cannot be written: {error}")

    def _tell(self, healthy: bool, error: str) -> None:
        changed = healthy != self.healthy
        self.healthy, self.error = healthy, error
        if changed:
            self.on_health(healthy, error)
