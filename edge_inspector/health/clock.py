"""The machine's clocks."""

from __future__ import annotations

import ctypes
import time
from datetime import datetime, timezone

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_LIBC = ctypes.CDLL(None)


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2); only `modes` is set, and to 0: read, change nothing."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 256))


class SystemClock:
    """CLOCK_MONOTONIC for stage times and deadlines, UTC for people."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc(self) -> str:
        return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def synced(self) -> bool:
        """The kernel's own word; a container that may not ask counts as not synchronised."""
        return bool(0 <= _LIBC.adjtimex(ctypes.byref(_Timex())) < _TIME_ERROR)
