"""The clock of a ledger that nobody gave one."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class MachineClock:
    """The machine's clocks, and nobody says that the wall clock is right."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc(self) -> str:
        return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def synced(self) -> bool:
        return False
