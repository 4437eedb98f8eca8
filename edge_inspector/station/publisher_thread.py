"""One destination's thread: drain the outbox, keep the connection alive, come back after any outage."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import structlog

from edge_inspector.errors import OutputError, StorageError
from edge_inspector.interfaces import Outbox, Publisher, StationStatus
from edge_inspector.plc.states import resting_state
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import LineEvent, PublisherHealth

log = structlog.get_logger()
_BATCH = 20
_IDLE_S = 0.02
_METRICS_S = 10.0
STEADY_S = 5.0
"""A connection that held for this long was a good one: the next try comes soon."""


class PublisherThread:
    """Runs `run` on a thread of its own; the other methods may be called from any thread."""

    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        post: Callable[[LineEvent], None],
        metrics: Callable[[], dict[str, float]],
    ) -> None:
        self.publisher = publisher
        self._outbox = outbox
        self._post = post
        self._metrics = metrics
        self._status: tuple[str, int, str] | None = None
        self._stopping = threading.Event()

    def announce(self, status: StationStatus) -> None:
        """What the destination should know about the station; only the newest counts."""
        state = resting_state(status)
        self._status = (state.name, int(state), status.recipe)

    def stop(self) -> None:
        """End after what is pending now has been sent, or at once when the destination is away."""
        self._stopping.set()

    def run(self) -> None:
        backoff, told = Backoff(first_s=0.2), ""
        name = self.publisher.destination
        connected_s = math.inf
        while not self._stopping.is_set():
            try:
                with self.publisher:
                    log.info("publisher_connected", destination=name)
                    self._post(PublisherHealth(name, connected=True, text=""))
                    connected_s = time.monotonic()
                    self._serve()
            except (OutputError, StorageError) as exc:  # no broker, or a disk that gives no outbox: try again
                held_s, connected_s = time.monotonic() - connected_s, math.inf
                if held_s > STEADY_S:  # not a broker that lets us in and refuses each message
                    backoff.reset()
                    told = ""
                if str(exc) != told:  # once, not with each try
                    told = str(exc)
                    log.warning("publisher_lost", destination=name, error=told)
                self._post(PublisherHealth(name, connected=False, text=str(exc)))
                self._stopping.wait(backoff.next_s())

    def _serve(self) -> None:
        announced: tuple[str, int, str] | None = None
        metrics_due = time.monotonic() + _METRICS_S
        name = self.publisher.destination
        while True:
            if self._status != announced and self._status is not None:
                announced = self._status
                self.publisher.announce(*announced)
            if time.monotonic() >= metrics_due:
                metrics_due += _METRICS_S
                self.publisher.metrics(self._metrics())
            messages = self._outbox.pending(name, _BATCH)
            if messages:
                self.publisher.publish(messages)
                self._outbox.delivered(name, [m.row for m in messages])
            elif self._stopping.is_set():
                return
            else:
                self.publisher.idle(_IDLE_S)
