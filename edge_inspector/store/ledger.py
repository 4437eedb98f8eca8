"""The ledger: the SQLite book that follows the flight record, and the outbox in it."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.errors import StorageError
from edge_inspector.store import schema
from edge_inspector.store.records import (
    BookAcknowledged,
    BookEvent,
    BookLate,
    BookRefusal,
    BookResult,
    BookTold,
    BookTrigger,
    BookUnannounced,
    Delivered,
    LedgerRecord,
    write,
)

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
]

GROUP = 64  # records in one transaction: one fsync for all of them
RETRY_S = 1.0  # between two tries to write to a full or failing disk
BUSY_TIMEOUT_S = 1.0  # how long another program's lock is waited for before it counts as a failure


class Ledger:
    """Opened by the station; `run` is the loop of its own thread; `submit` never waits.

    When the file cannot be written nothing is lost: `healthy` turns False, the records stay in the queue and the flight
    record, and are tried again every `RETRY_S`. Implements `interfaces.Outbox`.
    """

    def __init__(
        self,
        path: Path,
        destinations: Sequence[str],
        on_booked: Callable[[int], None] = lambda _slot: None,
        on_health: Callable[[bool, str], None] = lambda _healthy, _error: None,
    ) -> None:
        """`on_booked(slot)`: the result or refusal of a flight slot is booked; `on_health(healthy, error)`: a change.

        Both are called on the ledger's thread.
        """
        self.path = path
        self.healthy = True
        self.error = ""
        self.set_aside: Path | None = None
        self.book = ""
        self._next_seq = 1
        self._on_booked = on_booked
        self._on_health = on_health
        self._queue: deque[LedgerRecord] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._contradicted = False
        self._booking = threading.Lock()
        self._reading = threading.Lock()
        self._readers: dict[int, sqlite3.Connection] = {}
        self._handed: dict[str, list[int]] = {destination: [] for destination in destinations}
        self._delivered_up_to: dict[str, int] = dict.fromkeys(destinations, 0)

    def __enter__(self) -> Ledger:
        """Open or make the book; a damaged file is renamed to `set_aside` and a new book begun.

        StorageError: not writable, another program's database, or a newer version's book.
        """
        try:
            try:
                self._connection = self._open()
            except _Damaged:
                self.set_aside = _set_aside(self.path)
                self._connection = self._open()
        except (sqlite3.Error, OSError) as exc:
            raise StorageError(
                f"ledger {self.path} cannot be opened: {exc}; its folder must exist and be writable"
            ) from exc
        self.book = str(self._connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0])
        self._next_seq = int(self._connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM triggers").fetchone()[0])
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
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()
            self._connection.close()

    @property
    def next_seq(self) -> int:
        """The number of the next trigger: above all that were booked or submitted, those of the flight record too."""
        return self._next_seq

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._queue)

    def submit(self, record: LedgerRecord) -> None:
        """Hand a record over, from any thread; records are booked in this order."""
        with self._wake:
            if isinstance(record, BookTrigger):
                self._next_seq = max(self._next_seq, record.trigger.seq + 1)
            elif isinstance(record, BookResult):
                self._next_seq = max(self._next_seq, record.result.trigger.seq + 1)
            self._queue.append(record)
            self._wake.notify()

    def close(self) -> None:
        """Let `run` book what waits and return; on a disk that cannot be written it returns after one try."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def run(self) -> None:
        """Book records until `close`. StorageError: a record contradicts the book (a second verdict): a bug."""
        with self._booking:
            self._run()

    def pending(self, destination: str, limit: int) -> list[OutboxMessage]:
        """The oldest messages without an acknowledgement, and never one that was given to `delivered` already.

        One thread for each destination. StorageError when the book cannot be read.
        """
        after = self._delivered_up_to[self._known(destination)]
        try:
            rows = self._reader().execute(
                "SELECT topic, schema, payload, seq, retain, row FROM outbox WHERE destination = ? AND row > ? "
                "ORDER BY row LIMIT ?",
                (destination, after, limit),
            )
            messages = [OutboxMessage(destination, t, s, p, n, bool(retain), row) for t, s, p, n, retain, row in rows]
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {self.path}: the outbox of {destination} cannot be read: {exc}") from exc
        self._handed[destination] = [m.row for m in messages]
        return messages

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        """The destination has acknowledged `rows`: the first of those that `pending` gave. They are deleted soon."""
        handed = self._handed[self._known(destination)]
        if not rows:
            return
        if list(rows) != handed[: len(rows)]:
            raise StorageError(
                f"outbox of {destination}: rows {list(rows)} are not the first of {handed}: order would be lost"
            )
        self._handed[destination] = handed[len(rows) :]
        self._delivered_up_to[destination] = rows[-1]
        self.submit(Delivered(destination, tuple(rows)))

    def recent_attempts(self, limit: int = 10_000) -> dict[str, int]:
        """How often each part id occurs in the last `limit` triggers. Before `run`."""
        query = (
            "SELECT part_id, count(*) FROM (SELECT part_id FROM triggers ORDER BY seq DESC LIMIT ?) GROUP BY part_id"
        )
        return dict(self._connection.execute(query, (limit,)).fetchall())

    def stranded(self) -> dict[str, int]:
        """Messages for destinations that the station no longer has, by destination. Before `run`."""
        counted = self._connection.execute("SELECT destination, count(*) FROM outbox GROUP BY destination")
        return {name: count for name, count in counted if name not in self._handed}

    def _known(self, destination: str) -> str:
        if destination not in self._handed:
            raise StorageError(f"outbox {destination!r} is not known; known are {', '.join(self._handed) or 'none'}")
        return destination

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection: readers never wait for the writer."""
        me = threading.get_ident()
        with self._reading:
            if me not in self._readers:
                self._readers[me] = connect_read_only(self.path)
            return self._readers[me]

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise _Damaged
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            schema.prepare(connection, self.path)
        except sqlite3.OperationalError:  # locked, full, not writable: the file itself may be sound
            connection.close()
            raise
        except sqlite3.DatabaseError as exc:
            connection.close()
            raise _Damaged from exc
        except BaseException:
            connection.close()
            raise
        return connection

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                group = [self._queue[i] for i in range(min(GROUP, len(self._queue)))]
            if not group:
                return
            if self._book(group):
                continue
            with self._wake:
                if self._closing:
                    return
                self._wake.wait_for(lambda: self._closing, RETRY_S)

    def _book(self, group: Sequence[LedgerRecord]) -> bool:
        """Commit and take the group off the queue; False when the disk refused it."""
        try:
            self._commit(group)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, StorageError) as exc:
            if len(group) > 1:  # the good ones before the bad one still go to the disk
                return all(self._book([record]) for record in group)
            self._contradicted = True
            raise StorageError(f"ledger {self.path} refuses {group[0]!r}: {exc}") from exc
        except sqlite3.Error as exc:
            self._tell(False, f"ledger {self.path} cannot be written: {exc}")
            return False
        for _ in group:
            self._queue.popleft()
        for record in group:
            if isinstance(record, BookResult | BookRefusal) and record.slot is not None:
                self._on_booked(record.slot)
        self._tell(True, "")
        return True

    def _commit(self, group: Sequence[LedgerRecord]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for record in group:
                write(connection, record)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _tell(self, healthy: bool, error: str) -> None:
        changed = healthy != self.healthy
        self.healthy, self.error = healthy, error
        if changed:
            self._on_health(healthy, error)


class _Damaged(Exception):
    """The file is not a whole SQLite database."""


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the book; works while the station writes."""
    return sqlite3.connect(
        path.absolute().as_uri() + "?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _set_aside(path: Path) -> Path:
    """Rename the file and its write-ahead log, which may still hold something for who can repair it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside
