"""How fast a backlog may go to its destination."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

BURST_S = 0.25
"""A limited replay sends what belongs to this time at once."""


class Pace:
    """Limits a backlog to `per_s` messages a second and nothing else; doubles it while the backlog grows."""

    def __init__(self, per_s: float = math.inf, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_s
        self._monotonic_s = monotonic_s
        self._due_s = -math.inf
        self._waiting: int | None = None

    def is_due(self) -> bool:
        return self._monotonic_s() >= self._due_s

    def share(self, waiting: int, most: int) -> int:
        """How many of `waiting` messages go now: all, unless there are `most`, which is a backlog."""
        return waiting if waiting < most else max(1, int(min(most, self.per_s * BURST_S)))

    def sent(self, count: int, *, backlog: bool) -> None:
        """`count` messages have gone; the next ones wait if they belong to a backlog."""
        if backlog:
            now = self._monotonic_s()
            self._due_s = max(self._due_s, now - BURST_S) + count / self.per_s
        else:
            self._due_s, self._waiting = -math.inf, None

    def counted(self, waiting: int) -> bool:
        """So many wait now; True when they have become more during the replay, which then goes twice as fast."""
        grown = self._waiting is not None and waiting > self._waiting
        self._waiting = waiting
        if grown:
            self.per_s *= 2
        return grown
