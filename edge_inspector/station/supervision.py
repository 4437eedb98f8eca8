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
"""So long may one model be loaded, from a slow disk onto a cold device."""
PAUSE_S = 2.0
"""Longer than this between two looks: the whole process stood still, and nothing hangs because of that."""
FEEDS = 20
"""Times that the watchdog is fed within its time: an end by ourselves needs most of it, from when it begins."""
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
        self._looked_ns = self._resumed_ns = self._clock.monotonic_ns()
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
        self._end_what_hangs(now)
        if line.scarcity.spent is not None and not line.work.open and not line.links.telling:
            raise line.scarcity.spent
        stale = self._progress.stale(STALE_S)
        if not stale:
            self._feed(now)
        if not line.pulse_waiting:
            line.pulse_waiting = True
            line.events.put_nowait(Pulse(alive=not stale))
        self._tell(now, stale)

    def _end_what_hangs(self, now: int) -> None:
        """Only of a process that was awake: one that was stopped, or whose machine stood still, shows no progress."""
        if now - self._looked_ns > PAUSE_S * 1e9:
            self._resumed_ns = now
        self._looked_ns = now
        awake_s = (now - self._resumed_ns) / 1e9
        hung = self._progress.stale(HUNG_S) if awake_s > HUNG_S else []
        if hung:
            raise StationHung(f"no progress for {HUNG_S:g} s in: {', '.join(hung)}")
        loading = self._progress.resting(LOAD_HUNG_S) if awake_s > LOAD_HUNG_S else []
        if loading:
            raise StationHung(f"a model has been loading for {LOAD_HUNG_S:g} s in: {', '.join(loading)}")

    def _feed(self, now: int) -> None:
        every_s = self._notifier.manager.watchdog_s
        if every_s is not None and now - self._fed_ns >= every_s / FEEDS * 1e9:
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
