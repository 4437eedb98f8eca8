"""Power modes that the board has refused: what a person is told, and when each may be tried again."""

from __future__ import annotations

import math
from collections.abc import Set

from edge_inspector.interfaces import Clock, PowerMode
from edge_inspector.station.backoff import Backoff

FIRST_S = 60.0
LAST_S = 3600.0


class Refusals:
    """On the event loop. Each mode is waited for by itself, and twice as long each time until it has stayed an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._backoffs: dict[int, Backoff] = {}
        self._until_ns: dict[int, float] = {}
        self._reached_ns: dict[int, int] = {}
        self._last = -1
        self.count = 0
        self.text = ""
        """What was refused last, empty = the board is where it should be."""

    def refused(self, mode: PowerMode, text: str, *, for_good: bool, there: bool = False) -> str:
        """When it is tried again, in words. `for_good`: not before the machine was started again; `there`: the board
        says that it is in this mode, and is not as the mode has it."""
        self.count += 1
        self._last, self.text = -1 if there else mode.number, text
        if for_good:
            self._until_ns[mode.number] = math.inf
            return "not tried again"
        return self._waits(mode)

    def contested(self, mode: PowerMode, text: str) -> None:
        """Somebody else has changed a mode that was reached: two who will not yield would change it for ever."""
        self._last, self.text = mode.number, f"{text}; {self._waits(mode)}"

    def reached(self, mode: PowerMode) -> None:
        """A change went well."""
        self.text = ""
        self._until_ns.pop(mode.number, None)
        self._reached_ns[mode.number] = self._clock.monotonic_ns()

    def seen(self, mode: PowerMode | None) -> None:
        """The board says that it is in this mode; somebody else may have brought it there."""
        if mode is not None and mode.number == self._last:
            self.text = ""

    def barred(self) -> Set[int]:
        """The numbers of modes that are not to be tried now."""
        now = self._clock.monotonic_ns()
        return {number for number, until in self._until_ns.items() if now < until}

    def _waits(self, mode: PowerMode) -> str:
        now, backoff = self._clock.monotonic_ns(), self._backoffs.setdefault(mode.number, Backoff(FIRST_S, LAST_S))
        if now - self._reached_ns.pop(mode.number, now) > LAST_S * 1e9:
            backoff.reset()
        wait_s = backoff.next_s()
        self._until_ns[mode.number] = now + wait_s * 1e9
        return f"tried again in {wait_s:.0f} s at the earliest"
