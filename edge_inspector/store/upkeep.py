"""What the ledger's thread does between two groups of records, little by little."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from edge_inspector.interfaces import Clock
from edge_inspector.store import audit
from edge_inspector.store.book_file import transaction
from edge_inspector.store.notice import Notice
from edge_inspector.store.outbox_bound import OutboxBound
from edge_inspector.store.retention import Retention
from edge_inspector.store.settings import LedgerSettings

PASS_S = 60.0  # between two looks at what is old or too much
FIRST_PASS_S = 5.0  # after the start, when what the last run left is booked
TOLD_S = 60.0  # messages that are dropped are told together
HEAD_TOLD_S = 86_400.0
_REST = 4  # times what a step has taken: so at most a fifth of the thread's time, and results come first


class Upkeep:
    """Retention, the outbox's limit and the audit trail's head, on the ledger's thread: each `step` is a small one."""

    def __init__(
        self,
        settings: LedgerSettings,
        destinations: Collection[str],
        clock: Clock,
        held: Callable[[], frozenset[int]],
        handing: AbstractContextManager[object],
    ) -> None:
        """No message is handed out while `handing` is held: it is either dropped or handed out, never both."""
        self._settings = settings
        self._clock = clock
        self._handing = handing
        self.outbox = OutboxBound(settings.outbox_max_mb * 1_000_000, held)
        self.retention = Retention(settings, destinations, clock, lambda: self.outbox.bytes)
        self._in_pass = False
        now_s = self._now_s()
        self._next_s = now_s
        self._next_pass_s = now_s + FIRST_PASS_S
        self._dropped, self._dropped_bytes, self._told_at_s = 0, 0, -TOLD_S
        self._head_told, self._head_due_s = "", self._next_pass_s

    def renew(self, settings: LedgerSettings) -> None:
        """Other limits for what is old or too much; the next look is soon. Any thread."""
        self._settings = settings
        self.retention.settings = settings
        self._next_pass_s = self._now_s()

    def opened(self, connection: sqlite3.Connection) -> None:
        """Go on with this book."""
        self.outbox.opened(connection)
        self._in_pass = False

    @property
    def wait_s(self) -> float:
        """How long there is nothing to do; 0 = `step` now."""
        busy = self._in_pass or self.outbox.counting or self.outbox.outgrown
        due_s = self._next_s if busy else max(self._next_s, self._next_pass_s)
        if self._dropped:
            due_s = min(due_s, self._told_at_s + TOLD_S)
        return max(0.0, due_s - self._now_s())

    def step(self, connection: sqlite3.Connection) -> list[Notice]:
        """Do a little. sqlite3.Error: nothing of this step was done."""
        begun_s = self._now_s()
        self._next_s = begun_s + PASS_S  # when this step fails
        more = self._work(connection, begun_s)
        now_s = self._now_s()
        self._next_s = now_s + (_REST * (now_s - begun_s) if more else 1.0)
        return [*self._dropped_notice(now_s), *self._head_notice(connection, now_s)]

    def _work(self, connection: sqlite3.Connection, now_s: float) -> bool:
        """One step of the most urgent work; False = there was none."""
        if self.outbox.counting:
            self.outbox.count(connection)
            return True
        if self.outbox.outgrown:
            return self._drop(connection)
        self.outbox.settled()
        if not self._in_pass:
            self._in_pass, self._next_pass_s = True, now_s + PASS_S
            self.retention.begin()
        with transaction(connection):
            self._in_pass = self.retention.step(connection)
        return self._in_pass

    def _drop(self, connection: sqlite3.Connection) -> bool:
        with self._handing:
            with transaction(connection):
                dropped = self.outbox.drop(connection, self._clock.utc())
            if dropped is None:
                return False
            self.outbox.committed(-dropped[1], self.outbox.last_row)
        self._dropped += dropped[0]
        self._dropped_bytes += dropped[1]
        return True

    def _dropped_notice(self, now_s: float) -> list[Notice]:
        if not self._dropped or now_s < self._told_at_s + TOLD_S:
            return []
        limit = f"more than outbox_max_mb = {self._settings.outbox_max_mb} waited for brokers that do not answer"
        text = (
            f"{self._dropped} messages ({self._dropped_bytes / 1e6:.1f} MB) were given up: {limit}. Those of good "
            "parts go first, then those of rejects, then events; the results themselves stay in the ledger"
        )
        self._dropped, self._dropped_bytes, self._told_at_s = 0, 0, now_s
        return [Notice("warning", "messages_dropped", text)]

    def _head_notice(self, connection: sqlite3.Connection, now_s: float) -> list[Notice]:
        """Once a day where the trail ends: kept by somebody else, it shows later that nothing was cut off."""
        if now_s < self._head_due_s:
            return []
        self._head_due_s = now_s + HEAD_TOLD_S
        head = audit.head(connection)
        if head == self._head_told:
            return []
        self._head_told = head
        return [Notice("info", "audit_head", f"the audit trail ends with {head}")]

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
