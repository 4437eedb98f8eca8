"""The daemon, as the routes see it: orders and questions over its control socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edge_inspector.control import ControlClient, StationAway
from edge_inspector.interfaces import Order
from edge_inspector.web.access import Caller
from edge_inspector.web.problems import AWAY_RETRY_S, Refused
from edge_inspector.web.recent import Recent

AT_ONCE = 8
"""Connections to the control socket: it has 32, and others need some, too."""
WAIT_S = 2.0
"""For one of them."""
METRICS_S = 1.0
STATUS_S = 2.0
"""A daemon that needs longer for a word about itself counts as away."""
ORDER_S = 5.0
LOOK_S = 600.0
"""Who looks at a picture again within this has looked at it once: a page asks for its pictures again and again."""
_MOST_LOOKS = 10_000


class Station:
    """Any thread. StationAway: the daemon does not answer."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._metrics = Recent(self._ask_metrics, METRICS_S, time.monotonic)
        self._looks: dict[tuple[str, str], float] = {}  # when each was booked, oldest first
        self._looking = threading.Lock()

    def status(self) -> Mapping[str, Any] | None:
        """`StationStatus` as JSON has it; None: the station has just begun."""
        with self._line():
            return self._client.status()

    def metrics(self) -> str | None:
        """OpenMetrics text, at most a second old: every answer costs the daemon some time. None: it is away."""
        return self._metrics.get()

    def order(
        self,
        caller: Caller,
        name: str,
        arguments: Mapping[str, Any],
        timeout_s: float = ORDER_S,
        refused: int = 409,
    ) -> Mapping[str, Any]:
        """The facts of the answer. Refused: 503 when the station is busy, `refused` for any other reason."""
        try:
            with self._line():
                answer = self._client.order(Order(name, caller.name, arguments), timeout_s)
        except ValueError as exc:
            raise Refused(422, f"{exc}: shorten what you have sent") from exc
        if answer.done:
            return answer.facts
        if answer.facts.get("busy") or answer.facts.get("not_ready"):
            raise Refused(503, answer.text, retry_after_s=AWAY_RETRY_S)
        raise Refused(refused, answer.text)

    def audit(self, caller: Caller, what: str, detail: str) -> None:
        """Book what somebody has seen. Refused, StationAway: it is not booked, so they may not see it."""
        self.order(caller, "audit", {"what": what, "detail": detail})

    def audit_look(self, caller: Caller, detail: str) -> None:
        """Book that somebody sees a picture, once in `LOOK_S`. As `audit`."""
        look, now = (caller.name, detail), time.monotonic()
        with self._looking:
            booked = self._looks.get(look)
        if booked is not None and now - booked < LOOK_S:
            return
        self.audit(caller, "image_read", detail)
        with self._looking:
            self._looks.pop(look, None)
            self._looks[look] = now
            while len(self._looks) > _MOST_LOOKS:
                del self._looks[next(iter(self._looks))]

    def _ask_metrics(self) -> str | None:
        try:
            with self._line():
                return self._client.metrics()
        except StationAway:
            return None

    @contextmanager
    def _line(self) -> Iterator[None]:
        if not self._free.acquire(timeout=WAIT_S):
            raise Refused(503, "too many ask the station at the same time", retry_after_s=AWAY_RETRY_S)
        try:
            yield
        finally:
            self._free.release()
