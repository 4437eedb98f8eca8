"""When the line loop was last known to be awake: what waited during a stall came earlier than it is seen."""

from __future__ import annotations

import structlog

from edge_inspector.interfaces import Clock

log = structlog.get_logger()
STALL_NS = 200_000_000
"""The loop says each 100 ms that it is awake; a gap longer than this is a stall."""
AFTERMATH_NS = 50_000_000
"""How long after a stall the loop may still be reading what has waited in its sockets."""


class StallWatch:
    """Told by the loop that it turns; all times are CLOCK_MONOTONIC ns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._awake_ns = clock.monotonic_ns()
        self._stall = (0, 0)

    def awake(self) -> None:
        """The loop turns; called each 100 ms."""
        now = self._clock.monotonic_ns()
        if now - self._awake_ns > STALL_NS:
            self._stall = (self._awake_ns, now)
            log.warning("loop_stalled", ms=round((now - self._awake_ns) / 1e6))
        self._awake_ns = now

    def forgive(self) -> None:
        """The loop was held up on purpose, while the station was not ready: nothing can have waited."""
        self._awake_ns = self._clock.monotonic_ns()

    def earliest_ns(self, seen_ns: int) -> int:
        """The earliest moment at which something that is seen at `seen_ns` can have happened."""
        self.awake()
        begun, ended = self._stall
        return begun if begun <= seen_ns <= ended + AFTERMATH_NS else seen_ns
