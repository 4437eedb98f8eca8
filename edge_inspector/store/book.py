"""The book that is open now: replaced by a new one when it is damaged, also while others read it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from edge_inspector.datatypes import AuditEntry
from edge_inspector.interfaces import Clock
from edge_inspector.store import audit
from edge_inspector.store.book_file import (
    connect_read_only,
    half_made,
    is_damage,
    made,
    name_aside,
    open_book,
    take_place,
    transaction,
)
from edge_inspector.store.notice import Notice
from edge_inspector.store.salvage import salvage_kept, salvage_outbox
from edge_inspector.store.settings import LedgerSettings

_LOWEST_PRIORITY = 19  # the whole check may take its time: setpriority(2)


class Book:
    """`connection` is for the ledger's thread alone; `reader`, `check` and `close` are for the others, too."""

    def __init__(self, path: Path, settings: LedgerSettings, clock: Clock, on_damage: Callable[[], None]) -> None:
        """`on_damage()`: somebody else than the ledger's thread has found some; called on that one's thread."""
        self.path = path
        self.name = ""
        """8 hex digits, made with the file."""
        self.audit_head = ""
        self.set_aside: Path | None = None
        """The last damaged file."""
        self.damage = ""
        """What is wrong with the file, until `connection` has begun a new one."""
        self.opened = 0
        """How many books this process has had open."""
        self.last_row = 0
        """The highest number that a message of the outbox has had; the ledger's thread keeps it."""
        self.notices: list[Notice] = []
        self._settings = settings
        self._clock = clock
        self._on_damage = on_damage
        self._connection: sqlite3.Connection | None = None
        self._replaced = False  # the damaged one, and the new one is not open yet
        self._inode = 0
        self._gone = False
        self._lock = threading.Lock()
        self._readers: dict[int, tuple[int, sqlite3.Connection]] = {}
        self._checking: sqlite3.Connection | None = None
        self._closing = False

    def connection(self) -> sqlite3.Connection:
        """The writer's; that of a new book when the file is damaged.

        sqlite3.Error, OSError, DamagedBookError: there is none now; ask again later. StorageError: not our file.
        """
        if self._connection is not None and self._gone and not self.damage:
            self._bring_back(self._connection)
        if self.damage and not self._replaced:
            self._replace()
        if self._connection is None:
            self._connection = self._made()
        return self._connection

    def look(self) -> None:
        """Whether the file is still the one that is open; `connection` brings it back when it is not."""
        try:
            self._gone = self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            self._gone = True

    def damaged(self, damage: str) -> None:
        """The ledger's thread has found the file malformed."""
        self.damage, self._replaced = damage, False

    def sound(self) -> bool:
        """Read the whole book now, on the ledger's thread; False = it is damaged."""
        ((found,),) = self.connection().execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            self.damage = found
        return not self.damage

    def reader(self) -> sqlite3.Connection:
        """The calling thread's own connection to the book of now: readers never wait for the writer."""
        me = threading.get_ident()
        with self._lock:
            opened, reader = self._readers.get(me, (0, None))
            if reader is None or opened != self.opened:
                if reader is not None:
                    reader.close()
                reader = connect_read_only(self.path)
                self._readers[me] = self.opened, reader
            return reader

    def reader_failed(self, error: BaseException | None) -> None:
        """The calling thread's reader could not read, and why: it may be damage that the writer has not seen."""
        with self._lock:
            opened, _ = self._readers.get(threading.get_ident(), (0, None))
        if is_damage(error):
            self._report(opened, str(error))

    def check(self) -> None:
        """Read the whole book once, on a thread of its own that nothing waits for; the writer mends what it finds."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        try:
            with self._lock:
                if self._closing:
                    return
                opened = self.opened
                self._checking = connection = connect_read_only(self.path)
        except sqlite3.Error:  # it is gone, or just now replaced by a sound one
            return
        try:
            ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
            self._report(opened, "" if found == "ok" else found)
        except sqlite3.Error as exc:  # interrupted by `close`, or a disk that fails: the writer will say so
            self._report(opened, str(exc) if is_damage(exc) else "")
        finally:
            with self._lock:
                self._checking = None
            connection.close()

    def end_check(self) -> None:
        """Let `check` return at once."""
        with self._lock:
            self._closing = True
            if self._checking is not None:
                self._checking.interrupt()

    def close(self) -> None:
        """After all threads have ended."""
        for _, reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._shut()

    def _report(self, opened: int, damage: str) -> None:
        with self._lock:
            if not damage or opened != self.opened or self._closing:
                return
            self.damage = damage
        self._on_damage()

    def _bring_back(self, connection: sqlite3.Connection) -> None:
        """Somebody has deleted or replaced the file; as long as it is open, all of it is still there."""
        half = half_made(self.path)
        connection.execute("VACUUM INTO ?", (str(half),))
        half.replace(made(self.path))
        aside = take_place(self.path)  # what lies there now, and the log, which would be taken for the new file's
        self._shut()
        self._gone = False
        there = f"; what was put in its place is kept as {aside}" if aside.exists() else ""
        text = f"the ledger {self.path} was deleted or replaced while the station ran: it was written anew{there}"
        self.notices.append(Notice("alarm", "ledger_was_gone", text))

    def _replace(self) -> None:
        """Make a whole new book with what can be saved; then it gets the damaged one's name.

        Whenever the process is killed, the next one finds the damaged book or the new one.
        """
        self._shut()
        saved = 0 if made(self.path).exists() else self._make_new()
        self.set_aside = take_place(self.path)
        self._replaced, self._gone = True, False
        rescued = f"; {saved} messages for brokers were saved from it"
        if self.opened:
            text = f"the ledger was damaged ({self.damage}) and is kept as {self.set_aside}; a new one was begun"
            self.notices.append(Notice("alarm", "set_aside", text + rescued))
        elif saved:
            text = f"the damaged ledger is kept as {self.set_aside}{rescued}"
            self.notices.append(Notice("warning", "messages_saved", text))

    def _make_new(self) -> int:
        """What the new book takes over from the damaged one; how many messages could be saved.

        No number of a message comes again: its destination may still have the old one in its hands.
        """
        before = f" The audit trail before it ended with {self.audit_head}." if self.audit_head else ""
        aside = name_aside(self.path)
        detail = f"the book was damaged ({self.damage}) and is kept as {aside.name}; a new one was begun.{before}"
        half = half_made(self.path)
        connection = open_book(half, self._settings)
        try:
            with transaction(connection):
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (self.last_row,))
                entry = AuditEntry(self._clock.utc(), self._clock.synced(), "station", "book_replaced", detail)
                audit.append(connection, entry)
                saved = 0
                if self.path.exists():
                    saved = salvage_outbox(self.path, connection)
                    salvage_kept(self.path, connection)
            connection.execute("PRAGMA journal_mode = DELETE")  # all of it is in one file that can be renamed
        finally:
            connection.close()
        half.replace(made(self.path))
        return saved

    def _made(self) -> sqlite3.Connection:
        if made(self.path).exists():  # the last process was killed while it put it in its place
            self.set_aside = take_place(self.path)
        half_made(self.path)  # nothing is left of one that was not finished
        connection = open_book(self.path, self._settings)
        try:
            self.name = str(connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0])
            self.audit_head = audit.head(connection)
            self._inode = self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self.opened += 1
            self.damage, self._replaced = "", False  # what anybody has seen until now was seen in the old one
        return connection

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
