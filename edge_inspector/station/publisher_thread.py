"""One destination's thread: drain the outbox, keep the connection alive, come back after any outage."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import structlog

from edge_inspector.errors import OutputError, StorageError
from edge_inspector.interfaces import Outbox, Publisher, StationStatus, TakesOrders
from edge_inspector.plc.states import resting_state
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.draining import Draining
from edge_inspector.station.events import LineEvent, PublisherHealth
from edge_inspector.station.order_desk import OrderDesk
from edge_inspector.station.tally import PublisherCounters, Tally

log = structlog.get_logger()
_IDLE_S = 0.02
_METRICS_S = 10.0
STEADY_S = 5.0
"""A connection that held for this long, or answered to a message, was a good one: the next try comes soon."""
LAST_S = 1.0
"""How long a station that stops goes on with a backlog; the rest waits in the outbox for its next start."""


class PublisherThread:
    """Runs `run` on a thread of its own; the other methods may be called from any thread."""

    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        post: Callable[[LineEvent], None],
        metrics: Callable[[], dict[str, float]],
        stopping: threading.Event | None = None,
    ) -> None:
        self.publisher = publisher
        self._outbox = outbox
        self._post = post
        self._metrics = metrics
        self._tally = Tally(publisher.destination)
        self._draining = Draining(publisher, outbox, self._tally, post)
        self._desk = OrderDesk(publisher, post) if isinstance(publisher, TakesOrders) else None
        self._status: tuple[str, int, str] | None = None
        self._stopping = threading.Event() if stopping is None else stopping
        self._stop_at = math.inf

    def announce(self, status: StationStatus) -> None:
        """What the destination should know about the station; only the newest counts."""
        state = resting_state(status)
        self._status = (state.name, int(state), status.recipe)

    def counters(self) -> PublisherCounters:
        """What is known of the destination now; waits for nothing."""
        return self._tally.counters()

    def stop(self) -> None:
        """End after what is pending now has been sent, after `LAST_S`, or at once when the destination is away."""
        self._stop_at = time.monotonic() + LAST_S
        self._stopping.set()

    def run(self) -> None:
        backoff, told = Backoff(first_s=0.2), ""
        name = self.publisher.destination
        connected_s = math.inf
        while not self._stopping.is_set():
            answered = self._draining.answered
            try:
                with self.publisher:
                    log.info("publisher_connected", destination=name)
                    self._tally.connected = True
                    self._tally.connections += 1
                    self._post(PublisherHealth(name, connected=True, text=""))
                    connected_s = time.monotonic()
                    self._draining.begin()
                    self._serve()
            except (OutputError, StorageError) as exc:  # no broker, or a disk that gives no outbox: try again
                self._tally.connected = False
                held_s, connected_s = time.monotonic() - connected_s, math.inf
                if held_s > STEADY_S:
                    told = ""
                if held_s > STEADY_S or self._draining.answered > answered:  # not one that lets us in and is silent
                    backoff.reset()
                if str(exc) != told:  # once, not with each try
                    told = str(exc)
                    log.warning("publisher_lost", destination=name, error=told)
                self._post(PublisherHealth(name, connected=False, text=str(exc)))
                self._wait(backoff.next_s())
        self._tally.connected = False

    def _serve(self) -> None:
        announced: tuple[str, int, str] | None = None
        metrics_due = time.monotonic() + _METRICS_S
        while True:
            if self._status != announced and self._status is not None:
                announced = self._status
                self.publisher.announce(*announced)
            if time.monotonic() >= metrics_due:
                metrics_due += _METRICS_S
                self.publisher.metrics(self._metrics())
            if self._desk is not None:
                self._tally.orders += self._desk.serve()
            stopping = self._stopping.is_set()
            if stopping and time.monotonic() >= self._stop_at:
                return
            if self._draining.step(hurry=stopping):
                continue
            if stopping:
                return
            self.publisher.idle(_IDLE_S)

    def _wait(self, wait_s: float) -> None:
        """Until the next try; meanwhile messages pile up, and are counted."""
        try:
            if self._tally.look_is_due():
                self._tally.looked(self._outbox.standing(self.publisher.destination))
        except StorageError as exc:
            log.warning("outbox_not_counted", destination=self.publisher.destination, error=str(exc))
        self._stopping.wait(wait_s)
