"""Heartbeat and watchdog, given only while the verdict path shows progress, and the end of a path that hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from edge_inspector.health.notify import Notifier
from edge_inspector.health.progress import ProgressBook
from edge_inspector.station.cameras import StationHung
from edge_inspector.station.events import Pulse
from edge_inspector.station.line import Line
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.station.status_text import status_text

PULSE_S = 0.1
STALE_S = 1.5
"""A verdict path that shows no progress for this long gets no heartbeat: the PLC rejects."""
HUNG_S = 12.0
"""After this long without progress the process ends, so that systemd starts a new one; a run may take 10 s."""
LOAD_HUNG_S = 600.0
"""So long may a model be loaded, from a slow disk onto a cold device."""
HUNG_LOOKS = 10
"""So many looks in a row must find it so: after the whole process stood still, every loop may sign again first."""
STATUS_S = 1.0
"""How often the status line may change."""


class Supervision:
    """On the event loop. There is no other thread that feeds the watchdog: it would hide that this loop is dead."""

    def __init__(
        self,
        line: Line,
        progress: ProgressBook,
        publishers: Sequence[PublisherThread],
        notifier: Notifier,
        check_builds: Callable[[], None],
    ) -> None:
        self._line = line
        self._progress = progress
        self._publishers = publishers
        self._notifier = notifier
        self._check_builds = check_builds
        self._clock = line.parts.clock
        self._hung_looks = 0
        self._fed_ns = self._told_ns = 0
        self._status = ""

    async def run(self) -> None:
        while True:
            self.look()
            await anyio.sleep(PULSE_S)

    def look(self) -> None:
        """Once for each turn. StationHung: only a new process helps."""
        line, now = self._line, self._clock.monotonic_ns()
        line.stalls.awake()
        if not line.pulse_waiting:  # the line loop has come to the last one
            self._progress.sign("line")
        line.cameras.check()
        line.outputs.check()
        self._check_builds()
        self._end_what_hangs()
        if line.scarcity.spent is not None and not line.work.open:
            raise line.scarcity.spent
        stale = self._progress.stale(STALE_S)
        if not stale:
            self._feed(now)
        if not line.pulse_waiting:
            line.pulse_waiting = True
            line.events.put_nowait(Pulse(alive=not stale))
        self._tell(now, stale)

    def _end_what_hangs(self) -> None:
        hung = self._progress.stale(HUNG_S)
        self._hung_looks = self._hung_looks + 1 if hung else 0
        if self._hung_looks >= HUNG_LOOKS:
            raise StationHung(f"no progress for {HUNG_S:g} s in: {', '.join(hung)}")
        loading = self._progress.resting(LOAD_HUNG_S)
        if loading:
            raise StationHung(f"a model has been loading for {LOAD_HUNG_S:g} s in: {', '.join(loading)}")

    def _feed(self, now: int) -> None:
        every_s = self._notifier.manager.watchdog_s
        if every_s is not None and now - self._fed_ns >= every_s / 4 * 1e9:
            self._fed_ns = now
            self._notifier.alive()

    def _tell(self, now: int, stale: Sequence[str]) -> None:
        """Publishers and the service manager hear what the station is."""
        line = self._line
        self._notifier.repeat()
        if line.status is not None:
            for publisher in self._publishers:
                publisher.announce(line.status)
        if now - self._told_ns < STATUS_S * 1e9:
            return
        self._told_ns = now
        text = status_text(line, stale)
        if text != self._status:
            self._status = text
            self._notifier.status(text)
