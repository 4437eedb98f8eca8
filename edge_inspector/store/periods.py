"""Which parts of the book are looked at: all of it, between two times, or shift by shift."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from edge_inspector.errors import ConfigError
from edge_inspector.store.reading import utc_text

CLOCK_NOT_SET = "2026"
"""What has no word about its clock: an earlier time cannot be true, for this software is not older."""


@dataclass(frozen=True)
class Period:
    """From `since` (included) until `until`, in the book's UTC text, None = no limit.

    A part belongs to the time of its trigger. `clock`: only parts with a clock that was set (True) or was not (False),
    None = any.
    """

    label: str
    since: str | None = None
    until: str | None = None
    clock: bool | None = None

    @property
    def is_all(self) -> bool:
        return self.since is None and self.until is None and self.clock is None

    def has(self, wall_utc: str, clock_synced: bool) -> bool:
        after = self.since is None or wall_utc >= self.since
        before = self.until is None or wall_utc < self.until
        return after and before and self.clock in (None, clock_synced)

    def triggers(self) -> str:
        """SQL: whether a trigger `t` belongs to it; the values are those of `values`."""
        conditions = [*self._times("t."), *([] if self.clock is None else [f"t.clock_synced = {int(self.clock)}"])]
        return " AND ".join(conditions) or "1"

    def others(self) -> str:
        """SQL: whether a row that has `wall_utc` alone belongs to it."""
        unset = [] if self.clock is None else [f"wall_utc {'>=' if self.clock else '<'} '{CLOCK_NOT_SET}'"]
        return " AND ".join([*self._times(""), *unset]) or "1"

    def refusals(self, unset_boots: Collection[int]) -> str:
        """SQL: whether a refusal belongs to it; in a run of `unset_boots` no clock was ever set."""
        unset = _unset(unset_boots)
        clock = [] if self.clock is None else [f"NOT {unset}" if self.clock else unset]
        return " AND ".join([*self._times(""), *clock]) or "1"

    @property
    def values(self) -> dict[str, str]:
        return {name: value for name, value in (("since", self.since), ("until", self.until)) if value is not None}

    def _times(self, table: str) -> list[str]:
        after = [] if self.since is None else [f"{table}wall_utc >= :since"]
        return after + ([] if self.until is None else [f"{table}wall_utc < :until"])


def between(since: datetime | None, until: datetime | None, clock: bool | None = True) -> Period:
    """All of the book, or its parts between two aware times; `clock` as in `Period`. ConfigError: an empty period."""
    if since is not None and until is not None and since >= until:
        raise ConfigError(f"the time from {since} until {until} is empty; give an earlier begin or a later end")
    if since is None and until is None:
        return Period("the whole book")
    label = " ".join(
        f"{word} {moment.astimezone():%Y-%m-%d %H:%M}"
        for word, moment in (("since", since), ("until", until))
        if moment
    )
    first, end = (None if moment is None else utc_text(moment) for moment in (since, until))
    return Period(label, first, end, clock)


def shifts_in(
    connection: sqlite3.Connection,
    within: Period,
    starts: Sequence[str],
    zone: tzinfo | None = None,
    *,
    clock: bool | None = True,
) -> Iterator[Period]:
    """The shifts that have an entry, oldest first, then what happened while the clock was not set, if anything did.

    `starts` as in `LedgerSettings.shifts`, in `zone`, None = the machine's own. `clock` as in `Period`: with None every
    time that can be true is taken for true.
    """
    unset_boots = boots_without_clock(connection) if clock else frozenset()
    unset = Period("clock not set", clock=False) if clock else Period("clock not set", until=CLOCK_NOT_SET)
    after = within.since or ""
    while (first := _first(connection, after, clock, unset_boots)) is not None and (
        within.until is None or first < within.until
    ):
        shift = replace(shift_of(parsed(first), starts, zone), clock=clock)
        yield shift
        after = shift.until or ""
    tables = (f"triggers t WHERE {unset.triggers()}", f"refusals WHERE {unset.refusals(unset_boots)}")
    queries = (f"SELECT 1 FROM {table} LIMIT 1" for table in tables)
    if within.is_all and any(connection.execute(query, unset.values).fetchone() for query in queries):
        yield unset


def boots_without_clock(connection: sqlite3.Connection) -> frozenset[int]:
    """Runs of the station in which it accepted parts, and never with a clock that was set."""
    query = "SELECT boot_id FROM triggers GROUP BY boot_id HAVING max(clock_synced) = 0"
    return frozenset(boot for (boot,) in connection.execute(query))


def shift_of(moment: datetime, starts: Sequence[str], zone: tzinfo | None = None) -> Period:
    """The shift in which an aware time lies. Shifts follow the local clock: one may have 7 or 9 hours."""
    local = moment.astimezone(zone)
    days = [local.date() + timedelta(days=n) for n in (-2, -1, 0, 1, 2)]
    begins = sorted({_begin(day, start, zone) for day in days for start in starts})
    since = max(begin for begin in begins if begin <= moment)
    until = min(begin for begin in begins if begin > moment)
    label = f"{since.astimezone(zone):%a %Y-%m-%d %H:%M}-{until.astimezone(zone):%H:%M}"
    return Period(label, utc_text(since), utc_text(until), clock=True)


def parsed(wall_utc: str) -> datetime:
    """The book's text as an aware time."""
    return datetime.fromisoformat(wall_utc.replace("Z", "+00:00"))


def _begin(day: date, start: str, zone: tzinfo | None) -> datetime:
    return datetime.combine(day, time.fromisoformat(start), zone).astimezone(timezone.utc)


def _first(connection: sqlite3.Connection, after: str, clock: bool | None, unset_boots: Collection[int]) -> str | None:
    """When the first trigger or refusal at or after a time came."""
    true = "clock_synced = 1" if clock else f"wall_utc >= '{CLOCK_NOT_SET}'"
    tables = (f"triggers WHERE {true}", f"refusals WHERE NOT {_unset(unset_boots)}")
    query = "SELECT min(wall_utc) FROM {table} AND wall_utc >= ?"
    times = [connection.execute(query.format(table=table), (after,)).fetchone()[0] for table in tables]
    return min((one for one in times if one is not None), default=None)


def _unset(boots: Collection[int]) -> str:
    return f"(wall_utc < '{CLOCK_NOT_SET}' OR boot_id IN ({','.join(map(str, sorted(boots)))}))"
