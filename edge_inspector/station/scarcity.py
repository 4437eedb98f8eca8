"""What the machine runs out of: memory and disk. Told in time, and a station that has grown too large starts again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from edge_inspector.datatypes import Reason
from edge_inspector.errors import EdgeInspectorError
from edge_inspector.health.memory import Memory
from edge_inspector.station.booking import Booking
from edge_inspector.station.events import VitalsRead

log = structlog.get_logger()
LOW, SHORT, SPENT = 1, 2, 3
MEMORY_PCT = (10.0, 6.0, 3.0)
"""Free memory below which it is low (told), short (what can be done without is given back), spent (see `Scarcity`)."""
DISK_PCT = (3.0, 1.0)
"""Free bytes or inodes; pictures stop at images.min_free_pct, 5 % by default, so something else has filled it."""
EASED_PCT = 1.0
"""So much above a bound a level ends: a value that trembles is told once."""
SPENT_LOOKS = 3
"""Readings in a row, 5 s apart, before the station starts again: a build beside it may be over sooner."""
GROWN_SHARE = 0.25
"""Of all the memory: a station that has taken so much since its models were ready leaks, and a new one has it back."""


class MemorySpent(EdgeInspectorError):
    """The process holds more and more memory: a new one is wanted before the kernel kills this one at any moment."""


@dataclass
class Level:
    """How scarce one thing is, 0 = it is not; `bounds_pct` fall."""

    bounds_pct: Sequence[float]
    now: int = 0
    free_pct: float = 100.0

    def read(self, free_pct: float | None) -> bool:
        """Whether the level has changed; what is not known changes nothing."""
        if free_pct is None:
            return False
        before, self.free_pct = self.now, free_pct
        worse = sum(free_pct < bound for bound in self.bounds_pct)
        eased = sum(free_pct < bound + EASED_PCT for bound in self.bounds_pct)
        self.now = worse if worse > before else min(before, eased)
        return self.now != before


class Scarcity:
    """On the event loop. `spent` is raised by whoever sees that no part is open.

    Memory of which others have taken the most is told and no more: to start again would not bring it back.
    """

    def __init__(self, booking: Booking, spare: Callable[[bool], None]) -> None:
        """`spare(True)` gives back what can be done without, `spare(False)` ends that."""
        self._booking = booking
        self._spare = spare
        self._memory = Level(MEMORY_PCT)
        self._disk = Level(DISK_PCT)
        self._inodes = False
        self._first_bytes: int | None = None
        self._looks = 0
        self.spent: MemorySpent | None = None

    @property
    def warning(self) -> str:
        """What a person should do something about, empty = nothing."""
        return self._memory_text() if self._memory.now else self._disk_text() if self._disk.now else ""

    def why_not(self) -> tuple[Reason, str] | None:
        """The station takes no further part, because it starts again when the last one is settled."""
        return None if self.spent is None else (Reason.MACHINE, str(self.spent))

    def models_ready(self) -> None:
        """From now on the process should not grow."""
        self._first_bytes = None

    def read(self, event: VitalsRead) -> None:
        """A reading of the machine."""
        self._read_memory(event.memory)
        bytes_pct, inodes_pct = event.disk.free_pct, event.disk.inodes_free_pct
        self._inodes = inodes_pct is not None and (bytes_pct is None or inodes_pct < bytes_pct)
        if self._disk.read(inodes_pct if self._inodes else bytes_pct):
            self._tell("disk", self._disk.now, self._disk_text())

    def _read_memory(self, memory: Memory) -> None:
        if self._first_bytes is None:
            self._first_bytes = memory.own_bytes
        short = self._memory.now >= SHORT
        if self._memory.read(memory.free_pct):
            self._tell("memory", self._memory.now, self._memory_text())
            if (self._memory.now >= SHORT) != short:
                self._spare(not short)
        self._looks = self._looks + 1 if self._memory.now >= SPENT and self._grown(memory) else 0
        if self._looks == SPENT_LOOKS and self.spent is None:
            self.spent = MemorySpent(f"{self._memory_text()}; the station starts again, which gives it back")
            log.error("memory_spent", own_mb=round((memory.own_bytes or 0) / 1e6), free_pct=memory.free_pct)
            self._booking.event("alarm", "memory_spent", str(self.spent))

    def _grown(self, memory: Memory) -> bool:
        if memory.limit_bytes is None or memory.own_bytes is None or self._first_bytes is None:
            return False
        return memory.own_bytes - self._first_bytes > GROWN_SHARE * memory.limit_bytes

    def _memory_text(self) -> str:
        return f"{self._memory.free_pct:.0f} % of the memory is free"

    def _disk_text(self) -> str:
        what = "inodes" if self._inodes else "room"
        return f"{self._disk.free_pct:.0f} % of the {what} on the state folder's disk is free"

    def _tell(self, what: str, level: int, text: str) -> None:
        severity: Literal["info", "warning", "alarm"] = "info" if not level else "warning" if level == LOW else "alarm"
        self._booking.event(severity, f"{what}_low" if level else f"{what}_again", text)
