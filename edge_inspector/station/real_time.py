"""What the settings `real_time` ask of the kernel; what it refuses is told, and stops nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from edge_inspector.settings.real_time import RealTimeSettings

log = structlog.get_logger()
_REMEDY = "the unit lacks the right: see docs/how-to/real-time.md"


class RealTime:
    """`prefer` is called on each thread that a verdict waits for.

    The event loop goes before the others: a run of the model may take longer than a deadline, and of two threads with
    the same priority on one core the first keeps it until it waits.
    """

    def __init__(self, settings: RealTimeSettings | None, tell: Callable[[str], None]) -> None:
        """`tell(text)` is called with what was refused, on the thread concerned."""
        self._settings = settings
        self._tell = tell

    def prefer(self, below: int = 0) -> None:
        """For the calling thread, with so much less priority: Linux has both for threads.

        What it starts later has no priority, but its cores.
        """
        wanted = self._settings
        if wanted is None:
            return
        if wanted.cores:
            self._ask(f"cores {', '.join(map(str, wanted.cores))}", lambda: os.sched_setaffinity(0, wanted.cores))
        if wanted.priority is not None:
            number, policy = wanted.priority - below, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            self._ask(f"priority {number}", lambda: os.sched_setscheduler(0, policy, os.sched_param(number)))

    def _ask(self, what: str, ask: Callable[[], None]) -> None:
        try:
            ask()
        except OSError as exc:
            log.warning("real_time_refused", what=what, error=str(exc))
            text = f"station.real_time.{what}: {exc.strerror or exc}"
            self._tell(f"{text}; {_REMEDY}" if isinstance(exc, PermissionError) else text)
