"""What happens at the station, as it gets into the ledger: results, pictures, events, and the state beside them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from edge_inspector.config import StationConfig
from edge_inspector.control import StationAway
from edge_inspector.errors import StorageError
from edge_inspector.store.reading import read_image, read_results, snapshot
from edge_inspector.web.book import Book
from edge_inspector.web.counts import Counts, ShiftCounter
from edge_inspector.web.models import KeptPicture, Result
from edge_inspector.web.reached import PAGE, Reached, go_on, reached_now
from edge_inspector.web.recent import Recent
from edge_inspector.web.station import Station

Kind = Literal["result", "image", "event", "state"]
STATE_S = 1.0
"""How old a state may be that several ask for."""


class State(BaseModel):
    """The station at this moment."""

    station: str
    online: bool = Field(description="Whether the daemon answers; if not, nothing is inspected.")
    status: dict[str, Any] | None = Field(description="As the PLC sees it; null: it is away, or has just begun.")
    cameras: tuple[str, ...] = Field(description="Of the active recipe.")
    counts: Counts | None = Field(description="null: the ledger cannot be read; `trouble` says why.")
    trouble: str = Field(description="Why the station or its ledger is away; empty: neither is.")
    ts: str = Field(description="RFC 3339, UTC.")


@dataclass(frozen=True)
class Place:
    """How far a listener has come: results, pictures, events. Its text goes to and fro as Last-Event-ID."""

    results: Reached
    image: int
    event: int

    def __str__(self) -> str:
        return f"{self.results.whole}.{self.image}.{self.event}"


@dataclass(frozen=True)
class Happening:
    """One message for a listener; `data` is JSON."""

    kind: Kind
    data: str


class Feed:
    """Each listener reads on for itself; the state is looked up once for all. Any thread."""

    def __init__(
        self,
        config: StationConfig,
        book: Book,
        station: Station,
        counter: ShiftCounter,
        now: Callable[[], datetime],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._book, self._station, self._counter = config, book, station, counter
        self._now = now
        self._state = Recent(self._look, STATE_S, monotonic_s)

    def place_now(self) -> Place:
        """After everything that has happened."""
        with self._book.open() as connection, snapshot(connection):
            return Place(reached_now(connection), _last(connection, "images"), _last(connection, "events"))

    def place_of(self, text: str) -> Place:
        """A Last-Event-ID. ValueError: it is none of ours."""
        results, image, event = (int(part) for part in text.split("."))
        if not all(0 <= number < 2**63 for number in (results, image, event)):
            raise ValueError(f"{text!r} is out of range")
        return Place(Reached(results), image, event)

    def after(self, place: Place) -> tuple[list[Happening], Place]:
        """Some of what has come since, oldest first within its kind, and the place behind it."""
        with self._book.open() as connection, snapshot(connection):
            results, reached = _results(connection, place.results)
            images, image = _images(connection, place.image)
            events, event = _events(connection, place.event)
        return [*results, *images, *events], Place(reached, image, event)

    def state(self) -> State:
        return self._state.get()

    def _look(self) -> State:
        status: Mapping[str, Any] | None = None
        counts, online, trouble = None, True, []
        try:
            status = self._station.status()
        except StationAway as exc:
            online = False
            trouble.append(str(exc))
        try:
            with self._book.open() as connection, snapshot(connection):
                counts = self._counter.counts(connection, self._now())
        except StorageError as exc:
            trouble.append(str(exc))
        recipe = None if status is None else self._config.recipes.get(str(status.get("recipe")))
        return State(
            station=self._config.station.name,
            online=online,
            status=None if status is None else dict(status),
            cameras=() if recipe is None else tuple(view.camera for view in recipe.views),
            counts=counts,
            trouble="; ".join(trouble),
            ts=self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )


def _results(connection: sqlite3.Connection, reached: Reached) -> tuple[list[Happening], Reached]:
    seqs, now = go_on(connection, reached)
    late = [seq for seq in seqs if seq <= reached.top]
    found = [one for seq in late for one in read_results(connection, after_seq=seq - 1, before_seq=seq + 1, limit=1)]
    if len(seqs) > len(late):
        found += read_results(connection, after_seq=reached.top, limit=PAGE)
    return [Happening("result", Result.of(one).model_dump_json()) for one in found], now


def _images(connection: sqlite3.Connection, last: int) -> tuple[list[Happening], int]:
    rows = connection.execute("SELECT id FROM images WHERE id > ? ORDER BY id LIMIT ?", (last, PAGE)).fetchall()
    found = [image for (number,) in rows if (image := read_image(connection, number)) is not None]
    return [Happening("image", KeptPicture.of(one).model_dump_json()) for one in found], rows[-1][0] if rows else last


def _events(connection: sqlite3.Connection, last: int) -> tuple[list[Happening], int]:
    query = "SELECT id, severity, code, text, wall_utc, parts FROM events WHERE id > ? ORDER BY id LIMIT ?"
    rows = connection.execute(query, (last, PAGE)).fetchall()
    found = [
        {"severity": severity, "code": code, "text": text, "ts": utc, "parts": json.loads(parts)}
        for _, severity, code, text, utc, parts in rows
    ]
    return [Happening("event", json.dumps(one)) for one in found], rows[-1][0] if rows else last


def _last(connection: sqlite3.Connection, table: Literal["images", "events"]) -> int:
    return int(connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0)
