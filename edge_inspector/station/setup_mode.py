"""Setup mode: the cameras take pictures for the live view, and the station is not READY."""

from __future__ import annotations

import structlog

from edge_inspector.interfaces import Clock
from edge_inspector.station.booking import Booking
from edge_inspector.station.cameras import Cameras
from edge_inspector.station.condition import Condition
from edge_inspector.station.live_view import PERIOD_NS, LiveView

log = structlog.get_logger()
FORGOTTEN_NS = 600_000_000_000
"""Setup mode ends by itself when nobody has looked at a picture for this long: the line stands still meanwhile."""


class SetupMode:
    """On the event loop; `condition.setup_by` says whether it is on, until the last picture for it is taken."""

    def __init__(self, condition: Condition, live: LiveView, booking: Booking, clock: Clock) -> None:
        self._condition = condition
        self._live = live
        self._booking = booking
        self._clock = clock
        self._ending = False
        self._looked_ns = 0
        self._shot_ns: dict[str, int] = {}

    def begin(self, who: str) -> bool:
        """Whether that changed anything."""
        began = not self._condition.setup_by or self._ending
        self._ending = False
        if began:
            self._condition.setup_by = who
            self._looked_ns = self._clock.monotonic_ns()
            self._booking.audit(who, "setup_on", "setup mode: the station is not ready")
            self._booking.event("info", "setup_on", f"setup mode, ordered by {who}")
        return began

    def end(self, who: str) -> bool:
        """As `begin`. The station is READY when the last picture for the live view is taken."""
        if not self._condition.setup_by or self._ending:
            return False
        self._ending = True
        self._booking.audit(who, "setup_off", f"setup mode that {self._condition.setup_by} began has ended")
        self._booking.event("info", "setup_off", f"setup mode was ended by {who}")
        return True

    def pulse(self, cameras: Cameras, *, inspecting: bool) -> None:
        """Each 100 ms: take what the live view needs, but nothing while parts are still in work."""
        condition = self._condition
        if not condition.setup_by:
            return
        if self._ending:
            here = (camera for camera in condition.parts.cameras if camera not in condition.down)
            if not any(map(cameras.snapping, here)):
                condition.setup_by, self._ending = "", False
            return
        now = self._clock.monotonic_ns()
        if self._live.anybody:
            self._looked_ns = now
        elif now - self._looked_ns > FORGOTTEN_NS:
            self.end("the station, because nobody has looked for 10 minutes")
            return
        for camera in condition.recipe.cameras:
            due = now - self._shot_ns.get(camera, -PERIOD_NS) >= PERIOD_NS
            if due and not inspecting and camera not in condition.down and self._live.watched(camera):
                self._shot_ns[camera] = now
                cameras.snap(camera)
