"""What is known of one destination: what waits for it, since when, and what it has got."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from edge_inspector.interfaces import OutboxStanding

LOOK_S = 3.0
"""While messages pile up they are counted this often, and otherwise every twelfth time: it reads through an index."""
_REST_S = 12 * LOOK_S


@dataclass(frozen=True)
class PublisherCounters:
    """One destination. `delivered`, `reconnects` and `orders` since this start, `dropped` and `refused` of the book.

    `waiting` messages are in the outbox, the oldest since `oldest_waiting_s` by the machine's clock; both may be some
    seconds old. `dropped`: the outbox had outgrown its limit; `refused`: the destination never takes them.
    `refused_topics` are those that it does not take now; their messages wait.
    """

    destination: str
    connected: bool = False
    waiting: int = 0
    oldest_waiting_s: float = 0.0
    delivered: int = 0
    dropped: int = 0
    refused: int = 0
    reconnects: int = 0
    orders: int = 0
    refused_topics: tuple[str, ...] = ()


class Tally:
    """Written by the destination's thread, read by any."""

    def __init__(
        self,
        destination: str,
        monotonic_s: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.connected = False
        self.delivered = 0
        self.connections = 0
        self.orders = 0
        self.refused_topics: tuple[str, ...] = ()
        self._destination = destination
        self._monotonic_s = monotonic_s
        self._utc = utc
        self._waiting = self._dropped = self._refused = 0
        self._oldest: datetime | None = None
        self._look_at = monotonic_s()

    @property
    def waiting(self) -> int:
        return self._waiting

    def look_is_due(self) -> bool:
        return self._monotonic_s() >= self._look_at

    def looked(self, standing: OutboxStanding) -> None:
        """What the outbox says."""
        self._waiting, self._dropped, self._refused = standing.waiting, standing.dropped, standing.refused
        self._oldest = None if standing.oldest_utc is None else _moment(standing.oldest_utc)
        self._look_at = self._monotonic_s() + LOOK_S

    def emptied(self) -> None:
        """Nothing waits any more; nobody needs to look soon."""
        if self._waiting or self._oldest is not None:
            self._waiting, self._oldest = 0, None
            self._look_at = self._monotonic_s() + _REST_S

    def piled_up(self) -> None:
        """More waits than can be sent at once."""
        self._look_at = min(self._look_at, self._monotonic_s() + LOOK_S)

    def counters(self) -> PublisherCounters:
        oldest = self._oldest
        age_s = 0.0 if oldest is None else max(0.0, (self._utc() - oldest).total_seconds())
        return PublisherCounters(
            destination=self._destination,
            connected=self.connected,
            waiting=self._waiting,
            oldest_waiting_s=age_s,
            delivered=self.delivered,
            dropped=self._dropped,
            refused=self._refused,
            reconnects=max(0, self.connections - 1),
            orders=self.orders,
            refused_topics=self.refused_topics,
        )


def _moment(utc: str) -> datetime | None:
    """RFC 3339 as we write it; None for what an older book did not note."""
    try:
        return datetime.strptime(utc, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
