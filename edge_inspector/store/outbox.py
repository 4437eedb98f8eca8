"""The reading side of the outbox: what waits for each destination, oldest first, and what is gone already."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.errors import StorageError
from edge_inspector.interfaces import OutboxStanding
from edge_inspector.store.records import Delivered, GivenUp


@dataclass
class _Lane:
    """One destination, used by its own thread; `leaving` also by the ledger's thread, which only takes rows off it."""

    handed: list[int] = field(default_factory=list)
    after: int = 0
    leaving: set[int] = field(default_factory=set)
    """Rows that are done and may still be in the table."""


class OutboxLanes:
    """What `interfaces.Outbox` promises; each destination has one thread, `booked` is called on the ledger's."""

    def __init__(
        self,
        path: Path,
        destinations: Sequence[str],
        reader: Callable[[], sqlite3.Connection],
        submit: Callable[[Delivered | GivenUp], None],
        utc: Callable[[], str],
    ) -> None:
        """`reader` gives the calling thread's own connection to the book at `path`."""
        self._path = path
        self._reader = reader
        self._submit = submit
        self._utc = utc
        self._lanes = {destination: _Lane() for destination in destinations}

    @property
    def destinations(self) -> Collection[str]:
        return self._lanes.keys()

    def pending(self, destination: str, limit: int, without: Collection[str] = ()) -> list[OutboxMessage]:
        """The oldest messages that nobody has acknowledged, but for those on the topics `without`.

        What was handed out before and passed over then comes again only after `rewind`. StorageError when the book
        cannot be read.
        """
        lane = self._lane(destination)
        leaving = set(lane.leaving)
        topics = f" AND topic NOT IN ({','.join('?' * len(without))})" if without else ""
        query = (
            "SELECT topic, schema, payload, seq, retain, row FROM outbox WHERE destination = ? AND row > ?"
            f"{topics} ORDER BY row LIMIT ?"
        )
        newest = self._newest(destination) if without else 0
        rows = self._read(destination, query, (destination, lane.after, *without, limit + len(leaving)))
        messages = [OutboxMessage(destination, t, s, p, n, bool(retain), row) for t, s, p, n, retain, row in rows]
        messages = [message for message in messages if message.row not in leaving][:limit]
        lane.handed = [message.row for message in messages]
        if not rows:
            lane.after = max(lane.after, newest)  # up to there is nothing but what is passed over: do not read it again
        return messages

    def rewind(self, destination: str) -> None:
        """Begin again with the oldest message that is still there: a topic that was passed over may be wanted now."""
        lane = self._lane(destination)
        lane.handed, lane.after = [], 0

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        """The destination has acknowledged `rows`: the first of those that `pending` gave. They are deleted soon."""
        if rows:
            self._done(destination, rows)
            self._submit(Delivered(destination, tuple(rows)))

    def give_up(self, destination: str, row: int, why: str) -> None:
        """The destination will never take `row`, the first of those that `pending` gave: it is booked as dropped."""
        self._done(destination, [row])
        self._submit(GivenUp(destination, row, why, self._utc()))

    def standing(self, destination: str) -> OutboxStanding:
        """Reads through the destination's part of an index. StorageError when the book cannot be read."""
        lane = self._lane(destination)
        leaving = set(lane.leaving)
        ((count, first),) = self._read(
            destination, "SELECT count(*), min(row) FROM outbox WHERE destination = ?", (destination,)
        )
        oldest = self._read(destination, "SELECT wall_utc FROM outbox WHERE row = ?", (first,))
        given = self._read(
            destination, "SELECT why = '', count(*) FROM dropped WHERE destination = ? GROUP BY 1", (destination,)
        )
        by_limit: dict[int, int] = dict(given)
        waiting = max(0, count - len(leaving))
        return OutboxStanding(
            waiting, oldest[0][0] if oldest and waiting else None, by_limit.get(1, 0), by_limit.get(0, 0)
        )

    def booked(self, record: Delivered | GivenUp) -> None:
        """The rows of the record are not in the table any more; on the ledger's thread."""
        rows = record.rows if isinstance(record, Delivered) else (record.row,)
        self._lane(record.destination).leaving.difference_update(rows)

    def held(self) -> frozenset[int]:
        """Rows that some destination has been handed, or that are leaving; under the lock that guards `pending`."""
        return frozenset(row for lane in self._lanes.values() for row in (*lane.handed, *set(lane.leaving)))

    def _done(self, destination: str, rows: Sequence[int]) -> None:
        lane = self._lane(destination)
        if list(rows) != lane.handed[: len(rows)]:
            raise StorageError(
                f"outbox of {destination}: rows {list(rows)} are not the first of {lane.handed}: order would be lost"
            )
        lane.leaving.update(rows)  # before they leave the hands: see `held`
        lane.handed = lane.handed[len(rows) :]
        lane.after = rows[-1]

    def _newest(self, destination: str) -> int:
        ((row,),) = self._read(destination, "SELECT max(row) FROM outbox WHERE destination = ?", (destination,))
        return row or 0

    def _lane(self, destination: str) -> _Lane:
        if destination not in self._lanes:
            raise StorageError(f"outbox {destination!r} is not known; known are {', '.join(self._lanes) or 'none'}")
        return self._lanes[destination]

    def _read(self, destination: str, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._reader().execute(query, values).fetchall()
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {self._path}: the outbox of {destination} cannot be read: {exc}") from exc
