"""How many parts this shift has been good, bad or neither."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, time, timedelta, timezone

from pydantic import BaseModel, Field

from edge_inspector.datatypes import Evaluation, Mode
from edge_inspector.store.reading import utc_text
from edge_inspector.web.reached import Reached, go_on, reached_now

_MOST = 5000


class Counts(BaseModel):
    """Production parts of the running shift."""

    since: str = Field(description="When the shift began: RFC 3339, UTC.")
    ok: int
    not_ok: int
    not_decidable: int
    undefined: int


class ShiftCounter:
    """Counts once what there is, then only what comes. Any thread."""

    def __init__(self, shifts: Sequence[str]) -> None:
        self._shifts = tuple(time.fromisoformat(text) for text in shifts)
        self._lock = threading.Lock()
        self._since = ""
        self._reached = Reached(0)
        self._counted: Counter[Evaluation] = Counter()
        self._book = ""

    def counts(self, connection: sqlite3.Connection, now: datetime) -> Counts:
        """Inside one snapshot of the book; `now` is aware."""
        since, book = utc_text(shift_began(self._shifts, now)), _book(connection)
        with self._lock:
            if (since, book) != (self._since, self._book):
                self._reached = reached_now(connection)
                self._counted = _counted(connection, "triggers.wall_utc >= ?", [since])
                self._since, self._book = since, book
            while True:
                seqs, reached = go_on(connection, self._reached, _MOST)
                if not seqs:
                    break
                marks = ",".join("?" * len(seqs))
                self._counted.update(
                    _counted(connection, f"seq IN ({marks}) AND triggers.wall_utc >= ?", [*seqs, since])
                )
                self._reached = reached
            count = self._counted
            return Counts(
                since=since,
                ok=count[Evaluation.OK],
                not_ok=count[Evaluation.NOT_OK],
                not_decidable=count[Evaluation.NOT_DECIDABLE],
                undefined=count[Evaluation.UNDEFINED],
            )


def shift_began(shifts: Sequence[time], now: datetime) -> datetime:
    """The latest beginning of a shift, in the machine's local time, that is not after `now` (aware)."""
    here = now.astimezone()
    days = (here.date(), here.date() - timedelta(days=1))
    begun = [datetime.combine(day, at).astimezone(timezone.utc) for day in days for at in shifts]
    return max(moment for moment in begun if moment <= now)


def _counted(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> Counter[Evaluation]:
    query = f"SELECT evaluation, count(*) FROM results JOIN triggers USING (seq) WHERE mode = ? AND {where} GROUP BY 1"
    rows = connection.execute(query, [int(Mode.PRODUCTION), *values])
    return Counter({Evaluation(evaluation): count for evaluation, count in rows})


def _book(connection: sqlite3.Connection) -> str:
    """The station may have begun another book."""
    return str(connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0])
